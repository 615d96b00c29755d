# SPDX-License-Identifier: Apache-2.0
"""Bundles onto the disk: a folder or one file, whole or not at all."""

from pathlib import Path
from typing import Any

from geoloc_core.errors import ConfigError
from geoloc_core.runtime.any_bundle import load_any
from geoloc_core.runtime.bundle_files import one_file, PARTS, SAMPLE, SUFFIX, WEIGHTS
from geoloc_core.whole_file import write_whole


def require_place(place: Path, overwrite: bool) -> None:
    """Refuses a place that holds anything but a bundle that may be replaced.

    Args:
        place: A folder to make; or one file, if its name ends like one.
        overwrite: Whether a bundle there may be replaced.

    Raises:
        ConfigError: Says what is in the way.
    """
    if place.suffix == SUFFIX:
        if place.is_dir():
            raise ConfigError(f'--out {place}: is a folder, expected a file to make')
        if place.is_file() and not overwrite:
            raise ConfigError(f'--out {place}: is there: say --overwrite, or name another')
        return
    if place.is_file():
        raise ConfigError(
            f'--out {place}: is a file, expected a folder to make, or a name that ends in {SUFFIX}'
        )
    if not place.is_dir():
        return
    others = sorted(path.name for path in place.iterdir() if path.name not in PARTS)
    if others:
        raise ConfigError(f'--out {place}: holds {others[0]!r} and is no bundle: name another')
    if not overwrite and any(place.iterdir()):
        raise ConfigError(f'--out {place}: holds a bundle: say --overwrite, or name another')


def write_bundle(bundle: Any, place: Path) -> Any:
    """Writes a bundle and reads it back; it is whole or its reading is refused.

    Args:
        bundle: From `exporting.make_bundle`.
        place: A folder, made if absent; or one file, if its name ends like one.

    Raises:
        OSError: The disk is full or may not be written.
        BundleError: What was written cannot be read.
    """
    parts = {WEIGHTS: bundle.weights, bundle.SPEC_FILE: bundle.spec.to_json().encode()}
    if bundle.sample:
        parts[SAMPLE] = bundle.sample
    if place.suffix == SUFFIX:
        write_whole(place, one_file(parts))
    else:
        for name, content in parts.items():
            write_whole(place / name, content)
        for name in set(PARTS) - set(parts):
            # Of the bundle that was replaced.
            (place / name).unlink(missing_ok=True)
    return load_any(place)
