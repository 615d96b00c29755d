# SPDX-License-Identifier: Apache-2.0
"""What makes cross-view localization hard, as settings with ranges: 'none', 'easy', 'hard'.

A range (low, high) is drawn from evenly unless its text says otherwise, so a fixed value is a
range of equal ends; a chance is a probability. Every setting is drawn from a stream of random
numbers of its own: to change one changes nothing else. `days` draws from these settings.
"""

# The defaults are calls of `_range` and its like, which return `dataclasses.field`.
# ruff: noqa: RUF009

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
import math
from types import MappingProxyType
from typing import Any

from geoloc_core.errors import ConfigError

Range = tuple[float, float]


def _range(low: float, high: float, unit: str, limits: Range, text: str) -> Any:
    """A setting drawn from [low, high]; `limits` is what makes sense at all."""
    metadata = {'kind': 'range', 'unit': unit, 'limits': limits, 'text': text}
    return field(default=(low, high), metadata=metadata)


def _chance(value: float, text: str) -> Any:
    """A setting that is the probability of something."""
    metadata = {'kind': 'chance', 'unit': 'chance', 'limits': (0.0, 1.0), 'text': text}
    return field(default=value, metadata=metadata)


def _spread(value: float, unit: str, limits: Range, text: str) -> Any:
    """A setting that is the standard deviation of a normal distribution about zero."""
    metadata = {'kind': 'spread', 'unit': unit, 'limits': limits, 'text': text}
    return field(default=value, metadata=metadata)


def _rate(value: float, unit: str, limits: Range, text: str) -> Any:
    """A setting that is one fixed number."""
    return field(
        default=value, metadata={'kind': 'rate', 'unit': unit, 'limits': limits, 'text': text}
    )


class _Checked:
    """Turns every setting into floats and refuses what makes no sense."""

    def __post_init__(self) -> None:
        """Checks every field against its kind and limits.

        Raises:
            ConfigError: A value is of the wrong form, not finite, out of its limits, or a range
                runs backwards.
        """
        for item in fields(self):  # type: ignore[arg-type]
            value = getattr(self, item.name)
            object.__setattr__(self, item.name, _checked(item.name, value, item.metadata))


def _checked(name: str, value: object, rule: Mapping[str, Any]) -> float | Range:
    low, high = rule['limits']
    unit, kind = rule['unit'], rule['kind']
    if kind == 'range':
        expected = f'two numbers [low, high] with {low:g} <= low <= high <= {high:g} ({unit})'
        # One number stands for a range of equal ends.
        parts = [value, value] if _is_number(value) else value
        if not isinstance(parts, list | tuple) or len(parts) != 2:
            raise ConfigError(f'condition {name}: expected {expected}, got {value!r}')
        if not all(_is_number(p) for p in parts):
            raise ConfigError(f'condition {name}: expected {expected}, got {value!r}')
        a, b = float(parts[0]), float(parts[1])
        if not low <= a <= b <= high:
            raise ConfigError(f'condition {name}: expected {expected}, got [{a:g}, {b:g}]')
        return a, b
    expected = f'a number in {low:g}..{high:g} ({unit}{", one sigma" if kind == "spread" else ""})'
    if not _is_number(value) or not low <= float(value) <= high:  # type: ignore[arg-type]
        raise ConfigError(f'condition {name}: expected {expected}, got {value!r}')
    return float(value)  # type: ignore[arg-type]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


# The sun of `Light()`: a bright afternoon.
_SUN_AZIMUTH_DEG = math.degrees(2.2)
_SUN_ELEVATION_DEG = math.degrees(0.75)
# Half past June: full leaves, green grass.
_SUMMER = 6.5


