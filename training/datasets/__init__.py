# SPDX-License-Identifier: Apache-2.0
"""Readers of the field's data sets, exactly as their publishers lay them out on disk.

A reader is a door: behind it there is one yaw, one pixel rule, one frame (README, "Conventions").
"""
