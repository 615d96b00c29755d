# SPDX-License-Identifier: Apache-2.0
"""Paints the city's ground: colours and classes, from lawns to road markings."""

from geoloc_core.simulation.ground.paint import paint_ground

__all__ = ['paint_ground']