@dataclass(frozen=True)
class GroundConditions(_Checked):
    """The day, the traffic and the camera on the robot.

    The defaults are the preset 'none': a clear summer day through a perfect lens.
    """

    exposure_ev: Range = _range(0, 0, 'EV', (-8, 8), 'exposure off by this; +1 doubles the light')
    motion_blur_px: Range = _range(
        0, 0, 'px', (0, 100), 'way of the picture during one exposure, in any direction'
    )
    defocus_px: Range = _range(0, 0, 'px', (0, 30), 'radius of the disc that a point becomes')
    rain: float = _chance(0.0, 'it rains: streaks, wet ground, drops on the lens, less sight')
    rain_mm_h: Range = _range(2, 10, 'mm/h', (0.1, 100), 'how hard, when it rains')
    lens_drops: Range = _range(0, 0, 'drops', (0, 300), 'drops on the lens when it rains')
    wet: float = _chance(0.0, 'the ground is wet although it does not rain')
    night: float = _chance(0.0, 'night: street lamps and lit windows only')
    night_iso: Range = _range(1600, 6400, 'ISO', (0, 102400), 'gain of the sensor at night')
    night_ev: Range = _range(1.5, 2.5, 'EV', (0, 8), 'brighter at night by the camera itself')
    iso: Range = _range(
        0, 0, 'ISO', (0, 102400), 'gain of the sensor by day, which sets its noise; 0: no noise'
    )
    dirt: Range = _range(0, 0, 'share', (0, 0.5), 'part of the lens under specks of dirt')
    vignetting_ev: Range = _range(
        0, 0, 'EV', (0, 4), 'darker by this in the corners; a panorama has none'
    )
    jpeg_quality: Range = _range(
        100, 100, '', (5, 100), "of the camera's JPEG; from 100 on nothing is compressed"
    )
    cars_per_km: Range = _range(0, 0, 'cars/km', (0, 200), 'moving cars on each kilometre')
    people_per_km: Range = _range(0, 0, 'people/km', (0, 500), 'people walking, each kilometre')
    roll_deg: Range = _range(0, 0, 'deg', (-45, 45), 'tilt of the camera about forward')
    pitch_deg: Range = _range(0, 0, 'deg', (-45, 45), 'tilt of the camera about left')
    sun_azimuth_deg: Range = _range(
        _SUN_AZIMUTH_DEG, _SUN_AZIMUTH_DEG, 'deg', (-360, 720),
        'direction towards the sun, counter-clockwise from east',
    )  # fmt: skip
    sun_elevation_deg: Range = _range(
        _SUN_ELEVATION_DEG, _SUN_ELEVATION_DEG, 'deg', (2, 90), 'height of the sun'
    )
    overcast: Range = _range(0, 0, 'share', (0, 1), 'clouds: 1 leaves no sun and no shadow')
    month: Range = _range(
        _SUMMER, _SUMMER, 'month', (0, 24),
        'season of the northern half: 0 and 12 New Year, 6.5 mid-July; leaves and grass',
    )  # fmt: skip
    snow: float = _chance(0.0, 'snow lies, should the month be from December to March')
    haze_m: Range = _range(
        1400, 1400, 'm', (20, 1e6),
        'way on which 63 % of a colour fades into the sky; even in its logarithm',
    )  # fmt: skip


@dataclass(frozen=True)
class AerialConditions(_Checked):
    """The flight: when it was, what had changed by then, its camera and its registration.

    The defaults are the preset 'none': flown on the very day, straight from above, no error.
    """

    years: Range = _range(0, 0, 'years', (0, 30), 'between the flight and the drive')
    moved_cars: float = _chance(0.0, 'other cars stand at the kerbs')
    roofs_per_year: float = _rate(0.0, 'share/year', (0, 1), 'roofs in another colour')
    houses_per_year: float = _rate(
        0.0, 'share/year', (0, 1), 'houses gone, and as many rebuilt at another height'
    )
    trees_per_year: float = _rate(0.0, 'share/year', (0, 1), 'trees felled or planted')
    growth_m_per_year: Range = _range(
        0, 0, 'm/year', (0, 1), 'by which the radius of a crown was smaller in a past year'
    )
    crowns: Range = _range(1, 1, 'factor', (0.3, 3), 'on every crown: over 1 they hide streets')
    repainted: float = _chance(0.0, 'asphalt and markings were laid anew in between')
    month: Range = _range(_SUMMER, _SUMMER, 'month', (0, 24), 'season, as for the ground')
    snow: float = _chance(0.0, 'snow lies, should the month be from December to March')
    sun_azimuth_deg: Range = _range(
        _SUN_AZIMUTH_DEG, _SUN_AZIMUTH_DEG, 'deg', (-360, 720),
        'direction towards the sun, counter-clockwise from east',
    )  # fmt: skip
    sun_elevation_deg: Range = _range(
        _SUN_ELEVATION_DEG, _SUN_ELEVATION_DEG, 'deg', (2, 90), 'height of the sun'
    )
    overcast: Range = _range(0, 0, 'share', (0, 1), 'clouds above: 1 leaves no shadow')
    veil: Range = _range(0, 0, 'share', (0, 0.8), 'grey-blue light scattered by the air')
    lean_m_per_m: Range = _range(
        0, 0, 'm/m', (0, 1), 'tops lean away by this for each metre of height, any direction'
    )
    shift_std_m: float = _spread(
        0.0, 'm', (0, 50), 'error of the registration, in x and in y: the picture lies beside'
    )
    tint: float = _spread(0.0, 'share', (0, 0.5), 'gain of each colour of the camera')
    contrast: Range = _range(1, 1, 'factor', (0.3, 3), 'about the middle grey')
    saturation: Range = _range(1, 1, 'factor', (0, 3), 'of the colours')
    blur_px: Range = _range(0, 0, 'px', (0, 10), 'one sigma of the point spread')
    noise: Range = _range(0, 0, 'grey levels', (0, 60), 'one sigma, of 255')
    jpeg_quality: Range = _range(
        100, 100, '', (5, 100), 'of the tile server; from 100 on nothing is compressed'
    )


