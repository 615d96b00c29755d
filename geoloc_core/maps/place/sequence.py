# SPDX-License-Identifier: Apache-2.0
"""Posed RGB-D frames, wherever they come from: what a place map is built of."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoloc_core.maps.place.records import Anchor
from geoloc_core.types import GroundView

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PosedView:
    """A frame whose pose is known.

    Attributes:
        name: Unique in its sequence, the same whenever it is read.
        view: The frame, with depth registered to its picture.
        T_place_base: (4, 4) base_link -> place.
    """

    name: str
    view: GroundView
    T_place_base: Array

    @property
    def T_place_camera(self) -> Array:
        """(4, 4) camera optical frame -> place."""
        return self.T_place_base @ self.view.T_base_camera


class AbstractPosedSequence(ABC):
    """Frames that can be read more than once: to choose among them, and to describe the chosen.

    Attributes:
        name: For people.
        z_up: Whether z of its world frame is known to point up.
        anchor: Where its world frame lies on the Earth, or None.
    """

    name: str
    z_up: bool = False
    anchor: Anchor | None = None

    @abstractmethod
    def __len__(self) -> int:
        """Frames that will be tried; those without pose or whole files are among them."""

    @abstractmethod
    def views(self, only: Collection[str] | None = None) -> Iterator[PosedView]:
        """The readable frames in order of their stamps.

        Args:
            only: Names of those wanted; all if None. The others need not be decoded.
        """

    def problems(self) -> list[str]:
        """What was wrong with frames that `views` left out; one sentence each."""
        return []


class MemorySequence(AbstractPosedSequence):
    """Frames that are in memory already: rendered ones, or those of a test."""

    def __init__(self, name: str, frames: list[PosedView], *, z_up: bool = False) -> None:
        """Takes the frames, in order of their stamps."""
        self.name = name
        self.z_up = z_up
        self._frames = frames

    def __len__(self) -> int:
        """Number of frames."""
        return len(self._frames)

    def views(self, only: Collection[str] | None = None) -> Iterator[PosedView]:
        """The frames."""
        return (frame for frame in self._frames if only is None or frame.name in only)
