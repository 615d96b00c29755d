# SPDX-License-Identifier: Apache-2.0
"""Maps of places: keyframes with features, their points in space, and where they were taken."""
