# SPDX-License-Identifier: Apache-2.0
"""Oxford RobotCar against one big aerial picture, as the cross-view field compares on it.

References: Xia et al., "Visual Cross-View Metric Localization with Dense Uncertainty Estimates",
ECCV 2022 (lists, aerial picture); Xia et al., "Convolutional Cross-View Pose Estimation", T-PAMI
2024 (pieces of 800 px, unknown orientation).

The lists give UTM places. Their yaw is 0 = west and clockwise, and counts from true north: along
the real traversals the course of successive places, brought from UTM's grid north to true north,
agrees with it. The aerial picture is north-up to a hundredth of a degree, so that pieces of it
need no resampling.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import ConfigError, DataError
from geoloc_core.formats import robotcar
from geoloc_core.formats.robotcar_aerial import latlon_from_utm, Tie
from geoloc_core.geometry import angles, se3
from geoloc_core.geometry.cameras import PinholeCamera
from geoloc_core.geometry.grid import Grid
from geoloc_core.types import GroundView
from training.datasets.aerial import crop_patch
from training.datasets.base import AbsentError, AbstractDataset, read_rgb
from training.datasets.big_picture import BigPicture
from training.datasets.listfiles import (
    find_list,
    read_lines,
    refuse_duplicates,
    refuse_strays,
)
from training.datasets.protocol import fractions, Protocol
from training.datasets.sample import Sample

Array = NDArray[np.float64]

CROP_PX = 800
LATTICE_PX = 400
# In training the piece's middle is up to this far from the place.
TRAIN_RADIUS_PX = 200 * np.sqrt(2)
# Of a place's east and north apart from its middle in the lattice; the training disc has the
# same standard deviation as this square.
HALF_PX = 200
# A level camera looking along x of base_link.
_R_LEVEL = robotcar.FLU_FROM_FRD @ robotcar.FRD_FROM_OPTICAL

_TESTS = ('test1', 'test2', 'test3')
_LISTS = {'train': ('training',), 'validation': ('validation',), 'test': _TESTS} | {
    name: (name,) for name in _TESTS
}
_FILES = {name: f'{name}_j.txt' for name in _TESTS} | {
    'training': 'training.txt',
    'validation': 'validation.txt',
}
_YAWS = {'train': 'train_yaw.npy', 'validation': 'val_yaw.npy'}
_LOOKUPS = {'train': 'lookup_training.txt', 'validation': 'lookup_validation.txt'}


class RobotCarCrossView(AbstractDataset):
    """One sample a picture: centre camera, piece of the aerial picture, pose, prior.

    base_link lies on the ground at the listed place, x forward, and the camera over it, as the
    publisher has it. The map frame is ENU at the middle of the control points, the same for all.
    """

    NAME: ClassVar[str] = 'robotcar'
    LAYOUT: ClassVar[str] = (
        '<traversal>/ground/<easting>_<northing>.png\n'
        'satellite_map_new.png (and control_points.txt, if it is another picture)\n'
        'training.txt validation.txt test{1,2,3}_j.txt train_yaw.npy val_yaw.npy test_yaw.npy\n'
        'lookup_training.txt lookup_validation.txt lookup_test.txt (here, in splits/, or where '
        '`lists` says)'
    )
    SPLITS: ClassVar[tuple[str, ...]] = ('train', 'validation', 'test', *_TESTS)

    def __init__(
        self,
        root: Path | str,
        split: str,
        *,
        seed: int = 0,
        lists: Path | str | None = None,
        aerial: Path | str | None = None,
        control: Path | str | None = None,
        rotation_deg: float = 180.0,
        patch_px: int = CROP_PX,
        camera_height_m: float = robotcar.CAMERA_HEIGHT_M,
        cache: Path | str | None = None,
    ) -> None:
        """Reads the split's lists; pictures are read when asked for.

        Args:
            root: Folder with the traversals.
            split: 'test' is the three test traversals one after the other.
            seed: Of all draws.
            lists: Folder of lists, yaws and lookups, if not in `root`.
            aerial: The aerial picture, if not `satellite_map_new.png` in `root`.
            control: Text file with easting, northing, column and row of three or more points a
                line, for another aerial picture than the published one; `control_points.txt` in
                `root` if it is there, else the published five.
            rotation_deg: Bound of the prior's yaw error; 180 for unknown orientation, 0 for known.
            patch_px: Side of the piece, in pixels of the aerial picture.
            camera_height_m: Over the ground; the data set does not say.
            cache: Folder for the decoded aerial picture; see `BigPicture`.

        Raises:
            DataError: Folder, split or list is missing, or a list is damaged.
        """
        super().__init__(root, split, seed=seed)
        if not 0 <= rotation_deg <= 180:
            raise ConfigError(f'rotation_deg is {rotation_deg}: expected 0 to 180')
        self._given = None if lists is None else Path(lists)
        self._patch_px, self._height = patch_px, camera_height_m
        self._names, self._utm = self._places()
        self._yaws = self._read_yaws()
        self._stamps = self._read_stamps()
        points = Path(control) if control else self.root / robotcar.CONTROL_NAME
        own = control is not None or points.is_file()
        self.control = robotcar.read_control_points(points) if own else robotcar.CONTROL_POINTS
        self.tie = Tie.of(self.control, None if own else robotcar.AERIAL_GSD)
        self._aerial = BigPicture(
            Path(aerial) if aerial else self.root / robotcar.AERIAL_NAME,
            None if cache is None else Path(cache),
        )
        self._protocol = Protocol(
            f'robotcar {split} +-{HALF_PX} px +-{rotation_deg:g} deg',
            HALF_PX * self.tie.gsd,
            HALF_PX * self.tie.gsd,
            float(np.radians(rotation_deg)),
            split=split,
        )

    # ---- lists ----

    def _find(self, name: str) -> Path:
        file = find_list(self.root, self._given, name)
        if file is None:
            raise AbsentError(
                f'no {name} in {self._given or self.root}: the split lies in the code of its '
                'publisher (CrossViewMetricLocalization, folder Oxford_split); put it beside the '
                'traversals or say where it is with lists=FOLDER'
            )
        return file

    def _places(self) -> tuple[list[str], Array]:
        """Names of the pictures, and UTM (N, 2)."""
        names: list[str] = []
        places: list[tuple[float, float]] = []
        for part in _LISTS[self.split]:
            file = self._find(_FILES[part])
            first = len(names)
            for number, words in read_lines(file):
                named, listed = _from_name(words[0]), _numbers(words[2:])
                if len(words) != 4 or named is None or listed is None:
                    raise DataError(
                        f'{file}:{number}: expected <traversal>/ground/<easting>_<northing>.png, '
                        f'a satellite name, easting and northing; got {" ".join(words)!r}'
                    )
                if np.hypot(named[0] - listed[0], named[1] - listed[1]) > 0.5:
                    raise DataError(
                        f'{file}:{number}: the name says {named}, the columns {listed}: two '
                        'lists were mixed up'
                    )
                names.append(words[0])
                places.append(listed)
            refuse_duplicates(file, names[first:])
            refuse_strays(file, names[first:])
        return names, np.array(places)

    def _read_yaws(self) -> Array:
        file = self._find(_YAWS.get(self.split, 'test_yaw.npy'))
        try:
            yaws = np.load(file, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f'{file} holds no yaws: {error}') from error
        start = 0
        if self.split in _TESTS:
            # One file holds the yaws of all three lists, one after the other.
            counts = [len(read_lines(self._find(_FILES[name]))) for name in _TESTS]
            start = sum(counts[: _TESTS.index(self.split)])
            if len(yaws) != sum(counts):
                raise DataError(f'{file} holds {len(yaws)} yaws for {sum(counts)} test places')
            yaws = yaws[start : start + len(self._names)]
        if yaws.shape != (len(self._names),) or not np.isfinite(yaws).all():
            raise DataError(
                f'{file} holds yaws {yaws.shape} for {len(self._names)} places: is it of another '
                'split?'
            )
        return np.asarray(yaws, dtype=np.float64)

    def _read_stamps(self) -> NDArray[np.int64]:
        """Of the pictures, ns, from the lookup; without one their numbers in the list."""
        file = find_list(self.root, self._given, _LOOKUPS.get(self.split, 'lookup_test.txt'))
        known = {}
        if file is not None:
            for number, words in read_lines(file):
                stem = Path(words[0]).stem
                if len(words) != 2 or not stem.isdigit():
                    raise DataError(
                        f'{file}:{number}: expected <traversal>/stereo/centre/<stamp>.png and a '
                        f'ground name, got {" ".join(words)!r}'
                    )
                known[words[1]] = int(stem) * 1000
        stamps = [known.get(name, index) for index, name in enumerate(self._names)]
        return np.array(stamps, dtype=np.int64)

    # ---- what every reader offers ----

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """A folder with the aerial picture, or with traversals that have `ground`."""
        return (root / robotcar.AERIAL_NAME).is_file() or any(
            root.glob('20??-??-??-??-??-??/ground')
        )

    @property
    def keys(self) -> Sequence[str]:
        """'<traversal>/ground/<easting>_<northing>.png' in the list's order."""
        return self._names

    @property
    def protocol(self) -> Protocol:
        """Uniform within 200 px of the aerial picture, east and north."""
        return self._protocol

    def missing(self) -> Sequence[str]:
        """The aerial picture, and folders of traversals that are absent."""
        found = []
        if not self._aerial.path.is_file():
            found.append(
                f'the aerial picture is missing: expected {self._aerial.path} (its publisher '
                'describes how to stitch it from tiles)'
            )
        for traversal in sorted({name.split('/')[0] for name in self._names}):
            if not (self.root / traversal / 'ground').is_dir():
                found.append(
                    f'pictures of {traversal} are missing: expected in '
                    f'{self.root / traversal / "ground"}'
                )
        return found

    def files(self, index: int) -> tuple[Path, ...]:
        """Picture and aerial picture."""
        return self.root / self._names[index], self._aerial.path

    @property
    def utm(self) -> Array:
        """(N, 2) easting and northing of all samples, m, zone 30 N."""
        return self._utm

    @property
    def yaws(self) -> Array:
        """(N,) yaw of all samples in the map frame, rad."""
        lat, lon = latlon_from_utm(self._utm)
        return angles.wrap(
            angles.yaw_from_robotcar_list(self._yaws) + self.tie.frame.convergence(lat, lon)
        )

    def place(self, index: int) -> Array:
        """T_map_base (4, 4)."""
        lat, lon = latlon_from_utm(self._utm[index])
        frame = self.tie.frame
        x, y, _ = frame.enu_from_geodetic(lat, lon, frame.datum.alt_m)
        # The list's yaw counts from true north where the car is, the map's from the datum's.
        turn = float(frame.convergence(lat, lon))
        yaw = float(angles.yaw_from_robotcar_list(self._yaws[index])) + turn
        return se3.from_planar(float(x), float(y), yaw)

    def middle_px(self, index: int, epoch: int = 0) -> tuple[int, int]:
        """Column and row, pixel edges integer, of the middle of a sample's piece.

        In testing it lies on a lattice of 400 px, so that the place is within 200 px of it on
        each axis; in training at a random distance and direction from the place.
        """
        column, row = self.tie.pixel(self._utm[index])
        if self.split == 'train':
            rng = np.random.default_rng([self.seed, epoch, index])
            angle, radius = rng.uniform(0, 2 * np.pi), rng.uniform(0, TRAIN_RADIUS_PX)
            return int(column + radius * np.sin(angle)), int(row + radius * np.cos(angle))

        def lattice(pixel: float) -> int:
            cell = int(pixel // LATTICE_PX)
            if round(pixel - LATTICE_PX * cell) < LATTICE_PX // 2:
                cell -= 1
            return cell * LATTICE_PX + CROP_PX // 2

        return lattice(column), lattice(row)

    def sample(self, index: int, epoch: int = 0) -> Sample:
        """One picture.

        Raises:
            UnreadableError: Picture or aerial picture is missing or damaged.
            DataError: The place lies outside the aerial picture.
        """
        image = read_rgb(self.root / self._names[index])
        pixels = self._aerial.pixels
        T_map_base = self.place(index)
        x, y, _ = se3.planar(T_map_base)
        column, row = self.tie.pixel(self._utm[index])
        if not (0 <= column < pixels.shape[1] and 0 <= row < pixels.shape[0]):
            raise DataError(
                f'{self._names[index]} lies at column {column:.0f}, row {row:.0f} of the aerial '
                f'picture {self._aerial.path}, which has {pixels.shape[1]} x {pixels.shape[0]} '
                'px: is it another one? then give its control points'
            )
        # The picture's place is tied to this sample's pixel, so that the slight difference of
        # the picture's two scales does not add up over its width.
        height, width = pixels.shape[:2]
        gsd = self.tie.gsd
        whole = Grid(
            (x + (width / 2 - column) * gsd, y - (height / 2 - row) * gsd), gsd, width, height
        )
        middle = self.middle_px(index, epoch)
        center = whole.xy_from_uv([middle[0] - 0.5, middle[1] - 0.5])
        half = HALF_PX * gsd
        turn = fractions(self.seed, index, epoch if self.split == 'train' else 0)[2]
        off = ((center[0] - x) / half, (center[1] - y) / half, turn)
        stamp = int(self._stamps[index])
        return Sample(
            key=self._names[index],
            sequence=self._names[index].split('/')[0],
            view=GroundView(
                stamp, image, _camera(image), se3.make(_R_LEVEL, [0.0, 0.0, self._height])
            ),
            T_map_base=T_map_base,
            patch=crop_patch(
                pixels, whole, (float(center[0]), float(center[1])), (self._patch_px,) * 2
            ),
            prior=self._protocol.prior(stamp, T_map_base, off),
            datum=self.tie.frame.datum,
        )


def _from_name(name: str) -> tuple[float, float] | None:
    words = Path(name).stem.split('_')
    return _numbers(words) if name.count('/') == 2 else None


def _numbers(words: Sequence[str]) -> tuple[float, float] | None:
    try:
        east, north = (float(word) for word in words)
    except ValueError:
        return None
    return (east, north) if np.isfinite([east, north]).all() else None


def _camera(image: NDArray[np.uint8]) -> PinholeCamera:
    """Of the centre camera's part that the publisher cuts out, which may have been resized.

    The publisher does not undistort; the narrow lens's distortion is left in the picture.
    """
    left, top, width, height = robotcar.GROUND_CROP
    fx, fy, cx, cy = robotcar.FOCAL
    camera = PinholeCamera(width, height, fx=fx, fy=fy, cx=cx - left, cy=cy - top)
    size = (image.shape[1], image.shape[0])
    return camera if size == (width, height) else camera.resized(*size)
