# SPDX-License-Identifier: Apache-2.0
"""Lamps, signs, benches and other things that stand in streets, squares and playgrounds."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from geoloc_core.simulation.city import Furniture
from geoloc_core.simulation.mesh.builder import MeshBuilder
from geoloc_core.simulation.mesh.templates import FIRST, place, Sketch, Template
from geoloc_core.simulation.render.labels import Label
from geoloc_core.simulation.render.materials import Material

_STEEL = (128.0, 132.0, 134.0)
_DARK = (42.0, 44.0, 46.0)
_WOOD = (128.0, 98.0, 68.0)
_STONE = (172.0, 166.0, 156.0)
_WHOLE = (100.0, 100.0, 100.0)
# Height each template is drawn at, m; copies of another height are stretched.
_NOMINAL = {
    'lamp': 6.0, 'sign': 2.4, 'traffic_light': 3.3, 'bench': 0.85, 'bin': 0.9, 'bollard': 0.9,
    'shelter': 2.5, 'box': 1.1, 'swing': 2.3, 'slide': 1.8, 'fountain': 1.6, 'flower_bed': 0.5,
}  # fmt: skip


@lru_cache(maxsize=32)
def _template(kind: str) -> Template:
    """A thing that faces along x, at its nominal height."""
    s = Sketch()
    if kind == 'lamp':
        s.prism((0, 0, 0), 0.08, 5.9, 6, _WHOLE, paint=FIRST, taper=0.6)
        s.box((0.7, 0, 5.92), (1.5, 0.06, 0.06), _WHOLE, paint=FIRST)
        s.box((1.4, 0, 5.9), (0.62, 0.26, 0.1), _WHOLE, paint=FIRST)
        s.box((1.4, 0, 5.84), (0.5, 0.2, 0.04), (240, 236, 214), Material.LAMP)
    elif kind == 'sign':
        s.prism((0, 0, 0), 0.03, 2.4, 5, _STEEL)
        s.disc((0.045, 0, 2.1), 0.3, 0, 10, _WHOLE, paint=FIRST)
        s.disc((0.05, 0, 2.1), 0.2, 0, 10, (236, 236, 232))
        s.disc((0.04, 0, 2.1), 0.3, 0, 10, (120, 122, 124))
    elif kind == 'traffic_light':
        s.prism((0, 0, 0), 0.06, 3.3, 6, _DARK)
        s.box((0.12, 0, 2.8), (0.2, 0.28, 0.86), _DARK)
        for z, rgb in ((3.07, (210, 36, 30)), (2.8, (92, 70, 20)), (2.53, (24, 74, 40))):
            s.disc((0.225, 0, z), 0.1, 0, 8, rgb, Material.LAMP if z > 3 else Material.PLAIN)
    elif kind == 'bench':
        for z, x in ((0.44, 0.12), (0.44, -0.06), (0.44, -0.22)):
            s.box((x, 0, z), (0.14, 1.7, 0.04), _WHOLE, Material.WOOD, FIRST)
        for z in (0.62, 0.78):
            s.box((-0.28, 0, z), (0.04, 1.7, 0.12), _WHOLE, Material.WOOD, FIRST)
        for y in (-0.7, 0.7):
            s.box((-0.05, y, 0.21), (0.42, 0.06, 0.42), _DARK)
    elif kind == 'bin':
        s.prism((0, 0, 0.08), 0.24, 0.78, 8, _WHOLE, paint=FIRST)
        s.prism((0, 0, 0.86), 0.26, 0.06, 8, _DARK)
    elif kind == 'bollard':
        s.prism((0, 0, 0), 0.07, 0.86, 6, _WHOLE, paint=FIRST)
        s.prism((0, 0, 0.78), 0.085, 0.12, 6, (214, 214, 208))
    elif kind == 'shelter':
        s.box((0, 0, 2.45), (1.5, 3.6, 0.1), _STEEL)
        s.box((-0.65, 0, 1.25), (0.04, 3.4, 2.2), (112, 130, 138), Material.GLASS)
        for y in (-1.7, 1.7):
            s.box((-0.2, y, 1.25), (0.9, 0.04, 2.2), (112, 130, 138), Material.GLASS)
            for x in (-0.65, 0.6):
                s.box((x, y, 1.2), (0.07, 0.07, 2.4), _DARK)
        s.box((-0.4, 0, 0.45), (0.36, 2.4, 0.06), _WOOD, Material.WOOD)
    elif kind == 'box':
        s.box((0, 0, 0.55), (0.36, 0.9, 1.1), _WHOLE, paint=FIRST)
    elif kind == 'swing':
        for x in (-1.6, 1.6):
            for y in (-0.7, 0.7):
                s.frustum((x, y, 0), (0.1, 0.1), (x, 0, 2.3), (0.1, 0.1), _WHOLE, paint=FIRST)
        s.box((0, 0, 2.28), (3.4, 0.1, 0.1), _WHOLE, paint=FIRST)
        for x in (-0.7, 0.7):
            s.box((x, 0, 0.5), (0.5, 0.2, 0.05), _DARK)
            for dx in (-0.22, 0.22):
                s.box((x + dx, 0, 1.4), (0.025, 0.025, 1.8), _STEEL)
    elif kind == 'slide':
        s.box((-1.2, 0, 0.85), (0.9, 0.9, 0.1), _WOOD)
        for x, y in ((-1.6, -0.4), (-1.6, 0.4), (-0.8, -0.4), (-0.8, 0.4)):
            s.box((x, y, 0.9), (0.1, 0.1, 1.8), _WHOLE, paint=FIRST)
        s.frustum((-1.2, 0, 1.75), (1.1, 1.1), (-1.2, 0, 2.3), (0.1, 1.1), _WHOLE, paint=FIRST)
        a, b, c, d = (-0.75, -0.3, 0.9), (1.4, -0.3, 0.2), (1.4, 0.3, 0.2), (-0.75, 0.3, 0.9)
        s.add([(a, b, c), (a, c, d)], (196, 200, 204), Material.METAL)
    elif kind == 'fountain':
        s.prism((0, 0, 0), 2.6, 0.5, 14, _STONE)
        s.prism((0, 0, 0.44), 2.35, 0.08, 14, (64, 96, 104), Material.WATER)
        s.prism((0, 0, 0.5), 0.3, 1.1, 8, _STONE)
        s.prism((0, 0, 1.2), 0.4, 0.3, 10, _STONE, taper=2.2)
    else:
        s.prism((0, 0, 0), 1.2, 0.4, 10, _STONE)
        rng = np.random.default_rng(34)
        for x, y in rng.uniform(-0.7, 0.7, (12, 2)):
            s.prism((x, y, 0.38), 0.22, 0.16, 5, (70, 104, 52), Material.PLAIN, taper=0.7)
            s.prism((x, y, 0.5), 0.12, 0.08, 5, _WHOLE, paint=FIRST, taper=0.5)
    return s.done()


def add_furniture(builder: MeshBuilder, things: Sequence[Furniture]) -> None:
    """Adds things of all kinds; kinds without a shape of their own become a box."""
    kinds = sorted({t.kind for t in things})
    for kind in kinds:
        chosen = [t for t in things if t.kind == kind]
        known = kind if kind in _NOMINAL else 'box'
        tall = np.array([t.height / _NOMINAL[known] for t in chosen])
        ones = np.ones_like(tall)
        place(
            builder, _template(known), [t.xy for t in chosen], [t.yaw for t in chosen],
            np.stack([ones, ones, tall], axis=-1), Label.POLE, np.array([t.rgb for t in chosen]),
        )  # fmt: skip
