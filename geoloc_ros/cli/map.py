# SPDX-License-Identifier: Apache-2.0
"""geoloc map."""


def register(subparsers) -> None:
    """Adds `geoloc map`."""
