# SPDX-License-Identifier: Apache-2.0
"""Angles, rigid transforms, cameras, the ground plane, grids and geodesy."""
