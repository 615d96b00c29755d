# SPDX-License-Identifier: Apache-2.0
"""Running trained weights."""
