# SPDX-License-Identifier: Apache-2.0
"""The interface of networks that describe a whole picture by one vector, to find places by."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from geoloc_core.errors import ConfigError
from geoloc_core.input_spec import RasterSpec
from geoloc_core.models.network import Network

BOXES = ('percentile', 'deviation')


@dataclass(frozen=True)
class SamePlace:
    """Which pictures a descriptor is to find for each other, and how near they are to be.

    Two pictures show the same place if they see enough points of space in common, and other
    places if they see none. Between the two they count as neither. How much they overlap is the
    intersection over union of the upright boxes around what each sees.

    Attributes:
        cell: Side of the cubes of space that stand for points, in units of the map; 0 for the
            points themselves, which pictures share where a reconstruction found them in both, as
            published. Depth never measures the same point twice: it takes cubes.
        shared: Cubes, or points, that both must see.
        box: 'percentile' (between two percentiles of each coordinate) or 'deviation' (published:
            without points further than three standard deviations on an axis).
        percent: Left out at either end of a coordinate, of 'percentile'.
        least_side: A side is at least this, in units of the map: a wall has no volume.
    """

    cell: float = 0.2
    shared: int = 8
    box: str = 'percentile'
    percent: float = 2.0
    least_side: float = 0.1

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            ConfigError: One that cannot be.
        """
        if self.box not in BOXES:
            raise ConfigError(f'same_place.box is {self.box!r}, expected one of {BOXES}')
        good = {
            'cell': self.cell >= 0,
            'shared': self.shared >= 1,
            'percent': 0 <= self.percent < 50,
            'least_side': self.least_side >= 0,
        }
        for name, value in good.items():
            if not value:
                raise ConfigError(
                    f'same_place.{name} is {getattr(self, name)}: expected a cell of 0 or more, '
                    'one shared cell or more, 0 to 50 percent, a side of 0 or more'
                )


SAME_PLACE = SamePlace()


class DescriptorModel(Network):
    """A picture, and perhaps more, to a vector of length one.

    Pictures of overlapping places have descriptors that lie close (Euclidean distance, 0..2).

    Attributes:
        view: The picture's input; the whole picture is brought to its size, whatever its aspect.
        size: Numbers of the descriptor.
        patches_a_side: Parts that the picture is cut into, each way, for inputs that describe
            them.
        same_place: What it learns to tell.
    """

    FAMILY: ClassVar[str] = 'descriptor'
    patches_a_side: int
    same_place: SamePlace

    def __init__(self, settings: Any, view: RasterSpec, size: int) -> None:
        """Keeps the settings.

        Args:
            settings: An instance of `Settings`.
            view: What the network is fed.
            size: Numbers of the descriptor.
        """
        super().__init__(settings)
        self.view = view
        self.size = size

    @abstractmethod
    def forward(self, view: Tensor, **extra: Tensor) -> Tensor:
        """(B, size) float32 unit vectors.

        Args:
            view: (B, 3, H, W) normalised.
            extra: `EXTRA_INPUTS`.
        """
