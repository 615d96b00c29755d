# SPDX-License-Identifier: Apache-2.0
"""Which posed pictures show the same place, and how much of it.

Reference: "Multi-modal CrossViT using 3D spatial information for visual localization" (Multimedia
Tools and Applications 2024). There, points are those of a reconstruction, and two pictures share
one if it was found in both: so here with `SamePlace.cell` 0. Where depth gives the points, cubes
of space stand for them: two pictures share a cube if both measured something in it, so what hides
a wall hides it here too.

As published: pictures of a place share 8 points or more, those of other places none; the upright
boxes lie around points within three standard deviations on each axis (`box: deviation`,
`least_side: 0`); overlaps of all pairs of a place are stretched to 0..1 (`Overlaps.normalised`).
Not as published: a box takes four points (three, theirs).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from geoloc_core.errors import DataError
from geoloc_core.models.descriptor import SamePlace

Floats = NDArray[np.float32]
Array = NDArray[np.float64]

# Bits of a cube's number along one axis.
_BITS = 21
_LEAST_POINTS = 4
_DEVIATIONS = 3.0
# Pictures whose overlaps with all are held at a time.
_ROWS = 512


@dataclass(frozen=True)
class Overlaps:
    """Of N pictures, each with each.

    Attributes:
        shared: (N, N) sparse int32, cubes (or points) that both see.
        iou: (N, N) sparse float32 in 0..1, of pairs that share enough; 1 of a picture with itself.
        seeing: (N,) bool, whether it is known what a picture sees.
    """

    shared: sparse.csr_matrix
    iou: sparse.csr_matrix
    seeing: NDArray[np.bool_]

    def __len__(self) -> int:
        """N."""
        return len(self.seeing)

    def positives(self, picture: int) -> NDArray[np.int64]:
        """Other pictures of the same place."""
        row = _columns(self.iou, picture)
        return row[row != picture]

    def negative(self, picture: int, rng: np.random.Generator) -> int | None:
        """A picture of another place, any with the same chance; None if there is none."""
        near = _columns(self.shared, picture)
        far = self.seeing.copy()
        far[near] = False
        places = np.flatnonzero(far)
        return int(rng.choice(places)) if len(places) and self.seeing[picture] else None

    def between(
        self, rows: NDArray[np.int64], columns: NDArray[np.int64]
    ) -> tuple[Floats, NDArray[np.bool_]]:
        """How pictures of two lists stand to each other.

        Args:
            rows: (R,) pictures.
            columns: (C,) pictures.

        Returns:
            iou (R, C), 0 of other places; and decided (R, C), False of pairs that share too few
            cubes to count as one place and too many for two, or of which too little is known.
        """
        iou = self.iou[rows][:, columns].toarray()
        shared = self.shared[rows][:, columns].toarray()
        known = self.seeing[rows][:, None] & self.seeing[columns][None]
        same = rows[:, None] == columns[None]
        positive = self.positive(rows, columns)
        return iou, ((positive | (shared == 0)) & known) | same

    def positive(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(R, C) whether pictures of two lists show the same place, however their boxes meet."""
        stored = sparse.csr_matrix(
            (np.ones(len(self.iou.data), np.int8), self.iou.indices, self.iou.indptr),
            shape=self.iou.shape,
        )
        return stored[rows][:, columns].toarray() > 0

    def normalised(self) -> 'Overlaps':
        """The overlaps of all pairs of different pictures stretched to 0..1, as the paper does.

        The least of them then weighs no more than none at all.
        """
        pairs = self.iou.tocoo()
        other = pairs.row != pairs.col
        if not other.any():
            return self
        values = pairs.data.copy()
        least, most = values[other].min(), values[other].max()
        if most > least:
            values[other] = (values[other] - least) / (most - least)
        iou = sparse.csr_matrix((values, (pairs.row, pairs.col)), shape=self.iou.shape)
        return Overlaps(self.shared, iou, self.seeing)


def overlaps_of(points: Sequence[Floats], worlds: Sequence[str], rule: SamePlace) -> Overlaps:
    """Overlaps of pictures by the points that each sees.

    Args:
        points: (K, 3) of each picture, in the frame of its world; rows that are not finite are
            passed over. With cubes of side 0, two are one point if all their bits are the same.
        worlds: Name of the frame of each; pictures of different frames never overlap.
        rule: What counts as the same place.

    Raises:
        DataError: A point is absurdly far away for the size of cubes.
    """
    count = len(points)
    finite = [np.asarray(p, np.float64)[np.isfinite(p).all(axis=1)] for p in points]
    seeing = np.array([len(p) > 0 for p in finite], bool)
    cubes = _incidence(finite, worlds, rule.cell)
    boxes = np.array([bounding_box(p, rule) for p in finite]).reshape(count, 2, 3)
    shared_parts, iou_parts = [], []
    across = cubes.T.tocsr()
    for start in range(0, count, _ROWS):
        shared = (cubes[start : start + _ROWS] @ across).tocoo()
        shared_parts.append(shared.tocsr())
        rows, columns = shared.row + start, shared.col
        enough = (shared.data >= rule.shared) | (rows == columns)
        rows, columns = rows[enough], columns[enough]
        values = box_iou(boxes[rows], boxes[columns])
        values[rows == columns] = 1.0
        shape = shared.shape
        iou_parts.append(
            sparse.csr_matrix((values.astype(np.float32), (rows - start, columns)), shape=shape)
        )
    if not count:
        return Overlaps(cubes @ across, sparse.csr_matrix((0, 0), dtype=np.float32), seeing)
    return Overlaps(
        sparse.vstack(shared_parts, format='csr'), sparse.vstack(iou_parts, format='csr'), seeing
    )


