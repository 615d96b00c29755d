# SPDX-License-Identifier: Apache-2.0
"""A plain with four coloured poles: whoever mixes up a sign or an axis sees the wrong colour.

Red stands due north of the datum, green east, blue south, yellow west. Every reader, writer and
camera is tested on it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoloc_core.geometry.geodesy import Datum
from geoloc_core.simulation.city import City
from geoloc_core.simulation.mesh import Mesh, MeshBuilder
from geoloc_core.simulation.render.appearance import Appearance, Light
from geoloc_core.simulation.render.facades import Facades
from geoloc_core.simulation.render.ground import Ground
from geoloc_core.simulation.render.labels import Label
from geoloc_core.simulation.render.materials import Material
from geoloc_core.simulation.render.scene import Scene
from geoloc_core.simulation.world import World

POLE_RADIUS_M = 8.0
POLE_HEIGHT_M = 3.0
POLE_WIDTH_M = 0.8
DISC_RADIUS_M = 1.0
# Name -> (x east, y north) in m of its foot, and its colour.
POLES: dict[str, tuple[tuple[float, float], tuple[int, int, int]]] = {
    'north': ((0.0, POLE_RADIUS_M), (235, 20, 20)),
    'east': ((POLE_RADIUS_M, 0.0), (20, 190, 20)),
    'south': ((0.0, -POLE_RADIUS_M), (20, 20, 235)),
    'west': ((-POLE_RADIUS_M, 0.0), (230, 220, 15)),
}
COMPASS_DATUM = Datum(49.015, 8.42, 110.0)

_HALF_EXTENT_M = 102.4
_GROUND_GSD = 0.2
# The ground must not look like a pole, nor like the sky.
_GREY = 112
# Light from everywhere: a pole has the same colour from all sides, and no shadow.
_EVEN_LIGHT = Light(sun=0.0, sky=1.0, haze_m=1e9, clouds=0.0)
# The discs lie on the ground, but over it for the ray caster, whose rays are float32.
_DISC_Z_M = 0.01
_SIDES = 24


@dataclass(frozen=True)
class CompassWorld(World):
    """The plain with its poles, lit evenly; used like any other world."""

    def scene(self, *_: object, **__: object) -> Scene:
        """The poles on their plain; no conditions change them."""
        return Scene(_mesh(), self.ground, self.facades, Appearance(_EVEN_LIGHT))

    def aerial_scene(self, *_: object, **__: object) -> Scene:
        """The same: the plain knows no seasons."""
        return self.scene()


def compass_world(datum: Datum | None = None) -> CompassWorld:
    """The plain with its four poles.

    Args:
        datum: Where it lies, its poles around it; 49.015 N 8.42 E if None.

    Returns:
        The world; its map frame is ENU at the datum.
    """
    side = round(2 * _HALF_EXTENT_M / _GROUND_GSD)
    noise = np.random.default_rng(0).integers(-6, 7, (side, side, 1))
    canvas = np.repeat(_GREY + noise, 3, axis=-1).astype(np.uint8)
    return CompassWorld(
        seed=0,
        datum=datum or COMPASS_DATUM,
        city=City(_HALF_EXTENT_M, np.zeros((0, 2)), (), (), (), (), ()),
        ground=Ground(canvas, _HALF_EXTENT_M, 0),
        facades=Facades(0),
    )


def _mesh() -> Mesh:
    builder = MeshBuilder()
    builder.add_ground()
    for xy, rgb in POLES.values():
        foot = _ring(xy, POLE_WIDTH_M / 2)
        for a, b in zip(foot, np.roll(foot, -1, axis=0), strict=True):
            low, high = 0.0, POLE_HEIGHT_M
            wall = [(*a, low), (*b, low), (*b, high)], [(*a, low), (*b, high), (*a, high)]
            builder.add(wall, Material.PLAIN, rgb, label=Label.POLE)
        builder.add(_disc(foot, xy, POLE_HEIGHT_M), Material.PLAIN, rgb, label=Label.POLE)
        builder.add(
            _disc(_ring(xy, DISC_RADIUS_M), xy, _DISC_Z_M), Material.PLAIN, rgb, label=Label.POLE
        )
    return Mesh(builder)


def _ring(xy: tuple[float, float], radius: float) -> NDArray[np.float64]:
    """Corners (N, 2), counter-clockwise, of a circle."""
    angle = np.arange(_SIDES) * (2 * np.pi / _SIDES)
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1) * radius + xy


def _disc(ring: NDArray[np.float64], xy: tuple[float, float], z: float) -> NDArray[np.float64]:
    """Level triangles (N, 3, 3) that fill a ring."""
    corners = [
        [(*xy, z), (*a, z), (*b, z)] for a, b in zip(ring, np.roll(ring, -1, axis=0), strict=True)
    ]
    return np.array(corners)
