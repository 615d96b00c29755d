# SPDX-License-Identifier: Apache-2.0
from tests.training.evaluation.conftest import _tiny_is_known, narrow, run

__all__ = ['_tiny_is_known', 'narrow', 'run']
