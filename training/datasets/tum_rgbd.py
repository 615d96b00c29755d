# SPDX-License-Identifier: Apache-2.0
"""TUM RGB-D: a Kinect tracked by motion capture (Sturm et al., IROS 2012).

Convention: `groundtruth.txt` is camera-to-world of the colour camera's optical frame, quaternion
x y z w; the world is the tracking system's, z up. Depth is registered to colour by the driver,
5000 units a metre, 0 where nothing was measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
import re
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import BagError, CalibrationError, DataError
from geoloc_core.evaluation.trajectory import associate, Trajectory
from geoloc_core.evaluation.tum import read_tum, stamp_ns_from_seconds
from geoloc_core.formats.kinect import TUM_CAMERAS
from geoloc_core.geometry.cameras import PinholeCamera
from geoloc_core.types import GroundView
from training.datasets.base import AbstractDataset, read_raw, read_rgb, UnreadableError
from training.datasets.hand_held import base_from_camera, T_BASE_CAMERA
from training.datasets.holdout import check_shares, GUARD, SPLITS, stretch_and_aside
from training.datasets.listfiles import refuse_strays
from training.datasets.protocol import Protocol
from training.datasets.sample import Sample

Array = NDArray[np.float64]

UNITS_PER_M = 5000.0
MAX_GAP_NS = 20_000_000
# The tracking runs at 100 Hz; a gap of more is a loss, and nothing is made up for it.
_TRUTH_PERIOD_NS = 10_000_000
_MAX_POSE_GAP_NS = 10 * _TRUTH_PERIOD_NS
_FILES = ('rgb.txt', 'depth.txt', 'groundtruth.txt')
_POSES = ('interpolate', 'nearest')


@dataclass(frozen=True)
class _Recording:
    """One sequence: colour frames that have depth and a pose."""

    name: str
    camera: PinholeCamera
    stamps: NDArray[np.int64]
    colour: tuple[Path, ...]
    depth: tuple[Path, ...]
    poses: Array


class TumRgbd(AbstractDataset):
    """One sequence, or several beside each other. The parts are stretches of each sequence."""

    NAME: ClassVar[str] = 'TUM RGB-D'
    LAYOUT: ClassVar[str] = (
        '  <root>/rgb.txt  depth.txt  groundtruth.txt     (or <root>/<sequence>/...)\n'
        '  <root>/rgb/<seconds>.png\n'
        '  <root>/depth/<seconds>.png\n'
    )
    SPLITS: ClassVar[tuple[str, ...]] = SPLITS

    def __init__(
        self,
        root: Path | str,
        split: str,
        *,
        seed: int = 0,
        intrinsics: Sequence[float] | None = None,
        poses: str = 'interpolate',
        validation: float = 0.1,
        test: float = 0.25,
        guard: float = GUARD,
        aside: float = 0.0,
    ) -> None:
        """Reads the lists and pairs colour, depth and poses.

        Args:
            root: Folder of a sequence, or of several.
            split: 'train', 'validation', 'test', or 'all' of each sequence.
            seed: Of nothing here; every reader has it.
            intrinsics: fx fy cx cy [k1 k2 p1 p2 k3] for pictures of 640 x 480; None takes the
                publisher's by the folder's name (freiburg1, 2 or 3).
            poses: 'interpolate' between those around a picture, or take the 'nearest'.
            validation: Share of what precedes the test.
            test: Share of each sequence, its end; 0 for whole sequences.
            guard: Share of what precedes the test, before the validation, that is left out.
            aside: Share of what precedes the test that joins the validation for where it looks:
                the frames whose optical axes are farthest from the mean; 0 for none.

        Raises:
            DataError: No such folder, a list is absent or damaged, the camera is not known, or
                no picture has both depth and pose.
        """
        super().__init__(root, split, seed=seed)
        check_shares(validation=validation, test=test, guard=guard, aside=aside)
        if poses not in _POSES:
            raise DataError(f'poses = {poses!r}: expected one of {_POSES}')
        self._missing: list[str] = []
        self._recordings: list[_Recording] = []
        self._frames: list[tuple[int, int]] = []
        for folder in _folders(self.root):
            camera = _camera_of(folder, intrinsics)
            recording = self._read(folder, camera, poses)
            chosen = stretch_and_aside(
                recording.poses[:, :3, 2],
                split,
                validation=validation,
                test=test,
                guard=guard,
                aside=aside,
            )
            self._frames += [(len(self._recordings), i) for i in chosen]
            self._recordings.append(recording)
        self._keys = [
            f'{self._recordings[r].name}/{self._recordings[r].colour[i].stem}'
            for r, i in self._frames
        ]

    def _read(self, folder: Path, camera: PinholeCamera, poses: str) -> _Recording:
        colour_stamps, colour = read_list(folder / 'rgb.txt')
        depth_stamps, depth = read_list(folder / 'depth.txt')
        truth = _read_truth(folder / 'groundtruth.txt')
        i, j = associate(colour_stamps, depth_stamps, MAX_GAP_NS)
        without = len(colour) - len(i)
        placed, known = _poses_at(truth, colour_stamps[i], poses)
        if not known.any():
            raise DataError(
                f'{folder}: none of {len(colour)} pictures has both depth within 20 ms and a pose '
                'in groundtruth.txt; are the lists of one sequence?'
            )
        if without:
            self._missing.append(
                f'{folder}: {without} of {len(colour)} pictures have no depth within 20 ms and '
                'are left out'
            )
        if not known.all():
            self._missing.append(
                f'{folder}: {int((~known).sum())} of {len(colour)} pictures lie in gaps of '
                'groundtruth.txt and are left out'
            )
        return _Recording(
            folder.name,
            camera,
            colour_stamps[i][known],
            tuple(colour[k] for k in i[known]),
            tuple(depth[k] for k in j[known]),
            placed[known],
        )

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """Whether a folder holds the lists of a sequence, or sequences."""
        return root.is_dir() and bool(_sequence_folders(root))

    @property
    def keys(self) -> Sequence[str]:
        """'<sequence>/<seconds>', as the colour picture is called."""
        return self._keys

    @property
    def protocol(self) -> Protocol | None:
        """None: the room is known, the place in it is not."""
        return None

    def files(self, index: int) -> tuple[Path, ...]:
        """Colour and depth of a frame."""
        recording, i = self._at(index)
        return recording.colour[i], recording.depth[i]

    def missing(self) -> Sequence[str]:
        """How many pictures have no depth or no pose."""
        return tuple(self._missing)

    def sample(self, index: int, epoch: int = 0) -> Sample:
        """One frame."""
        recording, i = self._at(index)
        image, depth = read_rgb(recording.colour[i]), read_depth(recording.depth[i])
        height, width = image.shape[:2]
        if depth.shape != (height, width):
            raise UnreadableError(
                recording.depth[i],
                f'{width} x {height} pixels as in colour, not {depth.shape[::-1]}',
            )
        camera = recording.camera.resized(width, height)
        return Sample(
            key=self._keys[index],
            sequence=recording.name,
            view=GroundView(int(recording.stamps[i]), image, camera, T_BASE_CAMERA, depth),
            T_map_base=base_from_camera(recording.poses[i]),
        )

    def _at(self, index: int) -> tuple[_Recording, int]:
        number, i = self._frames[index]
        return self._recordings[number], i


def read_list(path: Path) -> tuple[NDArray[np.int64], list[Path]]:
    """Stamps (N,) in ns, increasing, and files of `rgb.txt` or `depth.txt`.

    Raises:
        DataError: Missing, a line is not 'seconds file', or two lines claim one file or stamp.
    """
    if not path.is_file():
        raise DataError(f'{path} is absent; it comes with the sequence: lines "seconds file"')
    entries: list[tuple[int, Path]] = []
    text = path.read_text(encoding='utf-8-sig', errors='replace')
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words or words[0].startswith('#'):
            continue
        try:
            seconds, name = words
            refuse_strays(path, [name])
            entries.append((stamp_ns_from_seconds(seconds), path.parent / name))
        except ValueError as error:
            raise DataError(f'{path}:{number} is {line!r}; expected "seconds file"') from error
    entries.sort()
    for what, values in (
        ('stamp', [stamp for stamp, _ in entries]),
        ('file', [file for _, file in entries]),
    ):
        if len(set(values)) < len(values):
            twice = next(value for k, value in enumerate(values) if value in values[:k])
            raise DataError(f'{path}: two lines claim the {what} {twice}; remove one of them')
    return np.array([stamp for stamp, _ in entries], np.int64), [file for _, file in entries]


def read_depth(path: Path) -> NDArray[np.float32]:
    """(H, W) float32 m, NaN where nothing was measured.

    Raises:
        UnreadableError: Missing, damaged, or not 16-bit grey.
    """
    raw = read_raw(path)
    if raw.dtype != np.uint16 or raw.ndim != 2:
        raise UnreadableError(path, f'a 16-bit grey picture, not {raw.dtype} {raw.shape}')
    depth = raw.astype(np.float32) / np.float32(UNITS_PER_M)
    depth[raw == 0] = np.nan
    return depth


def _read_truth(path: Path) -> Trajectory:
    try:
        return read_tum(path)
    except BagError as error:
        raise DataError(
            f'{error}; expected the groundtruth.txt of the sequence: lines '
            '"seconds tx ty tz qx qy qz qw", camera to world'
        ) from error


def _poses_at(truth: Trajectory, stamps: NDArray[np.int64], how: str) -> tuple[Array, NDArray]:
    """(N, 4, 4) camera -> world at stamps, and (N,) where there is one."""
    poses, known = np.full((len(stamps), 4, 4), np.nan), np.zeros(len(stamps), bool)
    if how == 'interpolate':
        poses, known = truth.at(stamps, _MAX_POSE_GAP_NS)
    # Before the first pose and after the last one there is nothing to interpolate.
    limit = MAX_GAP_NS if how == 'nearest' else _TRUTH_PERIOD_NS
    right = np.searchsorted(truth.stamps_ns, stamps)
    for k in np.flatnonzero(~known):
        around = [n for n in (right[k] - 1, right[k]) if 0 <= n < len(truth)]
        nearest = min(around, key=lambda n: abs(truth.stamps_ns[n] - stamps[k]), default=None)
        if nearest is not None and abs(truth.stamps_ns[nearest] - stamps[k]) <= limit:
            poses[k], known[k] = truth.poses[nearest], True
    return poses, known


def _camera_of(folder: Path, intrinsics: Sequence[float] | None) -> PinholeCamera:
    if intrinsics is not None:
        numbers = [float(value) for value in intrinsics]
        if len(numbers) not in (4, 8, 9):
            raise DataError(
                f'intrinsics {numbers}: expected fx fy cx cy, with k1 k2 p1 p2 [k3] or without'
            )
        try:
            return PinholeCamera(640, 480, *numbers[:4], tuple(numbers[4:]))
        except CalibrationError as error:
            raise DataError(f'intrinsics {numbers}: {error}') from error
    found = re.search(r'freiburg([123])', str(folder.resolve().name))
    if found is None:
        raise DataError(
            f'{folder}: the name does not tell which Kinect (freiburg1, 2 or 3) took it; keep the '
            "publisher's name or give intrinsics = [fx, fy, cx, cy]"
        )
    return TUM_CAMERAS[int(found[1])]


def _sequence_folders(root: Path) -> list[Path]:
    def is_sequence(path: Path) -> bool:
        return any((path / name).is_file() for name in _FILES[:2])

    if is_sequence(root):
        return [root]
    return sorted(path for path in root.iterdir() if path.is_dir() and is_sequence(path))


def _folders(root: Path) -> list[Path]:
    found = _sequence_folders(root)
    if not found:
        raise DataError(f'{root} holds no sequence; expected\n{TumRgbd.LAYOUT}')
    return found
