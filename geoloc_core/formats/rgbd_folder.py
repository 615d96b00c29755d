# SPDX-License-Identifier: Apache-2.0
"""Folders of RGB-D frames in two published layouts, as they lie on disk.

7-Scenes (Shotton et al., CVPR 2013): `frame-000000.{color.png,depth.png,pose.txt}`; depth in mm of
a sensor of its own, whose pose is given; frames carry a number and no time.
TUM RGB-D (Sturm et al., IROS 2012): `rgb.txt`, `depth.txt`, `groundtruth.txt` with times; depth is
registered to colour, 5000 counts a metre; poses are the colour camera's.

Convention: T_world_camera takes points of the COLOUR camera's optical frame into the data set's
world. TUM's z is up; which way 7-Scenes' world is turned nobody says (roughly y down).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
import re

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import BagError, CalibrationError, DataError
from geoloc_core.evaluation.trajectory import Trajectory
from geoloc_core.evaluation.tum import read_tum, stamp_ns_from_seconds
from geoloc_core.formats.kinect import CALIBRATIONS, DEPTH_CAMERA, TUM_CAMERAS
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import PinholeCamera

Array = NDArray[np.float64]

LAYOUTS = (
    '  <folder>/frame-000000.{color.png or .jpg,depth.png,pose.txt}    7-Scenes, one sequence\n'
    '  <folder>/{rgb.txt,depth.txt,groundtruth.txt} rgb/ depth/        TUM RGB-D\n'
    '(depth and poses may be absent)'
)
# Besides the calibrations of `kinect`: depth laid over colour already, one camera and one pose.
REGISTERED = 'registered'

_FRAME = re.compile(r'frame-(\d{6})\.(color\.png|color\.jpg|depth\.png|pose\.txt)')
_NO_RETURN = 65535
# A matrix farther than this from any rotation is damaged, or no pose.
_MAX_OFF_ROTATION = 0.02


@dataclass(frozen=True)
class Picture:
    """A picture on disk and its stamp; frames of 7-Scenes are counted as if at the given rate."""

    stamp_ns: int
    path: Path
    number: int


@dataclass(frozen=True, eq=False)
class RgbdFolder:
    """What a folder holds.

    Attributes:
        name: Of the folder.
        layout: '7-Scenes' or 'TUM'.
        colour: Colour pictures by increasing stamp.
        depth: Depth pictures by increasing stamp.
        poses: T_world_camera of the colour camera, as the data set gives them; possibly empty.
        colour_camera: For the colour pictures' size.
        depth_camera: For the depth pictures' size.
        T_colour_depth: (4, 4) depth camera -> colour camera; identity where depth is registered.
        unit_m: Metres of one count of depth.
        z_up: Whether z of the world is known to point up.
        problems: What was left out, one sentence each.
    """

    name: str
    layout: str
    colour: tuple[Picture, ...]
    depth: tuple[Picture, ...]
    poses: Trajectory
    colour_camera: PinholeCamera
    depth_camera: PinholeCamera
    T_colour_depth: Array
    unit_m: float
    z_up: bool
    problems: tuple[str, ...] = ()

    @property
    def is_registered(self) -> bool:
        """Whether depth lies on the colour pictures as it is."""
        same = self.depth_camera == self.colour_camera
        return same and bool(np.array_equal(self.T_colour_depth, np.eye(4)))


def open_rgbd_folder(
    folder: str | Path,
    *,
    calibration: str = 'liris',
    intrinsics: Sequence[float] | None = None,
    rate_hz: float = 30.0,
) -> RgbdFolder:
    """Lists the frames of a folder.

    Args:
        folder: Of one sequence.
        calibration: For 7-Scenes: how colour and depth stand to each other, a key of
            `kinect.CALIBRATIONS`, or 'registered' for other people's frames in this layout.
        intrinsics: fx fy cx cy [k1 k2 p1 p2 [k3]] of the colour camera for its pictures' size;
            None takes the data set's.
        rate_hz: For 7-Scenes: frames a second.

    Raises:
        DataError: No such folder or layout, damaged lists, or an unknown camera.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f'no folder {root}')
    if not rate_hz > 0:
        raise DataError(f'rate {rate_hz} Hz: expected a positive number')
    if (root / 'rgb.txt').is_file():
        return _tum(root, intrinsics)
    if any(root.glob('frame-*.color.*')):
        return _seven_scenes(root, calibration, intrinsics, rate_hz)
    inside = sorted(path.name for path in root.glob('seq-*') if path.is_dir())
    hint = f'; it has the sequences {", ".join(inside[:5])}: name one of them' if inside else ''
    raise DataError(f'{root} holds no RGB-D frames{hint}. Expected\n{LAYOUTS}')


def read_counts(path: Path) -> NDArray[np.uint16]:
    """(H, W) counts of a depth picture; 0 where nothing was measured, also where it says 65535.

    Raises:
        DataError: Missing, damaged, or not 16-bit grey.
    """
    raw = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if raw is None or raw.dtype != np.uint16 or raw.ndim != 2:
        found = 'cannot be read' if raw is None else f'is {raw.dtype} {raw.shape}'
        raise DataError(f'{path} {found}; expected a 16-bit grey picture of depth')
    return np.where(raw == _NO_RETURN, 0, raw).astype(np.uint16)


