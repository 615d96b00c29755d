# SPDX-License-Identifier: Apache-2.0
"""Rendered data sets, written to disk exactly as the publishers lay theirs out."""
