# SPDX-License-Identifier: Apache-2.0
"""Scores: pure functions from estimates and truth to figures. Nothing here knows ROS or files."""
