# SPDX-License-Identifier: Apache-2.0
"""Where aerial imagery comes from."""
