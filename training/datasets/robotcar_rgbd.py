# SPDX-License-Identifier: Apache-2.0
"""Oxford RobotCar with INS poses and depth from lidar: the splits of absolute pose regression.

References: Maddern et al., "1 Year, 1000 km", IJRR 2017; Brahmbhatt et al., "Geometry-Aware
Learning of Maps for Camera Localization", CVPR 2018, whose LOOP and FULL splits these are.

Poses are those of the camera in an ENU frame, z up: the INS solution, interpolated, brought to
the camera by the extrinsics. `poses='published'` gives what the regression literature compares
on instead: the INS's own pose, its rotation in (north, east, down), its place in UTM.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
import os
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import ConfigError, DataError
from geoloc_core.formats import robotcar
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import PinholeCamera
from geoloc_core.geometry.geodesy import Datum, EnuFrame
from geoloc_core.types import GroundView
from training.datasets.base import (
    AbsentError,
    AbstractDataset,
    read_raw,
    read_rgb,
    UnreadableError,
)
from training.datasets.listfiles import hold_out_blocks
from training.datasets.robotcar_ins import InsRows, read_ins, read_vo, Track
from training.datasets.robotcar_lidar import depth_image, gather, scan_stamps
from training.datasets.sample import Sample

Array = NDArray[np.float64]

# The middle of the routes; one map frame for all traversals.
DATUM = Datum(51.7566, -1.2600, 110.0)
# Farther from the datum than this nothing of Oxford is, m.
_MAX_DISTANCE_M = 50_000.0

TRAVERSALS: dict[str, dict[str, tuple[str, ...]]] = {
    'loop': {
        'trainval': ('2014-06-26-09-24-58', '2014-06-26-08-53-56'),
        'test1': ('2014-06-23-15-41-25',),
        'test2': ('2014-06-23-15-36-04',),
    },
    'full': {
        'trainval': ('2014-11-28-12-07-13', '2014-12-02-15-30-08'),
        'test1': ('2014-12-09-13-21-02',),
        'test2': ('2014-12-12-10-45-15',),
    },
}
_PARTS = ('train', 'validation', 'trainval', 'test1', 'test2')
_FOLDERS = {'raw': 'centre', 'processed': 'centre_processed'}


@dataclass(frozen=True)
class _Traversal:
    """A drive's folder, that of its pictures, and its INS file."""

    folder: Path
    pictures: Path
    rows: InsRows

    @property
    def is_raw(self) -> bool:
        """Whether the pictures are as the camera stored them."""
        return self.pictures.name == _FOLDERS['raw']


