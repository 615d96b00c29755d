# SPDX-License-Identifier: Apache-2.0
"""What every kind of local features and every descriptor of a whole picture offers."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import InputError

Floats = NDArray[np.float32]
Index = NDArray[np.int64]
# Width and height of a picture, px.
Size = tuple[int, int]


@dataclass(frozen=True, eq=False)
class LocalFeatures:
    """Points of a picture that can be found again in another one.

    Attributes:
        xy: (N, 2) float32, pixel (u, v); integer coordinates are pixel centres.
        descriptors: (N, D) float32, each of unit length: compare them by their dot product.
        score: (N,) float32, higher is better; comparable within one picture only.
    """

    xy: Floats
    descriptors: Floats
    score: Floats

    def __post_init__(self) -> None:
        """Refuses arrays that do not belong together.

        Raises:
            InputError: A shape is not the one above.
        """
        count = len(self.xy)
        if (
            self.xy.shape != (count, 2)
            or self.descriptors.ndim != 2
            or len(self.descriptors) != count
            or self.score.shape != (count,)
        ):
            raise InputError(
                f'local features of shapes xy {self.xy.shape}, descriptors '
                f'{self.descriptors.shape}, score {self.score.shape}: '
                'expected (N, 2), (N, D), (N,)'
            )

    def __len__(self) -> int:
        """N."""
        return len(self.xy)

    @classmethod
    def none(cls, size: int) -> 'LocalFeatures':
        """No features, of descriptors of size D."""
        return cls(
            np.zeros((0, 2), np.float32), np.zeros((0, size), np.float32), np.zeros(0, np.float32)
        )

    def take(self, index: NDArray) -> 'LocalFeatures':
        """Some of them, by indices (M,) or by a mask (N,)."""
        return LocalFeatures(self.xy[index], self.descriptors[index], self.score[index])


class AbstractFeatures(ABC):
    """A detector and descriptor of local features.

    Attributes:
        kind: Name that a place map remembers, e.g. 'sift'; maps and queries must agree in it.
        descriptor_size: D.
        scale_invariant: Whether things are recognised in a picture half as large.
    """

    kind: str
    descriptor_size: int
    scale_invariant: bool = False

    @abstractmethod
    def detect(self, image: NDArray[np.uint8]) -> LocalFeatures:
        """Finds and describes features.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            The best ones, best first; maybe none.

        Raises:
            InputError: The image is of another shape or type.
        """


class AbstractGlobalDescriptor(ABC):
    """One vector for a whole picture; pictures of one place have similar ones.

    Attributes:
        kind: Name that a place map remembers, e.g. 'vlad'.
        size: G.
    """

    kind: str
    size: int

    @abstractmethod
    def describe(self, image: NDArray[np.uint8] | None, local: LocalFeatures) -> Floats:
        """Describes a picture.

        Args:
            image: (H, W, 3) uint8 RGB; None where the descriptor is made of features alone.
            local: Its local features.

        Returns:
            (G,) float32 of unit length; all zero where there is nothing to describe.
        """

    @abstractmethod
    def arrays(self) -> Mapping[str, NDArray]:
        """What it was trained to, to be stored in a place map; empty where nothing was."""


class AbstractMatcher(ABC):
    """A network that says which features of two pictures are of one thing.

    Attributes:
        kind: Name for settings, e.g. 'lighterglue'.
    """

    kind: str

    @abstractmethod
    def match(
        self, size: Size, other_size: Size, features: LocalFeatures, others: LocalFeatures
    ) -> tuple[Index, Index]:
        """Matches two pictures.

        Args:
            size: Of the one picture.
            other_size: Of the other.
            features: N of the one, best first.
            others: M of the other, best first.

        Returns:
            Indices (L,) into features and (L,) into others; no feature is in two pairs.

        Raises:
            InputError: The features are of a kind that it was not made for.
        """


def require_size(features: LocalFeatures, size: int, what: str) -> None:
    """Refuses descriptors of another size than a network was made for.

    Raises:
        InputError: They are of another size.
    """
    if features.descriptors.shape[1] != size:
        raise InputError(
            f'descriptors of size {features.descriptors.shape[1]}: {what} was made for {size}'
        )


def require_rgb(image: NDArray) -> None:
    """Refuses what is no colour picture.

    Raises:
        InputError: Not (H, W, 3) uint8.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError(
            f'picture of shape {image.shape}, {image.dtype}: expected (H, W, 3) uint8, RGB'
        )
