# SPDX-License-Identifier: Apache-2.0
"""One day drawn from the conditions: the drive's and the flight's, as plain numbers.

Convention: a draw depends on (seed, index, name of the setting) alone, so days can be drawn in
any order, and a changed setting leaves all others as they were.
"""

from dataclasses import dataclass, field
import zlib

import numpy as np
from numpy.typing import NDArray

from geoloc_core.geometry import se3
from geoloc_core.simulation.conditions.season import leaf_of_month, lies_snow, vegetation_of_month
from geoloc_core.simulation.conditions.settings import Conditions, Range
from geoloc_core.simulation.render.appearance import Appearance, Light

_GROUND, _AERIAL = 60, 61
# Aerial cameras look through the haze of one valley only; what there is of it is `veil`.
_AERIAL_HAZE_M = 1e5


@dataclass(frozen=True)
class GroundDay:
    """The day of a drive, or of one shot.

    Attributes:
        seed: It was drawn from.
        index: Its number.
        appearance: How the city looks.
        exposure_ev: Exposure error, EV.
        night_ev: What the camera itself adds at night, EV.
        motion_blur_px: Way of the picture during an exposure, px.
        motion_blur_direction: Direction of that way in the picture, rad.
        defocus_px: Radius of the disc that a point becomes, px.
        rain_mm_h: 0 when it does not rain.
        lens_drops: Drops of water on the lens.
        dirt: Part of the lens under dirt.
        vignetting_ev: Darker by this in the corners, EV.
        iso: Gain of the sensor; 0 for a sensor without noise.
        jpeg_quality: 100 for no compression.
        cars_per_km: Moving cars on each kilometre of street.
        people_per_km: People on each kilometre of street.
        tilt_rpy: (roll, pitch, 0) of the camera against its mount, rad, about base_link's axes.
    """

    seed: int
    index: int
    appearance: Appearance = field(default_factory=Appearance)
    exposure_ev: float = 0.0
    night_ev: float = 0.0
    motion_blur_px: float = 0.0
    motion_blur_direction: float = 0.0
    defocus_px: float = 0.0
    rain_mm_h: float = 0.0
    lens_drops: int = 0
    dirt: float = 0.0
    vignetting_ev: float = 0.0
    iso: float = 0.0
    jpeg_quality: int = 100
    cars_per_km: float = 0.0
    people_per_km: float = 0.0
    tilt_rpy: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def T_base_tilted(self) -> NDArray[np.float64]:
        """(4, 4) of the tilt: T_map_camera = T_map_base @ T_base_tilted @ T_base_camera."""
        return se3.from_xyz_rpy(0.0, 0.0, 0.0, *self.tilt_rpy)


@dataclass(frozen=True)
class AerialDay:
    """The day of a flight.

    Attributes:
        seed: It was drawn from.
        index: Its number.
        appearance: How the city looks.
        years: Between the flight and the drive.
        moved_cars: Other cars stand at the kerbs.
        roofs_changed: Part of the roofs in another colour.
        houses_changed: Part of the houses gone, and part of another height.
        trees_changed: Part of the trees felled, and part not there yet.
        growth_m: Crowns had smaller radii by this, m.
        crowns: Factor on all crowns.
        repainted: Asphalt and markings were laid anew.
        lean: (dx, dy) m of shift for each m of height.
        shift_m: (dx, dy) error of the registration: what is at (x, y) appears at (x + dx, y + dy).
        veil: Part of scattered light.
        tint: (3,) gain of red, green, blue.
        contrast: Factor about the middle grey.
        saturation: Factor on the colours.
        blur_px: Point spread, one sigma, px.
        noise: One sigma, grey levels.
        jpeg_quality: 100 for no compression.
    """

    seed: int
    index: int
    appearance: Appearance = field(
        default_factory=lambda: Appearance(Light(haze_m=_AERIAL_HAZE_M))
    )
    years: float = 0.0
    moved_cars: bool = False
    roofs_changed: float = 0.0
    houses_changed: float = 0.0
    trees_changed: float = 0.0
    growth_m: float = 0.0
    crowns: float = 1.0
    repainted: bool = False
    lean: tuple[float, float] = (0.0, 0.0)
    shift_m: tuple[float, float] = (0.0, 0.0)
    veil: float = 0.0
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    contrast: float = 1.0
    saturation: float = 1.0
    blur_px: float = 0.0
    noise: float = 0.0
    jpeg_quality: int = 100


class _Draw:
    """Random numbers by name."""

    def __init__(self, *key: int) -> None:
        self._key = key

    def rng(self, name: str) -> np.random.Generator:
        return np.random.default_rng([*self._key, zlib.crc32(name.encode())])

    def range(self, name: str, bounds: Range) -> float:
        low, high = bounds
        return low if low == high else float(self.rng(name).uniform(low, high))

    def log_range(self, name: str, bounds: Range) -> float:
        low, high = bounds
        if low == high or low == 0:
            # A range from zero has no logarithm.
            return self.range(name, bounds)
        return float(np.exp(self.rng(name).uniform(np.log(low), np.log(high))))

    def chance(self, name: str, probability: float) -> bool:
        return bool(self.rng(name).random() < probability)

    def direction(self, name: str) -> float:
        return float(self.rng(name).uniform(-np.pi, np.pi))


