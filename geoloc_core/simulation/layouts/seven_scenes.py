# SPDX-License-Identifier: Apache-2.0
"""Writes 7-Scenes' layout (Shotton et al., CVPR 2013): rooms filmed with a Kinect; and streets.

As published, `pose.txt` is camera-to-world of the DEPTH sensor, depth is in mm and not registered
to colour, nothing measured is 0 or 65535, and text files end their lines with CRLF.

The streets are none of the publisher's: scenes of the same files, so that one data set can go from
rooms out of the door. No Kinect sees that far: theirs is exact depth up to what 16 bits hold.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import DataError
from geoloc_core.formats.kinect import COLOUR_CAMERA, DEPTH_CAMERA, T_COLOUR_DEPTH
from geoloc_core.geometry.geodesy import Datum
from geoloc_core.simulation.layouts import files
from geoloc_core.simulation.layouts.base import LayoutWriter, Place, Rig, Shot
from geoloc_core.simulation.layouts.orthophoto import Orthophoto
from geoloc_core.simulation.robots.drive import mounted

# Above the ground of a street, m: as one carries a camera.
_CARRIED_M = 1.6
# "Nothing measured", and what a distance too large for 16 bits becomes.
HOLE_MM, TOO_FAR_MM = 0, 65535
_TEST_SHARE = 0.34


class SevenScenesWriter(LayoutWriter):
    """7-Scenes: sequences of colour, depth and pose in a few rooms."""

    NAME: ClassVar[str] = '7scenes'
    LAYOUT: ClassVar[str] = (
        '<scene>/seq-XX/frame-NNNNNN.{color.png,depth.png,pose.txt}\n'
        '<scene>/{TrainSplit,TestSplit}.txt'
    )
    INDOOR: ClassVar[bool] = True
    DRIVES: ClassVar[bool] = True
    DEPTH: ClassVar[bool] = True
    DEFAULT_SIZE: ClassVar[tuple[int, int]] = (640, 480)

    @classmethod
    def rig(cls, width: int, height: int) -> Rig:
        """Colour camera and depth sensor; base_link is the colour camera's centre."""
        T_base_colour = mounted(0.0, 0.0, 0.0, 0.0)
        depth = Rig(DEPTH_CAMERA.resized(width, height), T_base_colour @ T_COLOUR_DEPTH)
        return Rig(COLOUR_CAMERA.resized(width, height), T_base_colour, depth)

    @classmethod
    def sequence(cls, city: int, number: int) -> str:
        """A sequence in a room; names of the seven published scenes would mislead."""
        return f'room{city}/seq-{number + 1:02d}'

    @classmethod
    def split(cls, number: int, numbers: int, fraction: float) -> str:
        """Whole sequences: the last third is the test."""
        return 'test' if number >= numbers - max(1, round(_TEST_SHARE * numbers)) else 'train'

    @classmethod
    def datum(cls, city: int) -> Datum:
        """Rooms lie nowhere on Earth; the frame's datum is not used."""
        return Datum(0.0, 0.0, 0.0)

    def files(self, place: Place) -> Sequence[Path]:
        """Colour, depth and pose."""
        stem = self.root / place.sequence / f'frame-{place.number:06d}'
        return [Path(f'{stem}.{part}') for part in ('color.png', 'depth.png', 'pose.txt')]

    def write(self, shot: Shot, aerial: Orthophoto | None = None) -> None:
        """Writes colour, depth and pose."""
        if shot.depth_m is None or shot.depth_rig is None:
            raise DataError('7-Scenes needs depth, seen by its own sensor: render `rig().depth`')
        self.note(shot)
        colour, depth, pose = self.files(shot.place)
        self.put(colour, files.png(shot.image))
        self.put(depth, files.png(depth_mm(shot.depth_m)))
        T = shot.T_map_base @ shot.depth_rig.T_base_camera
        lines = [''.join(f' {value: .7e}\t' for value in row) for row in T]
        self.put_text(pose, lines, '\r\n')

    def finish(self) -> None:
        """Writes the split lists of every room."""
        for room in sorted({place.sequence.split('/')[0] for place in self.places}):
            for split, name in (('train', 'TrainSplit.txt'), ('test', 'TestSplit.txt')):
                numbers = sorted(
                    {
                        int(place.sequence.rpartition('-')[2])
                        for place in self.places
                        if place.sequence.startswith(f'{room}/') and place.split == split
                    }
                )
                # Lines like 'sequence1', without the zeros of the folder's name.
                self.put_text(self.root / room / name, [f'sequence{n}' for n in numbers], '\r\n')


class StreetScenesWriter(SevenScenesWriter):
    """Streets of small cities in the files of 7-Scenes."""

    NAME: ClassVar[str] = '7scenes-streets'
    INDOOR: ClassVar[bool] = False
    HAND_HELD: ClassVar[bool] = True

    @classmethod
    def rig(cls, width: int, height: int) -> Rig:
        """The same two sensors; base_link is on the ground below the colour camera."""
        T_base_colour = mounted(0.0, 0.0, _CARRIED_M, 0.0)
        depth = Rig(DEPTH_CAMERA.resized(width, height), T_base_colour @ T_COLOUR_DEPTH)
        return Rig(COLOUR_CAMERA.resized(width, height), T_base_colour, depth)

    @classmethod
    def sequence(cls, city: int, number: int) -> str:
        """A way through the streets of a city."""
        return f'street{city}/seq-{number + 1:02d}'


def depth_mm(depth_m: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Depth (H, W) in m as the sensor's mm: NaN becomes 0, what is too far 65535."""
    mm = np.rint(np.where(np.isfinite(depth_m), depth_m, 0.0) * 1000.0)
    return np.clip(mm, HOLE_MM, TOO_FAR_MM).astype(np.uint16)
