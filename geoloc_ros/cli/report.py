# SPDX-License-Identifier: Apache-2.0
"""geoloc report."""


def register(subparsers) -> None:
    """Adds `geoloc report`."""
