# SPDX-License-Identifier: Apache-2.0
"""Pictures of what a cross-view network sees, believes and gets wrong."""
