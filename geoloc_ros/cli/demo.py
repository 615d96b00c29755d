# SPDX-License-Identifier: Apache-2.0
"""geoloc demo."""


def register(subparsers) -> None:
    """Adds `geoloc demo`."""
