# SPDX-License-Identifier: Apache-2.0
"""Ford Multi-AV logs with satellite tiles, as the cross-view field compares on them.

References: Agarwal et al., "Ford Multi-AV Seasonal Dataset", IJRR 2020; Shi and Li, "Beyond
Cross-view Image Retrieval", CVPR 2022, whose lists, tiles and noise these are.

The publisher turns each tile until the heading points up and the body is in the middle, shifts
its content left and up by (u, v) times 20 m, and turns it counter-clockwise by theta times 10
degrees. Here the tile stays north-up and those numbers make the prior, as in `kitti_crossview`.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import ConfigError, DataError, InputError
from geoloc_core.formats import ford
from geoloc_core.geometry import se3, tiles
from geoloc_core.geometry.cameras import PinholeCamera
from geoloc_core.geometry.geodesy import Datum, EnuFrame
from geoloc_core.geometry.grid import Grid
from geoloc_core.types import GroundView
from training.datasets.aerial import crop_patch, whole_patch
from training.datasets.base import AbsentError, AbstractDataset, read_rgb
from training.datasets.listfiles import (
    hold_out_blocks,
    number_repeats,
    read_lines,
    refuse_duplicates,
)
from training.datasets.protocol import fractions, Protocol
from training.datasets.sample import Sample

Array = NDArray[np.float64]

PROTOCOL_GSD = 0.22
ZOOM, SCALE = 18, 2
# Log -> its folder and the lines (first, past the last) of its list, counted from 0, that the
# publisher trains on. Test logs are driven on another day; their lists are used whole.
TRAIN_LOGS: dict[int, tuple[str, tuple[tuple[int, int], ...]]] = {
    1: ('2017-10-26/V2/Log1', ((4500, 8500),)),
    2: ('2017-10-26/V2/Log2', ((0, 3150), (6000, 9200), (11000, 15000))),
    3: ('2017-08-04/V2/Log3', ((0, 1500),)),
    4: ('2017-10-26/V2/Log4', ((0, 7466),)),
    5: ('2017-08-04/V2/Log5', ((0, 3200), (5300, 9900), (10500, 11130))),
    6: ('2017-08-04/V2/Log6', ((1000, 3500), (4500, 5000), (7000, 7857))),
}
TEST_LOGS: dict[int, str] = {
    1: '2017-08-04/V2/Log1',
    2: '2017-08-04/V2/Log2',
    3: '2017-08-04/V2/Log3',
    4: '2017-08-04/V2/Log4',
    5: '2017-10-26/V2/Log5',
    6: '2017-10-26/V2/Log6',
}


class Ford(AbstractDataset):
    """One sample a line: front-left picture, satellite tile, pose, prior of the protocol.

    base_link is the vehicle's body frame brought down to the ground, x forward; results count at
    the body, not at the camera. The map frame is ENU at the tile's middle.

    Attributes:
        short: Lists that end before the lines that the publisher takes from them.
    """

    NAME: ClassVar[str] = 'ford'
    LAYOUT: ClassVar[str] = (
        '<date>/V2/Log<n>/<date>-V2-Log<n>-FL/<stamp>.png\n'
        '<date>/V2/Log<n>/SatelliteMaps_18/<lat>_<lon>.png\n'
        '<date>/V2/Log<n>/grd_sat_quaternion_latlon.txt, ..._test.txt\n'
        'Calibration-V2/V2/cameraFrontLeft_body.yaml, cameraFrontLeftIntrinsics.yaml'
    )
    SPLITS: ClassVar[tuple[str, ...]] = ('train', 'validation', 'trainval', 'test')

    def __init__(
        self,
        root: Path | str,
        split: str,
        *,
        seed: int = 0,
        log: int | str | None = None,
        ranges: Sequence[tuple[int, int]] | None = None,
        shift_m: float = 20.0,
        rotation_deg: float = 10.0,
        patch: str = 'crop',
        patch_px: int = 512,
        gsd: str = 'protocol',
        camera_height_m: float = ford.CAMERA_HEIGHT_M,
    ) -> None:
        """Reads the lists; everything else is read when asked for.

        Args:
            root: Folder with the dates and `Calibration-V2`.
            split: 'trainval' is what the publisher trains on, of which 'validation' holds out
                runs of 100 lines and 'train' has the rest; 'test' is another day.
            seed: Of all draws.
            log: Number of one published log (published models are one a log), or the folder of
                one, such as '2017-10-26/V2/Log2'; all published logs that are there if None.
            ranges: Lines (first, past the last) to train on, instead of the published ones; with
                a folder as `log`, all lines if None.
            shift_m: Bound of the prior's error along and across the heading.
            rotation_deg: Bound of its yaw error; 180 for unknown orientation.
            patch: 'crop' around the prior, or the whole 'tile'.
            patch_px: Side of the crop.
            gsd: 'protocol' counts 0.22 m/px and places on a sphere, as published results do;
                'true' the tile's own ground size and places on the ellipsoid.
            camera_height_m: Over the ground; the data set does not say.

        Raises:
            DataError: No such folder, split or log, or a list is damaged.
            ConfigError: An option is unknown.
        """
        super().__init__(root, split, seed=seed)
        for name, value, known in (
            ('patch', patch, ('crop', 'tile')),
            ('gsd', gsd, ('protocol', 'true')),
            ('log', log, (None, *TRAIN_LOGS, *([log] if isinstance(log, str) else []))),
        ):
            if value not in known:
                raise ConfigError(f'{name} is {value!r}: choose one of {known}')
        self._patch, self._patch_px, self._gsd = patch, patch_px, gsd
        self._height = camera_height_m
        self.short: list[str] = []
        logs = self._logs(log, ranges)
        rows = [row for f, wanted in logs for row in self._read(f, wanted, 'test' in split)]
        if not logs:
            raise AbsentError(
                f'{self.root} has no list of the {split} split: expected {self._list_name} in a '
                f'log such as {TEST_LOGS[1] if split == "test" else TRAIN_LOGS[1][0]}'
            )
        if split in ('train', 'validation'):
            held, train = hold_out_blocks([row[0] for row in rows])
            part = held if split == 'validation' else train
            rows = [row for row, kept in zip(rows, part, strict=True) if kept]
        self._folders = [row[0] for row in rows]
        self._names = [row[1] for row in rows]
        self._tiles = [row[2] for row in rows]
        # (N, 11): quaternion w x y z; lat, lon of the body; lat, lon of the tile; u, v, theta.
        self._numbers = np.array([row[3] for row in rows]).reshape(-1, 11)
        self._keys = number_repeats(
            [f'{f}/{Path(n).stem}' for f, n in zip(self._folders, self._names, strict=True)]
        )
        self._protocol = Protocol(
            f'ford {split} +-{shift_m:g} m +-{rotation_deg:g} deg',
            shift_m,
            shift_m,
            float(np.radians(rotation_deg)),
            axes='heading',
            split=split,
        )

    @property
    def _list_name(self) -> str:
        return ford.TEST_LIST_FILE if self.split == 'test' else ford.LIST_FILE

    def _logs(
        self, log: int | str | None, ranges: Sequence[tuple[int, int]] | None
    ) -> list[tuple[str, Sequence[tuple[int, int]] | None]]:
        """(folder, ranges) to read; a folder that is asked for must have its list."""
        if isinstance(log, str):
            wanted: list[tuple[str, Sequence[tuple[int, int]] | None]] = [(log, ranges)]
        elif self.split == 'test':
            wanted = [(folder, ranges) for n, folder in TEST_LOGS.items() if log in (None, n)]
        else:
            wanted = [(f, ranges or r) for n, (f, r) in TRAIN_LOGS.items() if log in (None, n)]
        there = [(f, r) for f, r in wanted if (self.root / f / self._list_name).is_file()]
        if log is not None and not there:
            raise DataError(
                f'{self.root / wanted[0][0] / self._list_name} is missing: it comes with the '
                "satellite tiles from the cross-view labels' publisher (HighlyAccurate)"
            )
        return there

    def _read(
        self, folder: str, ranges: Sequence[tuple[int, int]] | None, noisy: bool
    ) -> list[tuple[str, str, str, list[float]]]:
        """(folder, picture, tile, 11 numbers) of the lines that are asked for."""
        file = self.root / folder / self._list_name
        rows = []
        for number, words in read_lines(file):
            count = 9 + (3 if noisy else 0)
            try:
                values = [float(word) for word in words[1:count]]
            except ValueError:
                values = []
            if len(words) != count or len(values) != count - 1 or not np.isfinite(values).all():
                raise DataError(
                    f'{file}:{number}: expected picture, quaternion w x y z, lat and lon of the '
                    f'body, lat and lon of the tile{", u v theta" if noisy else ""}; '
                    f'got {" ".join(words)!r}'
                )
            if noisy and max(abs(value) for value in values[8:]) > 1:
                raise DataError(f'{file}:{number}: noise {values[8:]} is not within -1..1')
            tile = f'{words[7]}_{words[8]}.png'
            rows.append((folder, words[0], tile, (values + [0.0] * 3)[:11]))
        if not rows:
            raise DataError(f'{file} is empty: take it from its publisher again')
        if ranges is not None:
            last = max(end for _, end in ranges)
            if last > len(rows):
                self.short.append(
                    f'{file} has {len(rows)} lines, but the split asks for lines up to {last}: '
                    'the list is not whole, or not the published one'
                )
            rows = [row for start, end in ranges for row in rows[start:end]]
        if not noisy:
            refuse_duplicates(file, [row[1] for row in rows])
        return rows

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """A folder with dates that hold logs of V2, or with Calibration-V2."""
        return (root / 'Calibration-V2').is_dir() or any(root.glob('20??-??-??/V2/Log?'))

    @property
    def keys(self) -> Sequence[str]:
        """'<date>/V2/Log<n>/<stamp>' in the lists' order; '#2' at the end of a second asking."""
        return self._keys

    @property
    def protocol(self) -> Protocol:
        """Uniform within the bounds, along and across the heading."""
        return self._protocol

    def missing(self) -> Sequence[str]:
        """Absent folders of pictures, and calibration."""
        found = []
        calibration = self.root / ford.CALIBRATION_FOLDER
        for name in (ford.EXTRINSICS_FILE, ford.INTRINSICS_FILE):
            if not (calibration / name).is_file():
                found.append(f'{name} is missing: expected in {calibration}')
        for folder in dict.fromkeys(self._folders):
            for name in (ford.image_folder(folder), ford.SATELLITE_FOLDER):
                if not (self.root / folder / name).is_dir():
                    found.append(f'pictures are missing: expected in {self.root / folder / name}')
        return found

    def files(self, index: int) -> tuple[Path, ...]:
        """Picture, tile and calibration of a sample."""
        calibration = self.root / ford.CALIBRATION_FOLDER
        return (
            self._image_file(index),
            self.root / self._folders[index] / ford.SATELLITE_FOLDER / self._tiles[index],
            calibration / ford.EXTRINSICS_FILE,
            calibration / ford.INTRINSICS_FILE,
        )

    def _image_file(self, index: int) -> Path:
        folder = self._folders[index]
        name = Path(self._names[index]).stem + '.png'
        return self.root / folder / ford.image_folder(folder) / name

    def fractions(self, index: int, epoch: int = 0) -> tuple[float, ...]:
        """(forward, left, yaw) of prior minus truth, in units of the protocol's bounds.

        The list's content shift (-u, -v) leaves the crop's middle u to the right of the body and
        v behind it; turning the content counter-clockwise turns the assumed heading clockwise.
        """
        if self.split == 'test':
            u, v, theta = self._numbers[index, 8:]
            return -v, -u, -theta
        return fractions(self.seed, index, epoch if self.split != 'validation' else 0)

    def place(self, index: int) -> tuple[Array, Datum, float]:
        """T_map_base (4, 4), the tile's middle, and the tile's ground size in m/px.

        Raises:
            DataError: The quaternion is none.
        """
        numbers = self._numbers[index]
        lat, lon, tile_lat, tile_lon = numbers[4:8]
        datum = Datum(float(tile_lat), float(tile_lon))
        try:
            R = ford.map_rotation(numbers[:4])
        except InputError as error:
            raise DataError(f'{self._keys[index]}: {error}') from error
        frame = EnuFrame(datum)
        size = tiles.gsd(tile_lat, ZOOM) / SCALE
        if self._gsd == 'true':
            xy = frame.enu_from_geodetic(lat, lon, 0.0)[:2]
        else:
            ends = tiles.pixel_from_lonlat([tile_lon, lon], [tile_lat, lat], ZOOM)
            xy = np.array([np.diff(ends[0])[0], -np.diff(ends[1])[0]]) * size * SCALE
            size = PROTOCOL_GSD
        # The pose's north is the body's, the map's that of the tile's middle.
        turn = se3.rotation_from_rpy(0.0, 0.0, float(frame.convergence(lat, lon)))
        return se3.make(turn @ R, [*xy, 0.0]), datum, size

    def sample(self, index: int, epoch: int = 0) -> Sample:
        """One line.

        Raises:
            UnreadableError: Picture or tile is missing or damaged.
            DataError: The body lies outside its tile, or the calibration is missing.
        """
        T_map_base, datum, size = self.place(index)
        calibration = _calibration(self.root / ford.CALIBRATION_FOLDER)
        image = read_rgb(self._image_file(index))
        tile = read_rgb(self.files(index)[1])
        grid = Grid((0.0, 0.0), size, tile.shape[1], tile.shape[0])
        if not grid.contains(T_map_base[:2, 3]):
            x, y = T_map_base[:2, 3]
            raise DataError(
                f'{self._keys[index]}: the body lies {x:.0f} m east and {y:.0f} m north of the '
                f'middle of its tile {self._tiles[index]}, which is {grid.size_m[0]:.0f} m wide'
            )
        stamp = _stamp(Path(self._names[index]).stem)
        prior = self._protocol.prior(stamp, T_map_base, self.fractions(index, epoch))
        x, y, _ = se3.planar(prior.T_map_base)
        side = (self._patch_px, self._patch_px)
        return Sample(
            key=self._keys[index],
            sequence=self._folders[index],
            view=GroundView(
                stamp, image, _camera(calibration, image), _mount(calibration, self._height)
            ),
            T_map_base=T_map_base,
            patch=(
                whole_patch(tile, grid)
                if self._patch == 'tile'
                else crop_patch(tile, grid, (x, y), side)
            ),
            prior=prior,
            datum=datum,
        )


@lru_cache(maxsize=4)
def _calibration(folder: Path) -> ford.Calibration:
    return ford.read_calibration(folder)


def _camera(calibration: ford.Calibration, image: NDArray[np.uint8]) -> PinholeCamera:
    """Of the stored picture, which may have been resized."""
    K, size = calibration.K, (image.shape[1], image.shape[0])
    camera = PinholeCamera(*calibration.size, fx=K[0, 0], fy=K[1, 1], cx=K[0, 2], cy=K[1, 2])
    return camera if size == calibration.size else camera.resized(*size)


def _mount(calibration: ford.Calibration, height: float) -> Array:
    """(4, 4) optical frame -> base_link, which lies on the ground under the body's origin."""
    T = calibration.T_body_camera
    forward, left, _ = ford.FLU_FROM_FRD @ T[:3, 3]
    return se3.make(ford.FLU_FROM_FRD @ T[:3, :3], [forward, left, height])


def _stamp(name: str) -> int:
    """Stamp in ns of a picture's name: its digits are microseconds (16) or nanoseconds (19)."""
    digits = ''.join(c for c in name if c.isdigit())
    if not digits:
        return 0
    return int(digits) * (1000 if len(digits) == 16 else 1)
