# SPDX-License-Identifier: Apache-2.0
"""Depth pictures from the scans of a moving car, as the RobotCar SDK's demo makes them."""

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import PinholeCamera
from training.datasets.robotcar_ins import Track

Array = NDArray[np.float64]

# A scanner reports a missing return as a point in its own middle.
_MIN_RANGE_M = 0.1
_MIN_DEPTH_M = 0.1


def gather(
    folder: Path,
    scanner: str,
    track: Track,
    T_pose_laser: Array,
    stamp_us: int,
    window_s: float,
) -> Array:
    """Points of all scans around a time, as if seen at that time.

    Args:
        folder: Of the traversal; scans lie in `<scanner>/<stamp>.bin`.
        scanner: 'lms_front' (x, y, reflectance) or 'ldmrs' (x, y, z); doubles, three a point.
        track: Poses of the frame that moves.
        T_pose_laser: (4, 4) scanner -> that frame.
        stamp_us: The time.
        window_s: Scans up to so long before and after it are taken.

    Returns:
        (N, 3) m in the moving frame at `stamp_us`; empty where no pose or no scan is near.
        Whatever moved by itself in the meantime is smeared.
    """
    stamps = scan_stamps(folder / f'{scanner}.timestamps')
    near = stamps[np.abs(stamps - stamp_us) <= window_s * 1e6]
    near = near[track.covers(near)] if len(near) else near
    if not len(near) or not track.covers(np.array([stamp_us]))[0]:
        return np.zeros((0, 3))
    T_now_map = se3.inverse(track.at(np.array([stamp_us]))[0])
    clouds = [np.zeros((0, 3))]
    for scan_stamp, T_map_pose in zip(near, track.at(near), strict=True):
        points = _scan(folder / scanner / f'{scan_stamp}.bin', scanner)
        clouds.append(se3.transform(T_now_map @ T_map_pose @ T_pose_laser, points))
    return np.concatenate(clouds)


def depth_image(points: Array, camera: PinholeCamera) -> NDArray[np.float32]:
    """Nearest depth in each pixel.

    Args:
        points: (N, 3) m, optical frame.
        camera: Of the picture.

    Returns:
        (H, W) float32 m along the optical axis, NaN where no point fell. Points behind a nearer
        surface show through between its points, as they do in any sparse projection.
    """
    depth = np.full((camera.height, camera.width), np.nan, dtype=np.float32)
    points = points[points[:, 2] > _MIN_DEPTH_M]
    uv, valid = camera.project(points)
    columns, rows = np.rint(uv[valid]).astype(np.intp).T
    columns, rows = columns.clip(0, camera.width - 1), rows.clip(0, camera.height - 1)
    z = points[valid, 2]
    far_first = np.argsort(-z)
    # Of several assignments to one pixel the last, nearest, stays.
    depth[rows[far_first], columns[far_first]] = z[far_first]
    return depth


@lru_cache(maxsize=8)
def scan_stamps(file: Path) -> NDArray[np.int64]:
    """Stamps (N,), us, of a '<sensor>.timestamps' file; lines that hold none are left out."""
    if not file.is_file():
        return np.zeros(0, dtype=np.int64)
    lines = file.read_text(encoding='ascii', errors='replace').splitlines()
    first = [line.split()[0] for line in lines if line.strip()]
    return np.array(sorted(int(word) for word in first if word.isdigit()), dtype=np.int64)


@lru_cache(maxsize=4096)
def _scan(file: Path, scanner: str) -> Array:
    """Points (N, 3) of a scan, m; none where the file is missing or cut short.

    One missing scan of the thousand behind a picture is no reason to leave the picture out.
    """
    try:
        numbers = np.fromfile(file, np.float64)
    except OSError:
        return np.zeros((0, 3))
    points = numbers[: len(numbers) // 3 * 3].reshape(-1, 3).copy()
    if scanner.startswith('lms'):
        points[:, 2] = 0.0  # the reflectance
    ranges = np.linalg.norm(points, axis=1)
    return points[np.isfinite(ranges) & (ranges > _MIN_RANGE_M)]
