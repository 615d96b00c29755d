# SPDX-License-Identifier: Apache-2.0
"""geoloc evaluate."""


def register(subparsers) -> None:
    """Adds `geoloc evaluate`."""
