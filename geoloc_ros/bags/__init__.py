# SPDX-License-Identifier: Apache-2.0
"""Bags: reading and writing them, playing them into the graph, scoring what came back."""