def _size(path: Path) -> tuple[int, int]:
    """(width, height) of a picture."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise DataError(f'{path} is not a picture')
    return int(image.shape[1]), int(image.shape[0])


def _given_camera(intrinsics: Sequence[float], size: tuple[int, int]) -> PinholeCamera:
    numbers = [float(value) for value in intrinsics]
    if len(numbers) not in (4, 8, 9):
        raise DataError(
            f'intrinsics {numbers}: expected fx fy cx cy, with k1 k2 p1 p2 [k3] or without'
        )
    try:
        fx, fy, cx, cy = numbers[:4]
        return PinholeCamera(*size, fx, fy, cx, cy, tuple(numbers[4:]))
    except CalibrationError as error:
        raise DataError(f'intrinsics {numbers}: {error}') from error


# ---- 7-Scenes ----


def _seven_scenes(
    root: Path, calibration: str, intrinsics: Sequence[float] | None, rate_hz: float
) -> RgbdFolder:
    files: dict[int, dict[str, Path]] = {}
    for path in root.iterdir():
        # macOS leaves '._frame-...' beside each file of an archive; they do not match.
        match = _FRAME.fullmatch(path.name)
        if match is not None:
            files.setdefault(int(match[1]), {}).setdefault(match[2].partition('.')[0], path)
    numbers = sorted(n for n, parts in files.items() if 'color' in parts)
    colour = [Picture(round(n * 1e9 / rate_hz), files[n]['color'], n) for n in numbers]
    depth = [
        Picture(p.stamp_ns, files[p.number]['depth'], p.number)
        for p in colour
        if 'depth' in files[p.number]
    ]
    width, height = _size(colour[0].path)
    sensor = DEPTH_CAMERA
    if calibration == REGISTERED:
        camera = sensor.resized(width, height)
        if intrinsics is not None:
            camera = _given_camera(intrinsics, (width, height))
        sensor, T = camera, np.eye(4)
    elif calibration in CALIBRATIONS:
        chosen = CALIBRATIONS[calibration]
        camera, T = chosen.camera.resized(width, height), chosen.T_colour_depth
        if intrinsics is not None:
            camera = _given_camera(intrinsics, (width, height))
    else:
        names = (*CALIBRATIONS, REGISTERED)
        raise DataError(f'calibration {calibration!r}: choose one of {", ".join(names)}')
    poses, problems = [], []
    for picture in colour:
        if 'pose' not in files[picture.number]:
            continue
        try:
            T_world_depth = _read_matrix(files[picture.number]['pose'])
            poses.append((picture.stamp_ns, T_world_depth @ se3.inverse(T)))
        except DataError as error:
            problems.append(str(error))
    return RgbdFolder(
        root.resolve().name,
        '7-Scenes',
        tuple(colour),
        tuple(depth),
        Trajectory.of(poses),
        camera,
        sensor.resized(*_size(depth[0].path)) if depth else sensor,
        T,
        0.001,
        False,
        tuple(problems),
    )


def _read_matrix(path: Path) -> Array:
    """(4, 4) camera -> world, the nearest rigid motion to what the file says.

    Raises:
        DataError: Not sixteen finite numbers, or no rotation.
    """
    try:
        numbers = np.array([float(word) for word in path.read_text(encoding='ascii').split()])
    except (OSError, ValueError) as error:
        raise DataError(f'{path} cannot be read as sixteen numbers') from error
    if numbers.size != 16 or not np.isfinite(numbers).all():
        raise DataError(f'{path} holds no pose: {numbers.size} numbers, all of 16 must be finite')
    matrix = numbers.reshape(4, 4)
    u, _, vt = np.linalg.svd(matrix[:3, :3])
    R = u @ vt
    off = float(np.abs(R - matrix[:3, :3]).max())
    if np.linalg.det(R) < 0 or off > _MAX_OFF_ROTATION:
        raise DataError(f'{path}: the pose is no rotation, but {off:.3f} from the nearest one')
    return se3.make(R, matrix[:3, 3])


# ---- TUM RGB-D ----


def _tum(root: Path, intrinsics: Sequence[float] | None) -> RgbdFolder:
    colour = _read_list(root / 'rgb.txt')
    depth = _read_list(root / 'depth.txt') if (root / 'depth.txt').is_file() else ()
    if not colour:
        raise DataError(f'{root / "rgb.txt"} names no picture; expected lines "seconds file"')
    poses = Trajectory.of([])
    if (root / 'groundtruth.txt').is_file():
        try:
            poses = read_tum(root / 'groundtruth.txt')
        except BagError as error:
            raise DataError(str(error)) from error
    size = _size(colour[0].path)
    if intrinsics is not None:
        camera = _given_camera(intrinsics, size)
    else:
        found = re.search(r'freiburg([123])', root.resolve().name)
        if found is None:
            raise DataError(
                f'{root}: the name does not tell which Kinect (freiburg1, 2 or 3) took it; keep '
                "the publisher's name or give the intrinsics"
            )
        camera = TUM_CAMERAS[int(found[1])].resized(*size)
    return RgbdFolder(
        root.resolve().name,
        'TUM',
        colour,
        depth,
        poses,
        camera,
        camera.resized(*_size(depth[0].path)) if depth else camera,
        np.eye(4),
        1 / 5000,
        True,
    )


def _read_list(path: Path) -> tuple[Picture, ...]:
    entries: dict[int, Path] = {}
    text = path.read_text(encoding='utf-8-sig', errors='replace')
    for row, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words or words[0].startswith('#'):
            continue
        try:
            seconds, name = words
            stamp = stamp_ns_from_seconds(seconds)
        except ValueError as error:
            raise DataError(f'{path}:{row} is {line!r}; expected "seconds file"') from error
        file = path.parent / name
        if not file.resolve().is_relative_to(path.parent.resolve()):
            raise DataError(f'{path}:{row}: {name} lies outside of the sequence')
        if stamp in entries:
            raise DataError(f'{path}:{row}: the stamp {seconds} is there twice; remove one')
        entries[stamp] = file
    return tuple(Picture(s, entries[s], i) for i, s in enumerate(sorted(entries)))