def draw_ground(conditions: Conditions, seed: int, index: int = 0) -> GroundDay:
    """Draws the day of a drive.

    Args:
        conditions: Settings to draw from.
        seed: Of all days.
        index: Of this day.

    Returns:
        The day; the same for the same (seed, index).
    """
    ground = conditions.ground
    draw = _Draw(seed, index, _GROUND)
    rains = draw.chance('rain', ground.rain)
    rain_mm_h = draw.range('rain_mm_h', ground.rain_mm_h) if rains else 0.0
    month = draw.range('month', ground.month)
    snow = _snow(draw, ground.snow, month)
    wet = draw.chance('wet', ground.wet) or rains
    night = draw.chance('night', ground.night)
    overcast = draw.range('overcast', ground.overcast)
    # Rain dims the air itself: about 0.25 R^0.63 per km of what is far is lost.
    rain_fade = 0.25e-3 * rain_mm_h**0.63 if rains else 0.0
    light = Light(
        azimuth=np.radians(draw.range('sun_azimuth_deg', ground.sun_azimuth_deg)),
        elevation=np.radians(draw.range('sun_elevation_deg', ground.sun_elevation_deg)),
        haze_m=1 / (1 / draw.log_range('haze_m', ground.haze_m) + rain_fade),
        overcast=max(overcast, 0.9) if rains else overcast,
        tint=_metered(snow),
    )
    appearance = Appearance(
        light=light,
        vegetation_rgb=vegetation_of_month(month),
        leaf=leaf_of_month(month),
        wet=(0.5 + 0.5 * float(draw.rng('wetness').random())) if wet else 0.0,
        snow=snow,
        night=1.0 if night else 0.0,
        seed=index,
    )
    tilt = [np.radians(draw.range(k, getattr(ground, k))) for k in ('roll_deg', 'pitch_deg')]
    iso = 'night_iso' if night else 'iso'
    return GroundDay(
        seed=seed,
        index=index,
        appearance=appearance,
        exposure_ev=draw.range('exposure_ev', ground.exposure_ev),
        night_ev=draw.range('night_ev', ground.night_ev) if night else 0.0,
        motion_blur_px=draw.range('motion_blur_px', ground.motion_blur_px),
        motion_blur_direction=draw.direction('motion_blur_direction'),
        defocus_px=draw.range('defocus_px', ground.defocus_px),
        rain_mm_h=rain_mm_h,
        lens_drops=round(draw.range('lens_drops', ground.lens_drops)) if rains else 0,
        dirt=draw.range('dirt', ground.dirt),
        vignetting_ev=draw.range('vignetting_ev', ground.vignetting_ev),
        iso=draw.log_range(iso, getattr(ground, iso)),
        jpeg_quality=round(draw.range('jpeg_quality', ground.jpeg_quality)),
        cars_per_km=draw.range('cars_per_km', ground.cars_per_km),
        people_per_km=draw.range('people_per_km', ground.people_per_km),
        tilt_rpy=(float(tilt[0]), float(tilt[1]), 0.0),
    )


def draw_aerial(conditions: Conditions, seed: int, index: int = 0) -> AerialDay:
    """Draws the day of a flight; see `draw_ground`."""
    aerial = conditions.aerial
    draw = _Draw(seed, index, _AERIAL)
    month = draw.range('month', aerial.month)
    snow = _snow(draw, aerial.snow, month)
    years = draw.range('years', aerial.years)
    light = Light(
        azimuth=np.radians(draw.range('sun_azimuth_deg', aerial.sun_azimuth_deg)),
        elevation=np.radians(draw.range('sun_elevation_deg', aerial.sun_elevation_deg)),
        haze_m=_AERIAL_HAZE_M,
        overcast=draw.range('overcast', aerial.overcast),
        tint=_metered(snow),
    )
    appearance = Appearance(
        light=light,
        vegetation_rgb=vegetation_of_month(month),
        leaf=leaf_of_month(month),
        snow=snow,
    )
    lean, direction = draw.range('lean_m_per_m', aerial.lean_m_per_m), draw.direction('lean')
    shift = draw.rng('shift_std_m').normal(0.0, 1.0, 2) * aerial.shift_std_m
    tint = np.exp(draw.rng('tint').normal(0.0, 1.0, 3) * aerial.tint)
    return AerialDay(
        seed=seed,
        index=index,
        appearance=appearance,
        years=years,
        moved_cars=draw.chance('moved_cars', aerial.moved_cars),
        roofs_changed=min(1.0, years * aerial.roofs_per_year),
        houses_changed=min(1.0, years * aerial.houses_per_year),
        trees_changed=min(1.0, years * aerial.trees_per_year),
        growth_m=years * draw.range('growth_m_per_year', aerial.growth_m_per_year),
        crowns=draw.range('crowns', aerial.crowns),
        repainted=draw.chance('repainted', aerial.repainted),
        lean=(lean * float(np.cos(direction)), lean * float(np.sin(direction))),
        shift_m=(float(shift[0]), float(shift[1])),
        veil=draw.range('veil', aerial.veil),
        tint=(float(tint[0]), float(tint[1]), float(tint[2])),
        contrast=draw.range('contrast', aerial.contrast),
        saturation=draw.range('saturation', aerial.saturation),
        blur_px=draw.range('blur_px', aerial.blur_px),
        noise=draw.range('noise', aerial.noise),
        jpeg_quality=round(draw.range('jpeg_quality', aerial.jpeg_quality)),
    )


def _snow(draw: _Draw, chance: float, month: float) -> float:
    """How much snow lies, 0..1."""
    if not draw.chance('snow', chance) or not lies_snow(month):
        return 0.0
    return 0.4 + 0.6 * float(draw.rng('snow_depth').random())


def _metered(snow: float) -> tuple[float, float, float]:
    """What a camera's own exposure does to the light of a white world."""
    gain = 1 - 0.35 * snow
    return gain, gain, gain
