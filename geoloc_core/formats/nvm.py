# SPDX-License-Identifier: Apache-2.0
"""VisualSFM's NVM models: cameras of a reconstruction and the points they see.

Convention: a camera line is `name focal qw qx qy qz cx cy cz radial 0`. The quaternion turns
world axes into camera axes (x right, y down, z forward), but (cx, cy, cz) is the camera's CENTRE
in the world, not the translation that goes with that quaternion. `radial` belongs to a model that
undistorts; take intrinsics from elsewhere.
"""

from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import DataError, InputError
from geoloc_core.geometry import se3

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

_HEADER = 'NVM_V3'
_MAX_OFF_UNIT = 0.01
# Larger numbers are damage; single precision holds this one.
_FAR = 1e30


@dataclass(frozen=True)
class NvmPoint:
    """A reconstructed point.

    Attributes:
        xyz: (3,) world.
        rgb: (3,) 0..255.
        cameras: (N,) numbers of the cameras that see it, in the order of the file's camera lines.
    """

    xyz: Array
    rgb: NDArray[np.uint8]
    cameras: NDArray[np.int64]


def read_cameras(path: Path) -> dict[str, Array]:
    """Poses of all cameras; the points behind them, most of the file, are not read.

    Args:
        path: `.nvm` file.

    Returns:
        Name -> T_world_camera (4, 4), in the file's order.

    Raises:
        DataError: Missing, another format, cut off, damaged, or a name comes twice.
    """
    poses: dict[str, Array] = {}
    with _open(path) as file:
        rows = _rows(path, file)
        count = _count(path, rows)
        for _ in range(count):
            number, words = next(rows, (0, []))
            if not words:
                raise DataError(
                    f'{path} ends after {len(poses)} of {count} cameras: fetch it again'
                )
            if words[0] in poses:
                raise DataError(f'{path}:{number}: two cameras claim the name {words[0]}')
            poses[words[0]] = _pose(path, number, words)
    return poses


def iter_points(path: Path) -> Iterator[NvmPoint]:
    """Points one by one, so that a model larger than memory can be walked through.

    Raises:
        DataError: Missing, another format, cut off or damaged.
    """
    with _open(path) as file:
        rows = _rows(path, file)
        for _ in range(_count(path, rows)):
            next(rows, None)
        for _ in range(_count(path, rows)):
            number, words = next(rows, (0, []))
            try:
                values = np.array(words, dtype=np.float64)
                # Not so of what is no number, nor of what single precision does not hold.
                if not (np.abs(values) < _FAR).all() or values[6] < 0 or values[6] % 1:
                    raise ValueError('expected finite numbers, and how often it was seen')
                seen = int(values[6])
                cameras = values[7 : 7 + 4 * seen : 4].astype(np.int64)
            except (ValueError, IndexError, OverflowError) as error:
                raise DataError(
                    f'{path}:{number} is no point: the file is cut off or damaged'
                ) from error
            # Each is a camera, a feature and where it is; a number cut short is another number.
            whole = (len(values) - 7) // 4
            if whole < seen:
                raise DataError(f'{path}:{number}: {whole} of {seen} measurements')
            yield NvmPoint(values[:3], values[3:6].astype(np.uint8), cameras)


def read_observations(path: Path) -> dict[str, Floats]:
    """What each camera sees of the model: its points, found again in other pictures.

    Args:
        path: `.nvm` file.

    Returns:
        Name -> (K, 3) world, in the order of the file's points, each at most once, for every
        camera, also one that sees none. A point has the same bits wherever it is seen, which
        tells it from all others.

    Raises:
        DataError: Missing, another format, cut off or damaged; or it has cameras without points.
    """
    names = list(read_cameras(path))
    places, cameras, numbers = array('f'), array('i'), array('i')
    for number, point in enumerate(iter_points(path)):
        seen = sorted(set(point.cameras.tolist()))
        if seen and not (seen[0] >= 0 and seen[-1] < len(names)):
            raise DataError(
                f'{path}: point {number} at {point.xyz.tolist()} is seen by cameras {seen}: '
                f'expected cameras 0 to {len(names) - 1}: fetch it again'
            )
        places.extend(point.xyz.tolist())
        cameras.extend(seen)
        numbers.extend([number] * len(seen))
    if not cameras:
        raise DataError(
            f'{path} has {len(names)} cameras and no point that they see: expected the whole '
            'reconstruction, not its cameras alone'
        )
    xyz = np.array(places, np.float32).reshape(-1, 3)
    by_camera = np.argsort(cameras, kind='stable')
    ends = np.cumsum(np.bincount(np.asarray(cameras), minlength=len(names)))
    of_camera = np.split(np.asarray(numbers)[by_camera], ends[:-1])
    return {name: xyz[points] for name, points in zip(names, of_camera, strict=True)}


def camera_lines(poses: Mapping[str, Array], focals: Mapping[str, float]) -> Iterable[str]:
    """Lines of a model that has cameras and no points.

    Args:
        poses: Name -> T_world_camera (4, 4).
        focals: Name -> focal length, px.
    """
    yield f'{_HEADER} '
    yield ''
    yield str(len(poses))
    for name, T in poses.items():
        x, y, z, w = se3.quaternion_xyzw(T[:3, :3].T)
        numbers = ' '.join(f'{value:.12g}' for value in (focals[name], w, x, y, z, *T[:3, 3]))
        yield f'{name}\t{numbers} 0 0 '
    yield ''
    yield '0'


def _open(path: Path) -> TextIO:
    try:
        return path.open(encoding='utf-8', errors='replace')
    except OSError as error:
        raise DataError(f'{path} cannot be read ({error}); expected an NVM model') from error


def _rows(path: Path, file: Iterator[str]) -> Iterator[tuple[int, list[str]]]:
    """(line number, words) of the lines that hold something, after the header is checked."""
    first = next(file, '').split()
    if not first or first[0] != _HEADER:
        raise DataError(f'{path} begins with {" ".join(first)[:40]!r}; expected {_HEADER}')
    return ((number, line.split()) for number, line in enumerate(file, start=2) if line.strip())


def _count(path: Path, rows: Iterator[tuple[int, list[str]]]) -> int:
    number, words = next(rows, (0, []))
    if len(words) != 1 or not words[0].isdigit():
        raise DataError(f'{path}:{number} is {" ".join(words)[:40]!r}; expected a count')
    return int(words[0])


def _pose(path: Path, number: int, words: list[str]) -> Array:
    try:
        w, x, y, z, *centre = (float(value) for value in words[2:9])
        norm = float(np.linalg.norm([w, x, y, z]))
        if not abs(norm - 1.0) <= _MAX_OFF_UNIT or not np.isfinite(centre).all():
            raise ValueError(f'quaternion of length {norm:.3f}')
        if len(centre) < 3:
            raise ValueError('the line is cut off')
        R_camera_world = se3.rotation_from_quaternion([x, y, z, w])
        return se3.make(R_camera_world.T, centre)
    except (ValueError, InputError) as error:
        raise DataError(
            f'{path}:{number} is no camera ({error}); expected '
            '"name focal qw qx qy qz cx cy cz radial 0"'
        ) from error
