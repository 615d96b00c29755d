# SPDX-License-Identifier: Apache-2.0
"""A city from real footprints: OpenStreetMap data in a GeoJSON file."""