def bounding_box(points: Array, rule: SamePlace) -> Array:
    """The upright box around points.

    Args:
        points: (K, 3).
        rule: Which points are left out, and how thick a box is at least.

    Returns:
        (2, 3) least and greatest corner; NaN where there are too few points.
    """
    if len(points) < _LEAST_POINTS:
        return np.full((2, 3), np.nan)
    if rule.box == 'percentile':
        low, high = np.percentile(points, [rule.percent, 100.0 - rule.percent], axis=0)
    else:
        spread = np.maximum(points.std(axis=0), np.finfo(float).tiny)
        near = (np.abs(points - points.mean(axis=0)) <= _DEVIATIONS * spread).all(axis=1)
        low, high = points[near].min(axis=0), points[near].max(axis=0)
    # A wall has no volume, and would overlap nothing, itself included.
    lacking = np.maximum(rule.least_side - (high - low), 0.0) / 2
    return np.stack([low - lacking, high + lacking])


def box_iou(first: Array, second: Array) -> Array:
    """Intersection over union of upright boxes.

    Args:
        first: (..., 2, 3) least and greatest corners.
        second: The same.

    Returns:
        (...) in 0..1; 0 where a box is NaN or without volume.
    """
    low = np.maximum(first[..., 0, :], second[..., 0, :])
    high = np.minimum(first[..., 1, :], second[..., 1, :])
    common = np.clip(high - low, 0.0, None).prod(axis=-1)
    volumes = [
        np.clip(box[..., 1, :] - box[..., 0, :], 0.0, None).prod(axis=-1)
        for box in (first, second)
    ]
    union = volumes[0] + volumes[1] - common
    with np.errstate(invalid='ignore', divide='ignore'):
        ratio = common / union
    return np.where(np.isfinite(ratio), ratio, 0.0)


def _incidence(points: Sequence[Array], worlds: Sequence[str], cell: float) -> sparse.csr_matrix:
    """(N, cubes) sparse int32: 1 where a picture sees a cube, or a point for a cell of 0."""
    if not points:
        return sparse.csr_matrix((0, 0), dtype=np.int32)
    numbers = {world: i for i, world in enumerate(dict.fromkeys(worlds))}
    keys = [np.unique(key) for key in (_cubes if cell else _points)(points, cell)]
    lengths = [len(key) for key in keys]
    rows = np.repeat(np.arange(len(points)), lengths)
    frames = np.repeat([numbers[world] for world in worlds], lengths)
    column = _numbered(frames, np.concatenate(keys))
    ones = np.ones(len(rows), np.int32)
    columns = int(column.max(initial=-1)) + 1
    return sparse.csr_matrix((ones, (rows, column)), shape=(len(points), columns))


def _cubes(points: Sequence[Array], cell: float) -> list[NDArray[np.int64]]:
    """Of each picture, the number of the cube around each point."""
    half = 1 << (_BITS - 1)
    keys = []
    for row, p in enumerate(points):
        at = np.floor(p / cell).astype(np.int64)
        if len(at) and np.abs(at).max() >= half:
            raise DataError(
                f'picture {row} sees a point {np.abs(p).max():.3g} from the origin, too far for '
                f'cells of {cell:g}: is the depth or the pose in another unit?'
            )
        at += half
        keys.append((at[:, 0] << (2 * _BITS)) | (at[:, 1] << _BITS) | at[:, 2])
    return keys


def _points(points: Sequence[Array], _: float) -> list[NDArray[np.int64]]:
    """Of each picture, a number of each point; the same one for points that are bit for bit so."""
    x, y, z = np.concatenate(points).T
    number = _numbered(_numbered(x, y), z)
    return np.split(number, np.cumsum([len(p) for p in points])[:-1])


def _numbered(first: NDArray, second: NDArray) -> NDArray[np.int64]:
    """(M,) numbers from 0 of pairs of values, the same one for equal pairs."""
    (_, i), (_, j) = (np.unique(values, return_inverse=True) for values in (first, second))
    _, number = np.unique(i * (j.max(initial=0) + 1) + j, return_inverse=True)
    return number.reshape(-1).astype(np.int64)


def _columns(matrix: sparse.csr_matrix, row: int) -> NDArray[np.int64]:
    """Where a row has stored values."""
    return matrix.indices[matrix.indptr[row] : matrix.indptr[row + 1]].astype(np.int64)