class RobotCarRgbd(AbstractDataset):
    """One sample a frame of the centre camera: picture, depth from lidar, INS pose.

    base_link lies under the camera by its nominal height, x forward along the vehicle.

    Attributes:
        without_pose: Pictures that are left out because no good INS solution lies around them.
    """

    NAME: ClassVar[str] = 'robotcar-rgbd'
    LAYOUT: ClassVar[str] = (
        '[loop/ or full/]<traversal>/stereo/centre/<stamp>.png (or stereo/centre_processed)\n'
        '<traversal>/gps/ins.csv\n'
        '<traversal>/lms_front/<stamp>.bin, <traversal>/lms_front.timestamps (for depth)\n'
        'models/stereo_narrow_left.txt, ..._distortion_lut.bin (of the SDK; or `models` says)\n'
        'extrinsics/{stereo,ins,lms_front}.txt (of the SDK; published numbers if absent)'
    )
    SPLITS: ClassVar[tuple[str, ...]] = tuple(
        f'{scene}-{part}' for scene in TRAVERSALS for part in _PARTS
    )

    def __init__(
        self,
        root: Path | str,
        split: str,
        *,
        seed: int = 0,
        traversals: Sequence[str] | None = None,
        image: str = 'auto',
        undistort: bool = True,
        models: Path | str | None = None,
        extrinsics: Path | str | None = None,
        lidar: str = 'auto',
        window_s: float = 10.0,
        depth_poses: str = 'ins',
        poses: str = 'enu',
        datum: Datum = DATUM,
        camera_height_m: float = robotcar.CAMERA_HEIGHT_M,
    ) -> None:
        """Lists the frames and reads the INS files; pictures and scans wait.

        Args:
            root: Folder with the traversals, or with `loop` and `full` that hold them.
            split: '<loop or full>-<part>'; 'validation' holds runs of 100 frames out of
                'trainval', the publisher's training set, and 'train' has the rest.
            seed: Unused: nothing is drawn.
            traversals: Names of folders to take instead of the split's.
            image: 'raw' (Bayer), 'processed' (undistorted and reduced beforehand), or 'auto':
                raw where it is there.
            undistort: Raw pictures through the SDK's table; False leaves the lens's distortion in
                a picture whose camera does not know of it.
            models: The SDK's `models` folder, if not in `root`.
            extrinsics: The SDK's `extrinsics` folder, if not in `root`.
            lidar: Depth from 'lms_front', 'ldmrs', 'none', or 'auto': the first that is there.
            window_s: Scans of so long before and after the picture are put together.
            depth_poses: 'ins' or 'vo' moves the scans; visual odometry is smoother.
            poses: 'enu', or 'published' as literature on pose regression has them.
            datum: Of the map frame.
            camera_height_m: Over the ground; the data set does not say.

        Raises:
            DataError: Folder, split or traversals are missing, or an INS file is damaged.
            ConfigError: An option is unknown.
        """
        super().__init__(root, split, seed=seed)
        for name, value, known in (
            ('image', image, ('auto', 'raw', 'processed')),
            ('lidar', lidar, ('auto', 'lms_front', 'ldmrs', 'none')),
            ('depth_poses', depth_poses, ('ins', 'vo')),
            ('poses', poses, ('enu', 'published')),
        ):
            if value not in known:
                raise ConfigError(f'{name} is {value!r}: choose one of {known}')
        self._image, self._undistort, self._published = image, undistort, poses == 'published'
        self._lidar, self._window_s, self._depth_poses = lidar, window_s, depth_poses
        self._models = Path(models) if models else self.root / 'models'
        own = Path(extrinsics) if extrinsics else self.root / 'extrinsics'
        self._extrinsics = own if extrinsics or own.is_dir() else None
        self._frame = EnuFrame(datum)
        self._height = camera_height_m
        self.without_pose = 0
        self._missing: list[str] = []
        self._traversals: dict[str, _Traversal] = {}
        self._tracks: dict[tuple[str, bool], Track] = {}
        scene, part = split.split('-')
        names = TRAVERSALS[scene].get(part, TRAVERSALS[scene]['trainval'])
        frames: list[tuple[str, int]] = []
        for name in traversals or names:
            frames += [(name, stamp) for stamp in self._open(scene, name)]
        if not frames and not self._traversals:
            raise AbsentError(
                f'{self.root} has none of the traversals {", ".join(traversals or names)} of '
                f'{split}: expected folders of these names here or in {scene}/'
            )
        if part in ('train', 'validation'):
            held, train = hold_out_blocks([name for name, _ in frames])
            kept = held if part == 'validation' else train
            frames = [frame for frame, keep in zip(frames, kept, strict=True) if keep]
        self._frames = frames
        self._keys = [f'{name}/{stamp}' for name, stamp in frames]

    # ---- what is there ----

    def _open(self, scene: str, name: str) -> list[int]:
        """Stamps of a traversal's usable frames, us."""
        for folder in (self.root / name, self.root / scene / name):
            if folder.is_dir():
                break
        else:
            self._missing.append(f'traversal {name} is missing: expected in {self.root / name}')
            return []
        pictures = self._pictures(folder)
        if pictures is None:
            self._missing.append(
                f'pictures of {name} are missing: expected in {folder / "stereo" / "centre"}'
            )
            return []
        stamps = _stamps_of(pictures)
        rows = read_ins(folder / 'gps' / 'ins.csv')
        self._refuse_elsewhere(folder, rows)
        self._traversals[name] = _Traversal(folder, pictures, rows)
        listed = scan_stamps(folder / 'stereo.timestamps')
        if len(absent := np.setdiff1d(listed, stamps)):
            self._missing.append(
                f'{len(absent)} of {len(listed)} pictures that {name}/stereo.timestamps lists are '
                f'not in {pictures}, the first is {absent[0]}.png'
            )
        track = Track(rows.stamps_us, np.broadcast_to(np.eye(4), (len(rows.stamps_us), 4, 4)))
        covered = track.covers(stamps)
        self.without_pose += int((~covered).sum())
        return stamps[covered].tolist()

    def _pictures(self, folder: Path) -> Path | None:
        kinds = ('raw', 'processed') if self._image == 'auto' else (self._image,)
        for kind in kinds:
            pictures = folder / 'stereo' / _FOLDERS[kind]
            if pictures.is_dir():
                return pictures
        return None

    def _refuse_elsewhere(self, folder: Path, rows: InsRows) -> None:
        xyz = self._frame.enu_from_geodetic(*rows.geodetic[0])
        distance = float(np.hypot(*xyz[:2]))
        if distance > _MAX_DISTANCE_M:
            raise DataError(
                f'{folder} lies {distance / 1000:.0f} km from the datum {self._frame.datum}: give '
                'the place as datum=Datum(lat, lon, alt)'
            )

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """A folder with traversals that have a stereo camera and an INS."""
        return any(
            any(root.glob(f'{above}20??-??-??-??-??-??/gps/ins.csv'))
            for above in ('', 'loop/', 'full/')
        )

    @property
    def keys(self) -> Sequence[str]:
        """'<traversal>/<stamp in us>', traversal by traversal, in order of time."""
        return self._keys

    @property
    def protocol(self) -> None:
        """Nothing is known beforehand."""
        return None

    def missing(self) -> Sequence[str]:
        """Absent traversals, pictures, lidar and camera model."""
        found = list(self._missing)
        if any(traversal.is_raw for traversal in self._traversals.values()) and self._undistort:
            for suffix in ('.txt', '_distortion_lut.bin'):
                file = self._models / f'{robotcar.CAMERA_MODEL}{suffix}'
                if not file.is_file():
                    found.append(f'{file} of the RobotCar SDK is missing: pictures stay distorted')
        for name, traversal in self._traversals.items():
            if self._lidar != 'none' and self._scanner(name) is None:
                found.append(
                    f'{name} has no lidar: expected {traversal.folder / "lms_front"} and '
                    'lms_front.timestamps; its samples have no depth'
                )
        return found

    def _scanner(self, name: str) -> str | None:
        folder = self._traversals[name].folder
        wanted = ('lms_front', 'ldmrs') if self._lidar == 'auto' else (self._lidar,)
        for lidar in wanted:
            if (folder / lidar).is_dir() and (folder / f'{lidar}.timestamps').is_file():
                return lidar
        return None

    def files(self, index: int) -> tuple[Path, ...]:
        """Picture and INS file; scans are opened too, but a sample does without them."""
        name, stamp = self._frames[index]
        traversal = self._traversals[name]
        return traversal.pictures / f'{stamp}.png', traversal.folder / 'gps' / 'ins.csv'

    # ---- samples ----

    def T_vehicle_camera(self, model: robotcar.CameraModel) -> Array:
        """(4, 4) optical frame -> vehicle (forward, right, down)."""
        T_camera_vehicle = robotcar.read_extrinsics(self._extrinsics, 'stereo')
        return se3.inverse(T_camera_vehicle) @ model.T_camera_optical

    def _read(self, index: int) -> tuple[NDArray[np.uint8], PinholeCamera, robotcar.CameraModel]:
        """Picture, its projection and its model."""
        path = self.files(index)[0]
        model = robotcar.CameraModel.nominal()
        if not self._traversals[self._frames[index][0]].is_raw:
            image = read_rgb(path)
            return image, model.camera().resized(image.shape[1], image.shape[0]), model
        raw = read_raw(path)
        if raw.ndim != 2 or raw.dtype != np.uint8:
            raise UnreadableError(path, 'a Bayer picture of one channel, 8 bits')
        size = (raw.shape[1], raw.shape[0])
        image = robotcar.demosaic(raw)
        if not self._undistort:
            return image, model.camera().resized(*size), model
        model = _camera_model(self._models, size)
        return model.undistorted(image), model.camera(size), model

    def T_map_vehicle(self, index: int) -> Array:
        """(4, 4) vehicle frame (forward, right, down) at the picture's time -> ENU."""
        name, stamp = self._frames[index]
        T_map_ins = self._track(name, published=False).at(np.array([stamp]))[0]
        return T_map_ins @ se3.inverse(robotcar.read_extrinsics(self._extrinsics, 'ins'))

    def published_pose(self, index: int) -> Array:
        """(4, 4) as pose regression is trained on it; see `InsRows.published`."""
        name, stamp = self._frames[index]
        return self._track(name, published=True).at(np.array([stamp]))[0]

    def _track(self, name: str, published: bool) -> Track:
        if (name, published) not in self._tracks:
            rows = self._traversals[name].rows
            track = rows.published() if published else rows.track(self._frame)
            self._tracks[name, published] = track
        return self._tracks[name, published]

    def sample(self, index: int, epoch: int = 0) -> Sample:
        """One frame.

        Raises:
            UnreadableError: The picture is missing or damaged.
            DataError: The camera model is missing or damaged.
        """
        name, stamp = self._frames[index]
        image, camera, model = self._read(index)
        # base_link: the vehicle's axes with y left and z up, on the ground.
        T_base_vehicle = se3.make(robotcar.FLU_FROM_FRD, [0.0, 0.0, self._height])
        T_vehicle_camera = self.T_vehicle_camera(model)
        depth = self._depth(name, stamp, camera, T_vehicle_camera)
        if self._published:
            T_map_base, T_base_camera = self.published_pose(index), np.eye(4)
        else:
            T_map_base = self.T_map_vehicle(index) @ se3.inverse(T_base_vehicle)
            T_base_camera = T_base_vehicle @ T_vehicle_camera
        return Sample(
            key=self._keys[index],
            sequence=name,
            view=GroundView(stamp * 1000, image, camera, T_base_camera, depth),
            T_map_base=T_map_base,
            datum=None if self._published else self._frame.datum,
        )

    def _depth(
        self, name: str, stamp: int, camera: PinholeCamera, T_vehicle_camera: Array
    ) -> NDArray[np.float32] | None:
        scanner = None if self._lidar == 'none' else self._scanner(name)
        if scanner is None:
            return None
        folder = self._traversals[name].folder
        if self._depth_poses == 'ins':
            T_vehicle_pose = robotcar.read_extrinsics(self._extrinsics, 'ins')
            track = self._track(name, published=False)
        else:
            # Visual odometry moves the vehicle frame itself.
            T_vehicle_pose = np.eye(4)
            track = _visual_odometry(folder / 'vo' / 'vo.csv')
        T_vehicle_laser = robotcar.read_extrinsics(self._extrinsics, scanner)
        T_pose_laser = se3.inverse(T_vehicle_pose) @ T_vehicle_laser
        points = gather(folder, scanner, track, T_pose_laser, stamp, self._window_s)
        T_camera_pose = se3.inverse(T_vehicle_camera) @ T_vehicle_pose
        return depth_image(se3.transform(T_camera_pose, points), camera)


def _stamps_of(folder: Path) -> NDArray[np.int64]:
    """Stamps of the pictures in a folder, in order of time.

    Copies made on a Mac carry '._<stamp>.png' files beside the pictures, which are none.
    """
    with os.scandir(folder) as entries:
        stems = [e.name[:-4] for e in entries if e.name.endswith('.png') and e.name[0] != '.']
    return np.array(sorted(int(stem) for stem in stems if stem.isdigit()), dtype=np.int64)


@lru_cache(maxsize=4)
def _camera_model(models: Path | None, size: tuple[int, int] | None) -> robotcar.CameraModel:
    if models is None:
        return robotcar.CameraModel.nominal()
    return robotcar.CameraModel.read(models, size or robotcar.IMAGE_SIZE)


@lru_cache(maxsize=4)
def _visual_odometry(file: Path) -> Track:
    return read_vo(file)
