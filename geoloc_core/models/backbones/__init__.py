# SPDX-License-Identifier: Apache-2.0
"""Feature extractors that all systems share, wrapped once; `make_backbone` is the door."""

from geoloc_core.models.backbones.base import Backbone
from geoloc_core.models.backbones.registry import input_statistics, make_backbone

__all__ = ['Backbone', 'input_statistics', 'make_backbone']
