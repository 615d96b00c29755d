# SPDX-License-Identifier: Apache-2.0
"""Bags: reading, writing, replaying and scoring them, without ROS where possible."""
