# SPDX-License-Identifier: Apache-2.0
"""A contact sheet of a rendered world: one place through every camera and in every weather."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import ConfigError
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import (
    AbstractCamera,
    EquirectangularCamera,
    FisheyeCamera,
    PinholeCamera,
)
from geoloc_core.geometry.grid import Grid
from geoloc_core.simulation.city.plan import City
from geoloc_core.simulation.conditions.days import (
    aerial_view,
    draw_aerial,
    draw_ground,
    ground_scene,
    GroundDay,
    moving_scene,
)
from geoloc_core.simulation.conditions.lens import expose
from geoloc_core.simulation.conditions.settings import Conditions, PRESETS
from geoloc_core.simulation.render.labels import Label, LABEL_RGB
from geoloc_core.simulation.render.renderer import render, Rendering
from geoloc_core.simulation.render.scene import Scene
from geoloc_core.simulation.robots.drive import mounted
from geoloc_core.simulation.world import make_world, World

Array = NDArray[np.float64]
Image = NDArray[np.uint8]

_PANORAMA = EquirectangularCamera(1552, 776)
_PINHOLE = PinholeCamera(640, 420, 330.0, 330.0, 319.5, 209.5, (-0.06, 0.012, 0.0, 0.0, 0.0))
_FISHEYE = FisheyeCamera(480, 420, 165.0, 165.0, 239.5, 209.5, (-0.012, 0.004, -0.002, 0.0003))
_LOOKOUT = EquirectangularCamera(96, 48)
_AERIAL_SIDE_M = 72.0
_AERIAL_GSD = 0.12
# Aerial pictures of the presets have the shape of their ground pictures.
_PRESET_GRID_PX = (600, 394)
_FAR_M = 60.0
_WIDTH, _HEIGHT, _MARGIN, _GAP = 1600, 3000, 24, 14
_BACKGROUND, _INK, _FAINT = '#14171c', '#f2f4f7', '#9aa4b2'


@dataclass(frozen=True)
class _View:
    """What one camera saw on one day."""

    image: Image
    rendering: Rendering


def preview_world(seed: int, osm: Path | None = None) -> World:
    """The world of the sheet: a city from a seed, or a real place from an OpenStreetMap file."""
    if osm is None:
        return make_world(seed)
    from geoloc_core.simulation.footprints.world import world_from_footprints

    return world_from_footprints(osm, seed)


def contact_sheet(
    world: World,
    seed: int = 0,
    conditions: Conditions | None = None,
    name: str = 'none',
    *,
    say: Callable[[str], None] | None = None,
) -> Image:
    """Renders the sheet.

    Args:
        world: What to show.
        seed: Of the place and of the days.
        conditions: Of the large pictures; a clear day if None.
        name: What to call those.
        say: Called with what is going on.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ConfigError: The world has no street to stand in, or matplotlib is not installed.
    """
    tell = say or (lambda _: None)
    conditions = conditions or Conditions()
    day = draw_ground(conditions, seed)
    tell('building the scene')
    scene = ground_scene(world, day)
    T_map_base = best_place(world.city, scene, seed)
    scene = _with_movers(scene, world, day, seed, T_map_base)
    tell('rendering the cameras')

    def view(camera: AbstractCamera, height: float, pitch_deg: float) -> _View:
        T = T_map_base @ day.T_base_tilted @ mounted(0.0, 0.0, height, pitch_deg)
        picture = render(scene, camera, T, workers=2)
        return _View(expose(picture.image, day, 0, picture.range_m, camera), picture)

    views = {
        'panorama': view(_PANORAMA, 2.0, 0.0),
        'pinhole': view(_PINHOLE, 1.65, 4.0),
        'fisheye': view(_FISHEYE, 1.65, 18.0),
    }
    side = round(_AERIAL_SIDE_M / _AERIAL_GSD)
    grid = Grid((float(T_map_base[0, 3]), float(T_map_base[1, 3])), _AERIAL_GSD, side, side)
    above = aerial_view(world, draw_aerial(conditions, seed), grid, 2, with_labels=True)
    above_labels = above.labels if above.labels is not None else np.zeros((side, side), np.uint8)
    wide = Grid(grid.center_xy, _AERIAL_GSD, *_PRESET_GRID_PX)
    presets = {}
    for preset, settings in PRESETS.items():
        tell(f'rendering the preset {preset}')
        presets[preset] = _preset(world, settings, seed, T_map_base, wide)
    tell('drawing the sheet')
    return _draw(world, seed, name, T_map_base, views, above.image, above_labels, presets)


def best_place(city: City, scene: Scene, seed: int, tries: int = 40) -> Array:
    """T_map_base (4, 4) in a street, looking along it, where there is most to see.

    A small panorama from each of some places is rendered; the one whose labels are most evenly
    mixed (largest entropy) wins.
    """
    from geoloc_core.simulation.layouts.plan import street_place

    rng = np.random.default_rng([seed, 74])
    best, score = np.eye(4), -1.0
    for _ in range(tries):
        T = street_place(rng, city)
        labels = render(scene, _LOOKOUT, T @ mounted(0.0, 0.0, 2.0, 0.0)).labels
        share = np.bincount(labels.ravel(), minlength=len(Label)) / labels.size
        share = share[share > 0]
        entropy = float(-(share * np.log(share)).sum())
        if entropy > score:
            best, score = T, entropy
    return best


def _preset(
    world: World, settings: Conditions, seed: int, T_map_base: Array, grid: Grid
) -> tuple[Image, Image]:
    """Pinhole picture and aerial picture on one day of a preset."""
    day = draw_ground(settings, seed)
    T = T_map_base @ day.T_base_tilted @ mounted(0.0, 0.0, 1.65, 4.0)
    scene = _with_movers(ground_scene(world, day), world, day, seed, T_map_base)
    picture = render(scene, _PINHOLE, T, workers=2)
    image = expose(picture.image, day, 0, picture.range_m, _PINHOLE)
    return image, aerial_view(world, draw_aerial(settings, seed), grid, 2).image


def _with_movers(scene: Scene, world: World, day: GroundDay, seed: int, T: Array) -> Scene:
    return moving_scene(scene, world, day, seed, 0.0, (float(T[0, 3]), float(T[1, 3])))


def _draw(
    world: World,
    seed: int,
    name: str,
    T_map_base: Array,
    views: dict[str, _View],
    above: Image,
    above_labels: NDArray[np.uint8],
    presets: dict[str, tuple[Image, Image]],
) -> Image:
    """Puts the pictures onto one page."""
    page = _Page()
    place = f'{_degrees(world.datum.lat_deg, "NS")}  {_degrees(world.datum.lon_deg, "EW")}'
    page.text(_MARGIN, 34, 'geoloc world', size=26, color=_INK, weight='bold')
    page.text(300, 36, f'seed {seed}    {place}    conditions: {name}', size=15)
    page.down(62)
    panorama, pinhole, fisheye = views['panorama'], views['pinhole'], views['fisheye']
    page.row([(panorama.image, 'Panorama: the robot looks to the middle')])
    _, _, axes = page.row(
        [
            (pinhole.image, 'Pinhole, with distortion'),
            (fisheye.image, 'Fisheye, 180 degrees'),
            (above, f'From above, {_AERIAL_GSD} m a pixel'),
        ]
    )
    _arrow(axes, T_map_base, above.shape[0])
    page.row(
        [
            (depth_picture(panorama.rendering.range_m), 'Exact distance'),
            (LABEL_RGB[panorama.rendering.labels], 'Semantic labels'),
            (LABEL_RGB[above_labels], 'from above, too'),
        ]
    )
    used = np.unique(np.concatenate([panorama.rendering.labels.ravel(), above_labels.ravel()]))
    page.legends(used)
    page.row([(ground, f'Conditions: {preset}') for preset, (ground, _) in presets.items()])
    page.row([(aerial, '') for _, aerial in presets.values()])
    return page.picture(world.attribution)


class _Page:
    """A dark page that is filled from top to bottom with rows of pictures."""

    def __init__(self) -> None:
        """Starts with an empty page.

        Raises:
            ConfigError: matplotlib is not installed.
        """
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ImportError as error:
            raise ConfigError(
                "the contact sheet needs matplotlib: install it with pip install '.[viz]'"
            ) from error
        self._figure = Figure(figsize=(_WIDTH / 100, _HEIGHT / 100), dpi=100)
        self._figure.set_facecolor(_BACKGROUND)
        self._canvas: Any = FigureCanvasAgg(self._figure)
        self._top = 0.0

    def down(self, pixels: float) -> None:
        """Leaves room."""
        self._top += pixels

    def text(self, x: float, y: float, text: str, **style: Any) -> None:
        """Writes at a place in pixels from the top left."""
        style = {'color': _FAINT, 'va': 'center', **style}
        self._figure.text(x / _WIDTH, 1 - (self._top + y) / _HEIGHT, text, **style)

    def axes(self, x: float, y: float, width: float, height: float) -> Any:
        """Axes over a rectangle in pixels; y counts from the lowest row so far."""
        bottom = 1 - (self._top + y + height) / _HEIGHT
        return self._figure.add_axes((x / _WIDTH, bottom, width / _WIDTH, height / _HEIGHT))

    def row(self, pictures: Sequence[tuple[Image, str]]) -> list[Any]:
        """Pictures side by side, all of one height, over the whole width."""
        aspects = [image.shape[1] / image.shape[0] for image, _ in pictures]
        room = _WIDTH - 2 * _MARGIN - _GAP * (len(pictures) - 1)
        height, x, out = room / sum(aspects), float(_MARGIN), []
        title = 26.0 if any(text for _, text in pictures) else 0.0
        for (image, text), aspect in zip(pictures, aspects, strict=True):
            axes = self.axes(x, title, height * aspect, height)
            axes.imshow(image, interpolation='antialiased', aspect='auto')
            axes.set_axis_off()
            self.text(x, title / 2, text, size=12.5, color=_INK)
            x += height * aspect + _GAP
            out.append(axes)
        self.down(title + height + _GAP)
        return out

    def legends(self, labels: NDArray[np.uint8]) -> None:
        """The colours of distances and of labels."""
        half = (_WIDTH - 2 * _MARGIN) * 0.4
        axes = self.axes(_MARGIN, 6, half - 2 * _GAP, 14)
        metres = np.expm1(np.linspace(0, np.log1p(_FAR_M), 256)).astype(np.float32)
        axes.imshow(depth_picture(metres[None]), aspect='auto')
        ticks = np.array([0, 1, 2, 5, 10, 20, 60])
        axes.set_yticks([])
        axes.set_xticks(np.log1p(ticks) / np.log1p(_FAR_M) * 255, [f'{t} m' for t in ticks])
        axes.tick_params(colors=_FAINT, labelsize=11, length=0)
        for i, label in enumerate(labels):
            x, y = _MARGIN + half + 150 * (i % 6), 12 + 24 * (i // 6)
            self.axes(x, y - 7, 22, 14).set_facecolor(tuple(LABEL_RGB[label] / 255))
            self._figure.axes[-1].tick_params(
                left=False, bottom=False, labelleft=False, labelbottom=False
            )
            self.text(x + 30, y, Label(int(label)).name.lower(), size=12)
        self.down(max(44, 24 * (1 + (len(labels) - 1) // 6)) + _GAP)

    def picture(self, footer: str) -> Image:
        """The page down to where it is filled."""
        if footer:
            self.text(_MARGIN, 8, footer, size=11)
            self.down(22)
        self._canvas.draw()
        rgb = np.asarray(self._canvas.buffer_rgba())[..., :3]
        return rgb[: min(_HEIGHT, round(self._top) + _GAP)].copy()


def depth_picture(range_m: NDArray[np.float32]) -> Image:
    """Distance (H, W) in m as colours (H, W, 3): near is bright, the sky is black."""
    import cv2

    near = 1.0 - np.log1p(np.nan_to_num(range_m, nan=_FAR_M)) / np.log1p(_FAR_M)
    levels = np.clip(255 * near, 0, 255).astype(np.uint8)
    colour = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    colour[~np.isfinite(range_m)] = 0
    return colour.astype(np.uint8, copy=False)


def _arrow(axes: Any, T_map_base: Array, side_px: int) -> None:
    """The robot in the middle of the aerial picture, pointing where it looks."""
    yaw = se3.yaw_of(T_map_base)
    middle, length = (side_px - 1) / 2, 0.09 * side_px
    tip = (middle + length * np.cos(yaw), middle - length * np.sin(yaw))
    style = dict(arrowstyle='-|>,head_width=0.5,head_length=0.9', lw=3, color='#ff3b6b')
    axes.annotate('', tip, (middle, middle), arrowprops=style)
    axes.plot(middle, middle, 'o', ms=9, mfc='#ff3b6b', mec='white', mew=1.5)


def _degrees(value: float, letters: str) -> str:
    return f'{abs(value):.4f} {letters[value < 0]}'
