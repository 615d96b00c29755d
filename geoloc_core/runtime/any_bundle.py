# SPDX-License-Identifier: Apache-2.0
"""Bundles of whatever family: opened, and held against the sample that they bring."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import BundleError
from geoloc_core.export_record import leading, ParityFigure
from geoloc_core.runtime import bundle as volumes
from geoloc_core.runtime import descriptor_bundle as descriptors
from geoloc_core.runtime import parity
from geoloc_core.runtime import pose_bundle as poses
from geoloc_core.runtime.bundle_files import parts_of, SPECS, SUFFIX
from geoloc_core.runtime.engine import AbstractEngine
from geoloc_core.runtime.parity_sample import ParitySample

AnyBundle = volumes.ModelBundle | poses.PoseBundle | descriptors.DescriptorBundle
# For bundles that do not say what was allowed when they were made.
_USUAL = {
    'log-probability': 0.02,
    'probability': 0.01,
    'position': 0.02,
    'yaw': 0.1,
    'rotation': 0.05,
    'covariance': 0.01,
    'distance': 1e-3,
}


def load_any(place: str | Path) -> AnyBundle:
    """Reads and verifies a bundle of any family.

    Args:
        place: Folder, or file.

    Raises:
        BundleError: It is none, or is damaged.
    """
    place = Path(place)
    parts = parts_of(place)
    if poses.SPEC in parts:
        return poses.load_pose_bundle(place)
    if descriptors.SPEC in parts:
        return descriptors.load_descriptor_bundle(place)
    return volumes.load_bundle(place)


def find_bundles(places: list[Path]) -> list[Path]:
    """Bundles among and directly under some folders, in order; what cannot be read is one too.

    Raises:
        BundleError: A place is not there.
    """
    found: list[Path] = []
    for place in places:
        if not place.exists():
            raise BundleError(f'{place} does not exist: expected a bundle, or a folder of bundles')
        below = sorted(place.iterdir()) if place.is_dir() else []
        found += [p for p in (place, *below) if _looks_like_one(p)]
    return list(dict.fromkeys(found))


def _looks_like_one(place: Path) -> bool:
    if place.is_file():
        return place.suffix == SUFFIX
    return any((place / name).is_file() for name in SPECS)


def silent_inputs(engine: AbstractEngine, batch: int = 1) -> dict[str, NDArray[np.float32]]:
    """Zeros of the sizes that an engine takes; open sides become `batch`, or 3 for a vector."""
    return {
        name: np.zeros([s if s > 0 else (3 if len(shape) == 1 else batch) for s in shape], 'f4')
        for name, shape in engine.inputs.items()
    }


def against_sample(
    bundle: AnyBundle, engine: AbstractEngine, tolerances: dict[str, float] | None = None
) -> tuple[ParityFigure, ...]:
    """Runs the sample that a bundle brings and compares with the network's own answer.

    Args:
        bundle: Any.
        engine: What runs it on this machine.
        tolerances: Measure -> what is allowed; None for what was allowed when it was made.

    Returns:
        One figure a measure; none for a bundle without a sample.

    Raises:
        BundleError: The sample is damaged, or the engine gives no numbers for it.
    """
    if not bundle.sample:
        return ()
    stored = ParitySample.from_bytes(bundle.sample)
    rows = leading(bundle.spec.export)
    missing = sorted(set(engine.inputs) - set(stored.inputs))
    if missing:
        raise BundleError(f'{bundle.folder}: the sample lacks the input {missing[0]!r}')
    # A vector without a batch is the same for all rows.
    fed = {
        name: value if value.ndim == 1 else np.repeat(value, rows, axis=0)
        for name, value in stored.inputs.items()
        if name in engine.inputs
    }
    said = {name: value[-1:] for name, value in engine.run(fed).items()}
    differences, units = _difference(bundle, stored, said)
    record = bundle.spec.export
    allowed = dict(_USUAL)
    if record is not None:
        # One answer is no median: the worst that was seen may be seen again.
        allowed.update({f.name: max(f.tolerance, 1.01 * f.worst) for f in record.parity})
    return parity.figures_of([differences], units, {**allowed, **(tolerances or {})}, 'worst')


def _difference(
    bundle: AnyBundle, stored: ParitySample, said: dict[str, NDArray]
) -> tuple[parity.Figures, dict[str, str]]:
    answers = stored.answers
    if isinstance(bundle, poses.PoseBundle):
        out = bundle.spec.output
        names = (out.position, out.rotation, out.cov)
        wanted, found = (tuple(each[name][0] for name in names) for each in (answers, said))
        return parity.pose_difference(
            (wanted[0], wanted[1], wanted[2]), (found[0], found[1], found[2])
        ), parity.POSE
    if isinstance(bundle, descriptors.DescriptorBundle):
        name = bundle.spec.output
        return parity.descriptor_difference(answers[name], said[name]), parity.DESCRIPTOR
    volume = bundle.spec.output
    yaws = stored.inputs[volume.yaw_input] if volume.yaw_input else parity.bin_yaws(volume)
    name = volume.name
    return parity.volume_difference(answers[name], said[name], yaws, volume.gsd), parity.VOLUME
