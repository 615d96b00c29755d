# SPDX-License-Identifier: Apache-2.0
"""What a posed picture sees of its place: points that depth measured, or a reconstruction found.

The multi-modal CrossViT (Multimedia Tools and Applications 2024) takes the points that structure
from motion found in each picture; so does this where a reader gives them (`Sample.observed`).
Elsewhere depth gives some hundreds of points.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import DataError
from geoloc_core.geometry import se3
from geoloc_core.geometry.registration import has_point, points_of
from geoloc_core.types import GroundView
from training.datasets.sample import Sample

Floats = NDArray[np.float32]

# Columns and rows of the points: a hand's breadth apart in a room.
OBSERVED_GRID = (32, 24)


class PatchGeometry(NamedTuple):
    """Where the patches of a picture look.

    Attributes:
        rays: (N, 3) unit directions of their middles, map frame; NaN where the camera has none.
        ranges: (N,) distance along them, m; NaN where nothing was measured.
        camera: (7,) translation and quaternion (w, x, y, z) of map -> camera.
    """

    rays: Floats
    ranges: Floats
    camera: Floats


def world_of(sample: Sample) -> str:
    """Names the frame that a sample's pose is in: only within one can places be compared.

    All sequences tied to the Earth by the same datum share a frame, and so do seq-01, seq-02 ...
    of one folder, as those of a scene of 7-Scenes. Any other sequence is taken to have its own.
    """
    if sample.datum is not None:
        return repr(sample.datum)
    folder, _, name = sample.sequence.rpartition('/')
    return folder if name.startswith('seq-') else sample.sequence


def coarse_depth(depth: Floats, columns: int, rows: int) -> Floats:
    """Depth of the middles of cells: the median of what is known in each.

    Args:
        depth: (H, W) m, NaN where unknown.
        columns: Cells across, at most W.
        rows: Cells down, at most H.

    Returns:
        (rows, columns), NaN where nothing in a cell is known.

    Raises:
        DataError: There are fewer pixels than cells.
    """
    height, width = depth.shape
    if height < rows or width < columns:
        raise DataError(
            f'depth of {width} x {height} px cannot be cut into {columns} x {rows} cells: reduce '
            'the pictures less'
        )
    made = np.full((rows, columns), np.nan, np.float32)
    v, u = (np.arange(n + 1) * side // n for n, side in ((rows, height), (columns, width)))
    for i in range(rows):
        band = depth[v[i] : v[i + 1]]
        for j in range(columns):
            cell = band[:, u[j] : u[j + 1]]
            known = cell[np.isfinite(cell)]
            if known.size:
                made[i, j] = np.median(known)
    return made


def observed_points(view: GroundView, T_map_camera: NDArray) -> Floats:
    """(K, 3) points that a picture sees, m in the map frame; none where it has no depth.

    Args:
        view: The picture.
        T_map_camera: (4, 4) optical frame -> map.
    """
    if view.depth is None:
        return np.zeros((0, 3), np.float32)
    columns, rows = OBSERVED_GRID
    depth = coarse_depth(view.depth, columns, rows)
    # The middles of cells are the pixels of the same picture made that small.
    points: Floats = points_of(depth, view.camera.resized(columns, rows), T_map_camera)
    return points


def points_seen(sample: Sample) -> Floats:
    """(K, 3) points that a sample's picture sees, in its map frame.

    Those of a reconstruction where its reader gives them, NaN after the last; else those of its
    depth; none where there is neither, or no pose.
    """
    T = sample.T_map_camera
    if T is None:
        return np.zeros((0, 3), np.float32)
    return observed_points(sample.view, T) if sample.observed is None else sample.observed


def padded_points(points: Floats) -> Floats:
    """(K, 3) points with rows of NaN after them: arrays of one shape for all samples of a reader.

    Args:
        points: Of `points_seen`.
    """
    least = OBSERVED_GRID[0] * OBSERVED_GRID[1]
    made = np.full((max(len(points), least), 3), np.nan, np.float32)
    made[: len(points)] = points
    return made


def patch_geometry(view: GroundView, T_map_camera: NDArray, side: int) -> PatchGeometry:
    """Where the patches of a picture look, and how far.

    Args:
        view: The picture.
        T_map_camera: (4, 4) optical frame -> map.
        side: Patches each way, cut from the whole picture, row by row.
    """
    camera = view.camera.resized(side, side)
    rays = camera.rays().reshape(-1, 3)
    ranges = np.full(side * side, np.nan)
    if view.depth is not None:
        depth = coarse_depth(view.depth, side, side)
        points = points_of(depth, camera, np.eye(4))
        ranges[has_point(depth, camera).reshape(-1)] = np.linalg.norm(points, axis=1)
    T_camera_map = se3.inverse(T_map_camera)
    x, y, z, w = se3.quaternion_xyzw(T_camera_map)
    return PatchGeometry(
        (rays @ np.asarray(T_map_camera)[:3, :3].T).astype(np.float32),
        ranges.astype(np.float32),
        np.array([*T_camera_map[:3, 3], w, x, y, z], np.float32),
    )
