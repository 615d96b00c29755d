# SPDX-License-Identifier: Apache-2.0
"""geoloc replay."""


def register(subparsers) -> None:
    """Adds `geoloc replay`."""
