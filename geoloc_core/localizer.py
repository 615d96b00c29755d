# SPDX-License-Identifier: Apache-2.0
"""Localizer: sensor data in, a pose with an honest covariance out. (Interface; filled next.)"""

from geoloc_core.estimation.config import LocalizerConfig

__all__ = ['Localizer', 'LocalizerConfig']


class Localizer:
    """Interface placeholder: see the next commit."""
