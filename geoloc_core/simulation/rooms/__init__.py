# SPDX-License-Identifier: Apache-2.0
"""Furnished rooms and hand-held walks through them, for RGB-D."""
