# SPDX-License-Identifier: Apache-2.0
"""geoloc bag."""


def register(subparsers) -> None:
    """Adds `geoloc bag`."""
