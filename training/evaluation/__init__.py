# SPDX-License-Identifier: Apache-2.0
"""Judging trained networks: protocols by name, tables, curves, and published figures beside."""
