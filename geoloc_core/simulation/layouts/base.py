# SPDX-License-Identifier: Apache-2.0
"""What every writer of a data set's layout offers."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
import threading
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from geoloc_core.geometry.cameras import AbstractCamera
from geoloc_core.geometry.geodesy import Datum, EnuFrame
from geoloc_core.simulation.layouts import files
from geoloc_core.simulation.layouts.orthophoto import Orthophoto
from geoloc_core.simulation.render.labels import Label

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Place:
    """Where and when a picture is taken: all that the label files need.

    Attributes:
        index: Unique in the data set; labels are written in this order.
        sequence: City, drive or scene it belongs to; one of the writer's `sequence` names.
        split: Part of the data set, e.g. 'train'.
        stamp_ns: Time of exposure.
        T_map_base: (4, 4) truth.
        frame: The map frame.
        number: Of the frame in its sequence, from 0, in order of time.
    """

    index: int
    sequence: str
    split: str
    stamp_ns: int
    T_map_base: Array
    frame: EnuFrame
    number: int = 0


@dataclass(frozen=True)
class Shot:
    """A picture with its exact depth and labels, and where it was taken.

    Attributes:
        index: As in `Place`, and so are the next three.
        sequence: City, drive or scene.
        stamp_ns: Time of exposure.
        image: (H, W, 3) uint8 RGB.
        depth_m: (H, W) float32, z in the optical frame, NaN where nothing was met; or None.
        labels: (H, W) uint8 semantic labels, or None.
        camera: Projection of exactly this picture.
        T_base_camera: (4, 4) optical frame -> base_link.
        T_map_base: (4, 4) truth.
        frame: The map frame.
        split: Part of the data set.
        number: Of the frame in its sequence, from 0, in order of time.
        depth_rig: The sensor that `depth_m` belongs to, if it is not the picture's camera.
    """

    index: int
    sequence: str
    stamp_ns: int
    image: NDArray[np.uint8]
    depth_m: NDArray[np.float32] | None
    labels: NDArray[np.uint8] | None
    camera: AbstractCamera
    T_base_camera: Array
    T_map_base: Array
    frame: EnuFrame
    split: str = 'train'
    number: int = 0
    depth_rig: 'Rig | None' = None

    @property
    def place(self) -> Place:
        """Where and when, without the pixels."""
        return Place(
            self.index,
            self.sequence,
            self.split,
            self.stamp_ns,
            self.T_map_base,
            self.frame,
            self.number,
        )

    @property
    def T_map_camera(self) -> Array:
        """(4, 4) optical frame -> map."""
        return self.T_map_base @ self.T_base_camera


@dataclass(frozen=True)
class Rig:
    """A layout's camera.

    Attributes:
        camera: Its projection.
        T_base_camera: (4, 4) optical frame -> base_link.
        depth: A second sensor that measures depth, where depth is not that of the picture.
    """

    camera: AbstractCamera
    T_base_camera: Array
    depth: 'Rig | None' = None


class LayoutWriter(ABC):
    """Writes shots as one publisher lays a data set out.

    Order of calls: `begin`, `write` for each shot (in any order, from any thread), `finish`. A
    run that was killed is continued by the same calls, leaving out `write` where `is_done`.

    Attributes:
        NAME: What the command line calls it.
        LAYOUT: The folder tree it makes, for people, one path a line.
        INDOOR: Rooms with a hand-held camera, instead of cities with a vehicle.
        HAND_HELD: Poses are free and exact, indoors or out: nothing tilts the camera beside them.
        DRIVES: Frames follow each other along drives; otherwise places are drawn one by one.
        NORTH_ALIGNED: Every camera looks due north.
        DEFAULT_SIZE: (width, height) of the publisher's pictures.
        AERIAL_GSD: m/px of the aerial picture to cut tiles from; None if the layout has none.
        AERIAL_REACH_M: How far from a camera its aerial tiles may reach, m, along x or y.
        AERIAL_CLASSES: What the aerial picture's mask marks; without any it has no mask.
        REVISION: Of the files that are written; raised whenever they change, so that a folder
            of an older one is not continued.
        DEPTH: Depth is written.
        SPLITS: Part -> share of the shots.
    """

    NAME: ClassVar[str]
    LAYOUT: ClassVar[str]
    INDOOR: ClassVar[bool] = False
    HAND_HELD: ClassVar[bool] = False
    DRIVES: ClassVar[bool] = False
    NORTH_ALIGNED: ClassVar[bool] = False
    DEFAULT_SIZE: ClassVar[tuple[int, int]]
    AERIAL_GSD: ClassVar[float | None] = None
    AERIAL_REACH_M: ClassVar[float] = 0.0
    AERIAL_CLASSES: ClassVar[tuple[Label, ...]] = ()
    REVISION: ClassVar[int] = 1
    DEPTH: ClassVar[bool] = False
    SPLITS: ClassVar[dict[str, float]] = {'train': 0.5, 'test': 0.5}

    def __init__(self, root: Path | str) -> None:
        """Takes the folder to write into; it is made when needed."""
        self.root = Path(root)
        self._places: dict[int, Place] = {}
        self._locks: dict[Path, threading.Lock] = {}
        self._lock = threading.Lock()

    @classmethod
    @abstractmethod
    def rig(cls, width: int, height: int) -> Rig:
        """The publisher's camera, for pictures of this size."""

    @classmethod
    @abstractmethod
    def sequence(cls, city: int, number: int) -> str:
        """Name of the `number`-th drive through (or scene of) the `city`-th world, from 0."""

    @classmethod
    def split(cls, number: int, numbers: int, fraction: float) -> str:
        """The part of the data set that a shot belongs to.

        Args:
            number: Of its sequence in its world.
            numbers: How many sequences that world has.
            fraction: A draw in [0, 1), the shot's own.

        Returns:
            One of `SPLITS`; by default in proportion to their shares.
        """
        total = 0.0
        for name, share in cls.SPLITS.items():
            total += share
            if fraction < total:
                return name
        return name

    @classmethod
    def datum(cls, city: int) -> Datum:
        """Where on Earth the `city`-th world lies; no two of a data set overlap."""
        return Datum(49.015, 8.42 + 0.02 * city, 110.0)

    @classmethod
    def aligned(cls, place: Place) -> Place:
        """The nearest place that the layout's labels can state without rounding."""
        return place

    def begin(self, places: Iterable[Place] = ()) -> None:
        """Makes ready to write.

        Args:
            places: All places of the data set. Those that are not named here are known from
                their `write`; a run that continues another must name them.
        """
        files.clear_partial(self.root)
        self.root.mkdir(parents=True, exist_ok=True)
        for place in places:
            self._places[place.index] = place

    @abstractmethod
    def files(self, place: Place) -> Sequence[Path]:
        """All files that `write` makes for a place, shared ones too."""

    @abstractmethod
    def write(self, shot: Shot, aerial: Orthophoto | None = None) -> None:
        """Writes the pictures of a shot; calls `note` first.

        Args:
            shot: Picture and truth.
            aerial: The aerial picture of its surroundings; None for layouts without.

        Raises:
            DataError: The layout cannot hold this shot.
            OSError: The disk is full or may not be written.
        """

    @abstractmethod
    def finish(self) -> None:
        """Writes labels, calibration and lists, from the places alone."""

    def is_done(self, place: Place) -> bool:
        """Whether all files of a place are there; each is whole, or it would not be."""
        return all(path.exists() for path in self.files(place))

    def note(self, shot: Shot) -> None:
        """Remembers the place of a shot for `finish`."""
        with self._lock:
            self._places.setdefault(shot.index, shot.place)

    @property
    def places(self) -> tuple[Place, ...]:
        """All places known so far, by index."""
        return tuple(self._places[index] for index in sorted(self._places))

    def put(self, path: Path, data: bytes) -> None:
        """Writes a file as a whole."""
        files.write_bytes(self.root, path, data)

    def put_text(self, path: Path, lines: Iterable[str], newline: str = '\n') -> None:
        """Writes lines, each with its end, as a whole file."""
        self.put(path, ''.join(line + newline for line in lines).encode())

    def put_once(self, path: Path, make: Callable[[], bytes]) -> None:
        """Writes a file that several shots share, by whoever comes first."""
        with self._lock:
            lock = self._locks.setdefault(path, threading.Lock())
        with lock:
            if not path.exists():
                self.put(path, make())
