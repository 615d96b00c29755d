# SPDX-License-Identifier: Apache-2.0
"""What makes cross-view localization hard: settings with ranges, drawn days, lens and flight."""
