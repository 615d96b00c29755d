# SPDX-License-Identifier: Apache-2.0
"""Measured figures as CSV files, and `python -m training.results`, which makes a page of them."""
