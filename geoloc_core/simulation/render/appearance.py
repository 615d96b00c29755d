# SPDX-License-Identifier: Apache-2.0
"""The day a picture is taken on: sun, sky, season, weather and hour."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Light:
    """Sun and sky.

    Attributes:
        azimuth: Direction towards the sun, rad, 0 = east, counter-clockwise.
        elevation: rad over the horizon.
        sun: Strength of direct light, as a factor on a surface facing it.
        sky: Strength of the light from all sides.
        tint: (3,) factor on red, green, blue.
        haze_m: Distance over which 63 % of a colour fades into the sky's.
        overcast: 0 = clear; 1 = the sun is hidden, the sky even and grey, no shadows.
        clouds: Part of a clear sky that is covered by single clouds, 0..1.
    """

    azimuth: float = 2.2
    elevation: float = 0.75
    sun: float = 0.85
    sky: float = 0.42
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    haze_m: float = 1400.0
    overcast: float = 0.0
    clouds: float = 0.35

    @property
    def direction(self) -> Array:
        """Unit vector (3,) towards the sun, map frame."""
        c = np.cos(self.elevation)
        return np.array(
            [c * np.cos(self.azimuth), c * np.sin(self.azimuth), np.sin(self.elevation)]
        )


@dataclass(frozen=True)
class Appearance:
    """How the same city looks on one day.

    Attributes:
        light: Sun and sky by day.
        vegetation_rgb: (3,) factor on the colours of grass and leaves: the season.
        leaf: 1 = full crowns, 0 = bare branches.
        wet: 0 = dry, 1 = after heavy rain: darker ground, puddles and shine.
        snow: 0 = none, 1 = all that lies under the sky is white.
        night: 0 = day, 1 = no sun: street lamps and lit windows.
        lamps: Positions (x, y, z) of the street lamps' lights, m, map frame.
        seed: Of the clouds.
    """

    light: Light = field(default_factory=Light)
    vegetation_rgb: tuple[float, float, float] = (1.0, 1.0, 1.0)
    leaf: float = 1.0
    wet: float = 0.0
    snow: float = 0.0
    night: float = 0.0
    lamps: tuple[tuple[float, float, float], ...] = ()
    seed: int = 0
