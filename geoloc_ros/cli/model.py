# SPDX-License-Identifier: Apache-2.0
"""geoloc model."""


def register(subparsers) -> None:
    """Adds `geoloc model`."""
