# SPDX-License-Identifier: Apache-2.0
"""Metrics and the tables made from them: pure functions."""
