# SPDX-License-Identifier: Apache-2.0
"""KITTI raw drives with a satellite tile per frame, as the cross-view field compares on them.

Reference: Shi and Li, "Beyond Cross-view Image Retrieval: Highly Accurate Vehicle Localization
Using Satellite Image", CVPR 2022; its split lists, noise and tiles are those of most later work.

The publisher turns each tile until the car's heading points right, moves the camera to the
middle, shifts by up to 20 m along and across the heading, turns by up to 10 degrees more, and
asks for that shift and turn. Here the tile stays north-up and the same numbers make the prior:
its place is the middle of the publisher's crop, its yaw the direction that lies to the right in
it. What a method finds from our prior is what it would find in that crop.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
import re
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import ConfigError, DataError
from geoloc_core.formats import kitti_raw
from geoloc_core.formats.kitti_raw import ALT, LAT, LON, PITCH, ROLL, YAW
from geoloc_core.geometry import angles, se3, tiles
from geoloc_core.geometry.cameras import PinholeCamera
from geoloc_core.geometry.geodesy import Datum
from geoloc_core.geometry.grid import Grid
from geoloc_core.types import AerialPatch, GroundView
from training.datasets.aerial import crop_patch, whole_patch
from training.datasets.base import AbsentError, AbstractDataset, read_rgb, UnreadableError
from training.datasets.listfiles import (
    find_list,
    hold_out_blocks,
    hold_out_groups,
    number_repeats,
    read_lines,
    refuse_duplicates,
)
from training.datasets.protocol import fractions, Protocol
from training.datasets.sample import Sample

Array = NDArray[np.float64]
Packets = Mapping[str, Mapping[int, Array]]

# Tiles are static maps of zoom 18 at scale 2; all drives count with the ground size there.
PROTOCOL_LAT_DEG = 49.015
ZOOM = 18
SCALE = 2
PROTOCOL_GSD = tiles.gsd(PROTOCOL_LAT_DEG, ZOOM) / SCALE
# Camera 2 from the OXTS unit in the publisher's code: forward and to the right, m.
NOMINAL_FORWARD_M, NOMINAL_RIGHT_M = 1.08, 0.26
# Rate of the `_sync` drives, where no timestamps.txt says better.
_NOMINAL_PERIOD_NS = 100_000_000
# A level camera looking along x of base_link: optical axes (right, down, forward) in its axes.
_R_LEVEL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])

_LISTS = {
    'train': 'train_files.txt',
    'validation': 'train_files.txt',
    'trainval': 'train_files.txt',
    'test1': 'test1_files.txt',
    'test2': 'test2_files.txt',
}
_PATH = re.compile(r'(\d{4}_\d\d_\d\d)/(\1_drive_\d{4}_sync)/(\d{10})\.png')


class KittiCrossView(AbstractDataset):
    """One sample a frame: left colour image, satellite tile, OXTS pose, prior of the protocol.

    base_link lies on the ground under camera 2, x along the car's heading; the map frame is ENU
    at the OXTS unit of that very frame, which is the middle of its tile.
    """

    NAME: ClassVar[str] = 'kitti'
    LAYOUT: ClassVar[str] = (
        'raw_data/<date>/calib_cam_to_cam.txt (calib_imu_to_velo.txt, calib_velo_to_cam.txt)\n'
        'raw_data/<date>/<date>_drive_<number>_sync/image_02/data/<frame>.png\n'
        'raw_data/<date>/<date>_drive_<number>_sync/oxts/data/<frame>.txt\n'
        'satmap/<date>/<date>_drive_<number>_sync/<frame>.png\n'
        'train_files.txt test1_files.txt test2_files.txt (here, in splits/, or where `lists` says)'
    )
    SPLITS: ClassVar[tuple[str, ...]] = ('train', 'validation', 'trainval', 'test1', 'test2')

    def __init__(
        self,
        root: Path | str,
        split: str,
        *,
        seed: int = 0,
        lists: Path | str | None = None,
        shift_m: float = 20.0,
        rotation_deg: float = 10.0,
        patch: str = 'crop',
        patch_px: int = 512,
        gsd: str = 'protocol',
        mount: str = 'calibration',
        held_out: str = 'drives',
        packets: Packets | None = None,
    ) -> None:
        """Reads the split's list; everything else is read when asked for.

        Args:
            root: Folder with `raw_data` and `satmap`.
            split: 'trainval' is the publisher's training list, of which 'validation' holds out a
                part and 'train' is the rest; 'test1' lies on the training drives, 'test2' not.
            seed: Of all draws.
            lists: Folder of the split lists (or the split's own list), if not in `root`.
            shift_m: Bound of the prior's error along and across the heading.
            rotation_deg: Bound of its yaw error; 180 for unknown orientation.
            patch: 'crop' around the prior, or the whole 'tile'.
            patch_px: Side of the crop.
            gsd: 'protocol' counts 0.1958 m/px everywhere as published results do; 'true' takes
                the ground size at the tile's own latitude.
            mount: 'calibration' takes the camera's mount from the calibration files where they
                are there; 'nominal' the publisher's round numbers, camera level.
            held_out: 'drives' holds whole drives out for validation, 'blocks' runs of 100 frames.
            packets: OXTS packets by drive ('<date>/<date>_drive_<number>_sync') and frame, to be
                used instead of files.

        Raises:
            DataError: Folder, split or list is missing, or the list is damaged.
            ConfigError: An option is unknown.
        """
        super().__init__(root, split, seed=seed)
        for name, value, known in (
            ('patch', patch, ('crop', 'tile')),
            ('gsd', gsd, ('protocol', 'true')),
            ('mount', mount, ('calibration', 'nominal')),
            ('held_out', held_out, ('drives', 'blocks')),
        ):
            if value not in known:
                raise ConfigError(f'{name} is {value!r}: choose one of {known}')
        self._patch, self._patch_px, self._gsd, self._mount = patch, patch_px, gsd, mount
        self._packets = packets
        given = None if lists is None else Path(lists)
        file = find_list(self.root, given, _LISTS[split])
        if file is None:
            raise AbsentError(
                f'no {_LISTS[split]} in {given or self.root}: the split lists lie in the code of '
                "the publisher (HighlyAccurate, folder dataLoader); put them beside 'raw_data' "
                'or say where they are with lists=FOLDER'
            )
        self._list = file
        self._drives, self._frames, self._noise = _parse(file, noisy=split.startswith('test'))
        if split in ('train', 'validation'):
            self._keep(self._part(held_out))
        self._keys = number_repeats(_names(self._drives, self._frames))
        self._protocol = Protocol(
            f'kitti {split} +-{shift_m:g} m +-{rotation_deg:g} deg',
            shift_m,
            shift_m,
            float(np.radians(rotation_deg)),
            axes='heading',
            split=split,
        )

    def _part(self, held_out: str) -> NDArray[np.bool_]:
        if held_out == 'drives':
            held = hold_out_groups(self._drives)
            return held if self.split == 'validation' else ~held
        held, train = hold_out_blocks(self._drives)
        return held if self.split == 'validation' else train

    def _keep(self, mask: NDArray[np.bool_]) -> None:
        self._drives = [drive for drive, kept in zip(self._drives, mask, strict=True) if kept]
        self._frames, self._noise = self._frames[mask], self._noise[mask]

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """A folder with `satmap` or `raw_data` of KITTI's dates."""
        return any(root.glob('satmap/20??_??_??')) or any(root.glob('raw_data/20??_??_??'))

    @property
    def keys(self) -> Sequence[str]:
        """'<date>/<drive>/<frame>' in the list's order; '#2' at the end of a second asking."""
        return self._keys

    @property
    def protocol(self) -> Protocol:
        """Uniform within the bounds, along and across the heading."""
        return self._protocol

    def missing(self) -> Sequence[str]:
        """Folders of drives and files of days that are absent."""
        found = []
        for drive in sorted(set(self._drives)):
            for folder, what in (
                (self.root / 'raw_data' / drive / 'image_02' / 'data', 'colour images'),
                (self.root / 'raw_data' / drive / 'oxts' / 'data', 'OXTS packets'),
                (self.root / 'satmap' / drive, 'satellite tiles'),
            ):
                if not folder.is_dir():
                    found.append(f'{what} of {drive} are missing: expected in {folder}')
        for date in sorted({drive[:10] for drive in self._drives}):
            folder = self.root / 'raw_data' / date
            if not (folder / 'calib_cam_to_cam.txt').is_file():
                found.append(f'calibration of {date} is missing: expected calib_*.txt in {folder}')
            elif self._mount == 'calibration' and not (folder / 'calib_imu_to_velo.txt').is_file():
                found.append(
                    f'mount of {date} is not there (calib_imu_to_velo.txt, calib_velo_to_cam.txt '
                    f'in {folder}): the nominal one stands in'
                )
        return found

    def files(self, index: int) -> tuple[Path, ...]:
        """Image, tile, packet and calibration of a sample."""
        drive, frame = self._drives[index], int(self._frames[index])
        day = self.root / 'raw_data' / drive[:10]
        oxts = () if self._packets is not None else (self._oxts_file(drive, frame),)
        return (
            self._image_file(drive, frame),
            self._tile_file(drive, frame),
            *oxts,
            day / 'calib_cam_to_cam.txt',
        )

    def _image_file(self, drive: str, frame: int) -> Path:
        return self.root / 'raw_data' / drive / 'image_02' / 'data' / f'{frame:010d}.png'

    def _tile_file(self, drive: str, frame: int) -> Path:
        return self.root / 'satmap' / drive / f'{frame:010d}.png'

    def _oxts_file(self, drive: str, frame: int) -> Path:
        return self.root / 'raw_data' / drive / 'oxts' / 'data' / f'{frame:010d}.txt'

    def packet(self, index: int) -> Array:
        """The (30,) OXTS packet of a sample.

        Raises:
            UnreadableError: It is missing or damaged.
        """
        drive, frame = self._drives[index], int(self._frames[index])
        file = self._oxts_file(drive, frame)
        if self._packets is None:
            try:
                return np.array(kitti_raw.read_packet(file))
            except DataError as error:
                why = str(error).removeprefix(str(file)).strip(': ')
                raise UnreadableError(file, f'an OXTS packet ({why})') from error
        try:
            return np.asarray(self._packets[drive][frame], dtype=np.float64)
        except (KeyError, IndexError) as error:
            raise UnreadableError(file, f'an OXTS packet of frame {frame}') from error

    def fractions(self, index: int, epoch: int = 0) -> tuple[float, ...]:
        """(forward, left, yaw) of prior minus truth, in units of the protocol's bounds.

        The publisher's test loader negates the shifts of the list before it moves the tile, so
        that the crop's middle lies at minus the list's numbers; turning the crop's content
        counter-clockwise turns the assumed heading clockwise.
        """
        if self.split.startswith('test'):
            return tuple(-self._noise[index])
        return fractions(self.seed, index, epoch if self.split != 'validation' else 0)

    def sample(self, index: int, epoch: int = 0) -> Sample:
        """One frame.

        Raises:
            UnreadableError: Image, tile or packet is missing or damaged.
            DataError: The camera lies outside its tile, or there is no calibration.
        """
        drive, frame = self._drives[index], int(self._frames[index])
        packet = self.packet(index)
        calib = _calibration(self.root / 'raw_data' / drive[:10])
        image = read_rgb(self._image_file(drive, frame))
        tile = read_rgb(self._tile_file(drive, frame))
        mount = calib.T_imu_camera if self._mount == 'calibration' else None
        T_map_base, R_base_camera, ground_alt = place(packet, mount)
        grid = Grid(
            (0.0, 0.0),
            PROTOCOL_GSD if self._gsd == 'protocol' else tiles.gsd(packet[LAT], ZOOM) / SCALE,
            tile.shape[1],
            tile.shape[0],
        )
        if not grid.contains(T_map_base[:2, 3]):
            raise DataError(
                f'{self._keys[index]}: the camera lies outside its tile of {grid.width} x '
                f'{grid.height} px ({self._tile_file(drive, frame)}); expected a tile around it'
            )
        stamp = self._stamp(drive, frame)
        prior = self._protocol.prior(stamp, T_map_base, self.fractions(index, epoch))
        return Sample(
            key=self._keys[index],
            sequence=drive,
            view=GroundView(
                stamp,
                image,
                _camera(calib, image),
                se3.make(R_base_camera, [0.0, 0.0, kitti_raw.CAMERA_HEIGHT_M]),
            ),
            T_map_base=T_map_base,
            patch=self._cut(tile, grid, prior.T_map_base),
            prior=prior,
            datum=Datum(float(packet[LAT]), float(packet[LON]), ground_alt),
        )

    def _cut(self, tile: NDArray[np.uint8], grid: Grid, T_map_prior: Array) -> AerialPatch:
        if self._patch == 'tile':
            return whole_patch(tile, grid)
        x, y, _ = se3.planar(T_map_prior)
        return crop_patch(tile, grid, (x, y), (self._patch_px, self._patch_px))

    def _stamp(self, drive: str, frame: int) -> int:
        """Of the image, or of the packet; by the nominal rate where no file says."""
        for sensor in ('image_02', 'oxts'):
            stamps = _stamps(self.root / 'raw_data' / drive / sensor / 'timestamps.txt')
            if stamps is not None and frame < len(stamps):
                return int(stamps[frame])
        return frame * _NOMINAL_PERIOD_NS


def place(packet: Array, T_imu_camera: Array | None) -> tuple[Array, Array, float]:
    """Where the camera's foot and the ground are, seen from the OXTS unit of one packet.

    Args:
        packet: (30,).
        T_imu_camera: (4, 4) optical frame of camera 2 -> OXTS unit, or None for the nominal one.

    Returns:
        T_map_base (4, 4), map being ENU under the OXTS unit; R_base_camera (3, 3); ellipsoidal
        height of the ground, m.
    """
    roll, pitch = packet[ROLL], packet[PITCH]
    yaw = float(angles.yaw_from_kitti_oxts(packet[YAW]))
    R = se3.rotation_from_rpy(roll, pitch, yaw)
    height = kitti_raw.CAMERA_HEIGHT_M
    if T_imu_camera is None:
        lever = se3.rotation_from_rpy(0.0, 0.0, yaw) @ [NOMINAL_FORWARD_M, -NOMINAL_RIGHT_M, 0.0]
        # 0.93 m: the OXTS unit over the ground in the setup's drawing.
        return se3.make(R, lever), _R_LEVEL, float(packet[ALT] - 0.93)
    foot = R @ (T_imu_camera[:3, 3] - [0.0, 0.0, height])
    return (
        se3.make(R, [foot[0], foot[1], 0.0]),
        T_imu_camera[:3, :3],
        float(packet[ALT] + foot[2]),
    )


@lru_cache(maxsize=16)
def _calibration(day: Path) -> kitti_raw.Calibration:
    return kitti_raw.read_calibration(day)


@lru_cache(maxsize=256)
def _stamps(file: Path) -> NDArray[np.int64] | None:
    return kitti_raw.read_timestamps(file) if file.is_file() else None


def _camera(calib: kitti_raw.Calibration, image: NDArray[np.uint8]) -> PinholeCamera:
    """Of the stored image, which may have been resized."""
    height, width = image.shape[:2]
    K = calib.K
    full = calib.size or (width, height)
    camera = PinholeCamera(*full, fx=K[0, 0], fy=K[1, 1], cx=K[0, 2], cy=K[1, 2])
    return camera if full == (width, height) else camera.resized(width, height)


def _parse(file: Path, noisy: bool) -> tuple[list[str], NDArray[np.int64], Array]:
    """Drives, frames (N,) and noise (N, 3) of a list.

    Raises:
        DataError: A line is none, a noise is out of range, or a frame is listed twice.
    """
    drives, frames, noise = [], [], []
    for number, words in read_lines(file):
        match = _PATH.fullmatch(words[0])
        try:
            values = [float(word) for word in words[1:]]
        except ValueError:
            values = [np.nan]
        if match is None or len(values) != (3 if noisy else 0):
            expected = '<date>/<date>_drive_<number>_sync/<frame>.png' + (
                ' and three noise fractions' if noisy else ''
            )
            raise DataError(f'{file}:{number}: expected {expected}, got {" ".join(words)!r}')
        if not all(abs(value) <= 1 for value in values):
            raise DataError(
                f'{file}:{number}: noise {values} is not within -1..1, so the camera may lie '
                'outside the picture that the protocol cuts'
            )
        drives.append(f'{match[1]}/{match[2]}')
        frames.append(int(match[3]))
        noise.append(values or [0.0] * 3)
    if not drives:
        raise DataError(f'{file} is empty: expected one frame a line')
    # The publisher's test1 asks for 395 frames twice, each time with other noise.
    if not noisy:
        refuse_duplicates(file, _names(drives, frames))
    return drives, np.array(frames, dtype=np.int64), np.array(noise)


def _names(drives: Sequence[str], frames: Iterable[int]) -> list[str]:
    return [f'{drive}/{frame:010d}' for drive, frame in zip(drives, frames, strict=True)]
