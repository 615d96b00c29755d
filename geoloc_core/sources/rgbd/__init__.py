# SPDX-License-Identifier: Apache-2.0
"""Where a colour (and depth) camera is in a place mapped before: retrieval, matching, geometry."""