@dataclass(frozen=True)
class Conditions:
    """Both sides of a pair.

    Attributes:
        ground: The drive.
        aerial: The flight.
    """

    ground: GroundConditions = GroundConditions()
    aerial: AerialConditions = AerialConditions()


_EASY = Conditions(
    GroundConditions(
        exposure_ev=(-0.5, 0.5),
        motion_blur_px=(0.0, 1.5),
        defocus_px=(0.0, 0.6),
        wet=0.1,
        iso=(100, 800),
        dirt=(0.0, 0.01),
        vignetting_ev=(0.0, 0.5),
        jpeg_quality=(85, 98),
        cars_per_km=(2, 12),
        people_per_km=(5, 30),
        roll_deg=(-0.7, 0.7),
        pitch_deg=(-0.7, 0.7),
        sun_azimuth_deg=(190, 350),
        sun_elevation_deg=(30, 60),
        overcast=(0.0, 0.5),
        month=(4.5, 9.5),
        haze_m=(900, 4000),
    ),
    AerialConditions(
        years=(0, 2),
        moved_cars=1.0,
        roofs_per_year=0.01,
        houses_per_year=0.003,
        trees_per_year=0.01,
        growth_m_per_year=(0.0, 0.08),
        crowns=(0.95, 1.15),
        month=(4.5, 9.5),
        sun_azimuth_deg=(190, 350),
        sun_elevation_deg=(35, 60),
        overcast=(0.0, 0.3),
        veil=(0.0, 0.08),
        lean_m_per_m=(0.0, 0.06),
        shift_std_m=0.2,
        tint=0.03,
        contrast=(0.9, 1.1),
        saturation=(0.85, 1.1),
        blur_px=(0.0, 0.6),
        noise=(0.0, 2.0),
        jpeg_quality=(85, 98),
    ),
)

_HARD = Conditions(
    GroundConditions(
        exposure_ev=(-1.5, 1.5),
        motion_blur_px=(0.0, 7.0),
        defocus_px=(0.0, 1.8),
        rain=0.25,
        rain_mm_h=(2, 25),
        lens_drops=(5, 45),
        wet=0.15,
        night=0.2,
        night_iso=(1600, 6400),
        iso=(200, 3200),
        dirt=(0.0, 0.06),
        vignetting_ev=(0.0, 1.5),
        jpeg_quality=(45, 95),
        cars_per_km=(8, 40),
        people_per_km=(20, 150),
        roll_deg=(-3, 3),
        pitch_deg=(-3, 3),
        sun_azimuth_deg=(170, 370),
        sun_elevation_deg=(8, 60),
        overcast=(0.0, 1.0),
        month=(0, 12),
        snow=0.5,
        haze_m=(150, 4000),
    ),
    AerialConditions(
        years=(1, 8),
        moved_cars=1.0,
        roofs_per_year=0.02,
        houses_per_year=0.008,
        trees_per_year=0.02,
        growth_m_per_year=(0.0, 0.15),
        crowns=(1.0, 1.5),
        repainted=0.3,
        month=(0, 12),
        snow=0.3,
        sun_azimuth_deg=(170, 370),
        sun_elevation_deg=(15, 60),
        overcast=(0.0, 0.6),
        veil=(0.0, 0.2),
        lean_m_per_m=(0.05, 0.35),
        shift_std_m=1.0,
        tint=0.06,
        contrast=(0.8, 1.25),
        saturation=(0.65, 1.25),
        blur_px=(0.2, 1.4),
        noise=(0.0, 6.0),
        jpeg_quality=(50, 95),
    ),
)

PRESETS: Mapping[str, Conditions] = MappingProxyType(
    {'none': Conditions(), 'easy': _EASY, 'hard': _HARD}
)


def describe_conditions() -> str:
    """All settings with the values of each preset, as a table in Markdown."""
    lines = []
    for side in ('ground', 'aerial'):
        names = ' | '.join(PRESETS)
        lines += [f'| {side} | unit | {names} | what it is |', '|---|---|---|---|---|---|']
        for item in fields(getattr(PRESETS['none'], side)):
            values = [_text(getattr(getattr(p, side), item.name)) for p in PRESETS.values()]
            unit, text = item.metadata['unit'], item.metadata['text']
            if item.metadata['kind'] == 'spread':
                unit += ', 1 sigma'
            lines.append(f'| `{item.name}` | {unit} | {" | ".join(values)} | {text} |')
        lines.append('')
    return '\n'.join(lines)


def _text(value: float | Range) -> str:
    if isinstance(value, float):
        return f'{value:.4g}'
    low, high = value
    return f'{low:.4g}' if low == high else f'{low:.4g} to {high:.4g}'
