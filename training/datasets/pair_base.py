# SPDX-License-Identifier: Apache-2.0
"""What data sets of pairs have in common: a panorama, and an aerial picture around it."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import ConfigError, DataError
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import AbstractCamera
from geoloc_core.geometry.geodesy import Datum
from geoloc_core.geometry.grid import Grid
from geoloc_core.types import AerialPatch, GroundView
from training.datasets.base import AbstractDataset, read_raw, read_rgb
from training.datasets.completeness import absent_files
from training.datasets.panorama import turned, upright_mount
from training.datasets.protocol import fractions, Protocol
from training.datasets.sample import LabelKind, Sample

Array = NDArray[np.float64]

PROTOCOLS = ('aligned', '+-180')
_STD_TILT = float(np.radians(2.0))


@dataclass(frozen=True)
class Pair:
    """Where the two pictures of a sample lie.

    Attributes:
        name: Of the pair.
        panorama: File.
        tile: File.
        classes: File with the panorama's semantic classes, or None.
    """

    name: str
    panorama: Path
    tile: Path
    classes: Path | None = None


class AbstractPairs(AbstractDataset):
    """What CVUSA and CVACT have in common.

    Attributes:
        TILE_PX: Side of the publisher's aerial pictures.
        ATTRIBUTION: Who must be named where they are shown.
    """

    TILE_PX: ClassVar[int]
    ATTRIBUTION: ClassVar[str]

    def __init__(
        self,
        root: Path | str,
        split: str,
        *,
        seed: int = 0,
        protocol: str = 'aligned',
        std_xy_m: float = 5.0,
        camera_height_m: float = 2.0,
    ) -> None:
        """Checks the options; lists are read when first needed.

        Args:
            root: Folder as the publisher's archives unpack.
            split: One of `SPLITS`.
            seed: Of the draws of orientation.
            protocol: 'aligned' (panoramas face north) or '+-180' (turned at random).
            std_xy_m: Standard deviation of a place along each axis. None is published; this is a
                cautious guess at what street-view positions and aerial imagery add up to.
            camera_height_m: Of the panorama's centre over the ground; not published.

        Raises:
            DataError: No such folder or split.
            ConfigError: An option is not one of those named.
        """
        super().__init__(root, split, seed=seed)
        if protocol not in PROTOCOLS:
            raise ConfigError(f'{self.NAME} has no protocol {protocol!r}: choose of {PROTOCOLS}')
        if not std_xy_m > 0:
            raise ConfigError(f'std_xy_m = {std_xy_m}: expected metres, more than zero')
        self.orientation = protocol
        self.std_xy_m = std_xy_m
        self.T_base_camera = upright_mount(camera_height_m)

    @cached_property
    @abstractmethod
    def pairs(self) -> tuple[Pair, ...]:
        """All pairs of the split, in its order.

        Raises:
            DataError: A list is absent, damaged, or names a pair twice.
        """

    @abstractmethod
    def _datum(self, index: int) -> Datum | None:
        """The middle of a sample's aerial picture, if it is known."""

    @abstractmethod
    def _xy(self, index: int) -> Array:
        """(2,) m east and north of that middle: where the panorama was taken."""

    @abstractmethod
    def _tile_side_m(self, datum: Datum | None) -> float:
        """Side of the aerial picture on the ground, m."""

    @abstractmethod
    def _camera(self, path: Path, width: int, height: int) -> AbstractCamera:
        """The projection of a panorama of this size."""

    @property
    def keys(self) -> Sequence[str]:
        """Names of the pairs."""
        return self._keys

    @cached_property
    def _keys(self) -> tuple[str, ...]:
        return tuple(pair.name for pair in self.pairs)

    @property
    def protocol(self) -> Protocol | None:
        """None: retrieval knows nothing of the place beforehand."""
        return None

    def files(self, index: int) -> tuple[Path, ...]:
        """The panorama, the aerial picture, and the classes if asked for."""
        pair = self.pairs[index]
        return tuple(p for p in (pair.panorama, pair.tile, pair.classes) if p is not None)

    def sample(self, index: int, epoch: int = 0) -> Sample:
        """Reads one sample; see `AbstractDataset.sample`."""
        pair = self.pairs[index]
        # Lists first: they say whether the pictures are those that are meant.
        datum = self._datum(index)
        image = read_rgb(pair.panorama)
        camera = self._camera(pair.panorama, image.shape[1], image.shape[0])
        turn = self._turn(index, epoch)
        image, yaw = turned(image, turn)
        tile = read_rgb(pair.tile)
        side = tile.shape[0]
        if tile.shape[1] != side:
            raise DataError(f'{pair.tile}: {tile.shape[1]} x {side}; expected a square picture')
        grid = Grid((0.0, 0.0), self._tile_side_m(datum) / side, side, side)
        x, y = self._xy(index)
        if not grid.contains([x, y]):
            raise DataError(
                f'{pair.name}: taken {x:.1f} m east and {y:.1f} m north of the middle of its '
                f'aerial picture, which is {side * grid.gsd:.1f} m wide: not a pair'
            )
        var_xy = self.std_xy_m**2
        cov = np.diag([var_xy, var_xy, 0.5**2, *[_STD_TILT**2] * 3])
        classes = None if pair.classes is None else _classes(pair.classes, image.shape[:2], turn)
        return Sample(
            key=pair.name,
            sequence=self.NAME,
            view=GroundView(0, image, camera, self.T_base_camera),
            T_map_base=se3.from_planar(float(x), float(y), yaw),
            label=LabelKind.GNSS,
            cov=cov,
            patch=AerialPatch(tile, np.ones((side, side), dtype=bool), grid, self.ATTRIBUTION),
            datum=datum,
            view_classes=classes,
        )

    def _turn(self, index: int, epoch: int) -> float:
        if self.orientation == 'aligned':
            return 0.0
        epoch = epoch if self.split == 'train' else 0
        return fractions(self.seed, index, epoch, 1)[0] * np.pi

    def missing(self) -> Sequence[str]:
        """Lists and pictures of this split that are not there."""
        try:
            pairs = self.pairs
        except DataError as error:
            return (str(error),)
        found = []
        for what, paths in (
            ('panoramas', [pair.panorama for pair in pairs]),
            ('aerial pictures', [pair.tile for pair in pairs]),
        ):
            for folder in dict.fromkeys(path.parent for path in paths):
                names = [path.name for path in paths if path.parent == folder]
                found += absent_files(folder, names, what, f'{self.NAME} {self.split}')
        return found


def _classes(path: Path, shape: tuple[int, ...], turn: float) -> NDArray[np.uint8]:
    classes = read_raw(path)
    if classes.shape != shape or classes.dtype != np.uint8:
        raise DataError(
            f'{path}: classes of shape {classes.shape}, {classes.dtype}; expected one uint8 a '
            f'pixel of the panorama, {shape}'
        )
    return turned(classes, turn)[0]
