# SPDX-License-Identifier: Apache-2.0
"""Writes the layout of the TUM RGB-D benchmark (Sturm et al., IROS 2012).

As published, poses are camera-to-world of the colour camera, depth is registered to colour at 5000
units a metre with 0 for nothing measured, and pictures are named by their time in seconds.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import DataError
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import PinholeCamera
from geoloc_core.geometry.geodesy import Datum
from geoloc_core.simulation.layouts import files
from geoloc_core.simulation.layouts.base import LayoutWriter, Place, Rig, Shot
from geoloc_core.simulation.layouts.orthophoto import Orthophoto
from geoloc_core.simulation.robots.drive import mounted

UNITS_PER_M = 5000
# The colour camera of the benchmark's third Kinect, whose pictures come without distortion.
CAMERA = PinholeCamera(640, 480, 535.4, 539.2, 320.1, 247.6)
# A Kinect's two pictures are never taken at the very same moment.
DEPTH_DELAY_NS = 4_000_000
_TEST_SHARE = 0.34


class TumWriter(LayoutWriter):
    """TUM RGB-D: a folder a sequence, with lists of times."""

    NAME: ClassVar[str] = 'tum'
    LAYOUT: ClassVar[str] = (
        'rgbd_dataset_freiburg3_<name>/{rgb,depth}/<seconds>.png\n'
        'rgbd_dataset_freiburg3_<name>/{rgb,depth,groundtruth}.txt'
    )
    INDOOR: ClassVar[bool] = True
    DRIVES: ClassVar[bool] = True
    DEPTH: ClassVar[bool] = True
    DEFAULT_SIZE: ClassVar[tuple[int, int]] = (640, 480)

    @classmethod
    def rig(cls, width: int, height: int) -> Rig:
        """The colour camera; base_link is its centre."""
        return Rig(CAMERA.resized(width, height), mounted(0.0, 0.0, 0.0, 0.0))

    @classmethod
    def sequence(cls, city: int, number: int) -> str:
        """A sequence of the third camera, whose name tells the room."""
        return f'rgbd_dataset_freiburg3_room{city}_{number + 1:02d}'

    @classmethod
    def split(cls, number: int, numbers: int, fraction: float) -> str:
        """Whole sequences: the last third is the test."""
        return 'test' if number >= numbers - max(1, round(_TEST_SHARE * numbers)) else 'train'

    @classmethod
    def datum(cls, city: int) -> Datum:
        """Rooms lie nowhere on Earth; the frame's datum is not used."""
        return Datum(0.0, 0.0, 0.0)

    def files(self, place: Place) -> Sequence[Path]:
        """Colour and depth."""
        folder = self.root / place.sequence
        return (
            folder / 'rgb' / f'{_seconds(place.stamp_ns)}.png',
            folder / 'depth' / f'{_seconds(place.stamp_ns + DEPTH_DELAY_NS)}.png',
        )

    def write(self, shot: Shot, aerial: Orthophoto | None = None) -> None:
        """Writes colour and depth."""
        if shot.depth_m is None or shot.depth_rig is not None:
            raise DataError('TUM RGB-D needs depth registered to the picture: that of its camera')
        self.note(shot)
        colour, depth = self.files(shot.place)
        self.put(colour, files.png(shot.image))
        self.put(depth, files.png(depth_units(shot.depth_m)))

    def finish(self) -> None:
        """Writes the three lists of every sequence."""
        for name in sorted({place.sequence for place in self.places}):
            places = [place for place in self.places if place.sequence == name]
            places.sort(key=lambda place: place.stamp_ns)
            folder = self.root / name
            for part, title, delay in (('rgb', 'color', 0), ('depth', 'depth', DEPTH_DELAY_NS)):
                times = [_seconds(place.stamp_ns + delay) for place in places]
                self.put_text(
                    folder / f'{part}.txt',
                    [
                        f'# {title} images',
                        f"# file: '{name}.bag'",
                        '# timestamp filename',
                        *(f'{t} {part}/{t}.png' for t in times),
                    ],
                )
            T_base_camera = self.rig(*self.DEFAULT_SIZE).T_base_camera
            self.put_text(
                folder / 'groundtruth.txt',
                [
                    '# ground truth trajectory',
                    f"# file: '{name}.bag'",
                    '# timestamp tx ty tz qx qy qz qw',
                    *(_pose_line(p.stamp_ns, p.T_map_base @ T_base_camera) for p in places),
                ],
            )


def depth_units(depth_m: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Depth (H, W) in m in units of 0.2 mm; NaN and what is too far for 16 bits become 0."""
    units = np.rint(np.where(np.isfinite(depth_m), depth_m, 0.0) * UNITS_PER_M)
    return np.where(units > np.iinfo(np.uint16).max, 0, units).astype(np.uint16)


def _seconds(stamp_ns: int) -> str:
    """Time in seconds with six decimals, rounded down."""
    return f'{stamp_ns // 10**9}.{stamp_ns % 10**9 // 1000:06d}'


def _pose_line(stamp_ns: int, T: NDArray[np.float64]) -> str:
    numbers = [*T[:3, 3], *se3.quaternion_xyzw(T[:3, :3])]
    # Four decimals as published.
    return ' '.join([f'{stamp_ns * 1e-9:.4f}', *(f'{value:.4f}' for value in numbers)])
