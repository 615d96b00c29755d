# SPDX-License-Identifier: Apache-2.0
"""Offline training: data sets, losses, and the commands `python -m training.<command>`."""
