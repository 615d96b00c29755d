# SPDX-License-Identifier: Apache-2.0
"""What training must know of each family of networks, beside the networks and their losses."""
