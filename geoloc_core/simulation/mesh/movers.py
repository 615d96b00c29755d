# SPDX-License-Identifier: Apache-2.0
"""Vehicles and people."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from geoloc_core.simulation.city import Car, Person
from geoloc_core.simulation.mesh.builder import MeshBuilder
from geoloc_core.simulation.mesh.templates import FIRST, place, SECOND, Sketch, Template
from geoloc_core.simulation.render.labels import Label
from geoloc_core.simulation.render.materials import Material

_GLASS_RGB = (38.0, 44.0, 50.0)
_TYRE_RGB = (30.0, 30.0, 32.0)
_WHOLE = (100.0, 100.0, 100.0)
_STEPS = 8


@lru_cache(maxsize=8)
def _vehicle(kind: str) -> Template:
    """A vehicle of unit length, width and height."""
    sketch = Sketch()
    wheels: tuple[float, ...]
    if kind == 'bus':
        sketch.frustum(
            (0, 0, 0.09), (0.995, 0.98), (0, 0, 0.42), (1.0, 1.0), _WHOLE, Material.METAL, FIRST
        )
        sketch.frustum(
            (0, 0, 0.42), (0.995, 0.985), (0, 0, 0.78), (0.985, 0.96), _GLASS_RGB, Material.GLASS
        )
        sketch.frustum(
            (0, 0, 0.78), (0.99, 0.97), (0, 0, 0.96), (0.98, 0.92), _WHOLE, Material.METAL, FIRST
        )
        for x in (-0.33, -0.16, 0.01, 0.18, 0.35):
            sketch.box((x, 0, 0.6), (0.012, 0.995, 0.36), _GLASS_RGB)
        for x in (-0.12, 0.41):
            sketch.box((x, -0.49, 0.42), (0.1, 0.03, 0.62), (54, 62, 70), Material.GLASS)
        sketch.box((-0.2, 0, 0.98), (0.25, 0.5, 0.05), (214, 214, 210))
        wheels, size, high = (-0.3, 0.3), 0.16, 0.28
    elif kind == 'truck':
        sketch.frustum((0, 0, 0.14), (0.98, 0.9), (0, 0, 0.3), (0.98, 0.9), (46, 48, 50))
        sketch.frustum((-0.13, 0, 0.3), (0.74, 1.0), (-0.13, 0, 1.0), (0.74, 1.0), (226, 226, 220))
        sketch.frustum(
            (0.375, 0, 0.16),
            (0.25, 0.95),
            (0.37, 0, 0.5),
            (0.24, 0.95),
            _WHOLE,
            Material.METAL,
            FIRST,
        )
        sketch.frustum(
            (0.37, 0, 0.5),
            (0.24, 0.94),
            (0.345, 0, 0.74),
            (0.18, 0.88),
            _GLASS_RGB,
            Material.GLASS,
        )
        sketch.frustum(
            (0.345, 0, 0.74),
            (0.18, 0.9),
            (0.34, 0, 0.82),
            (0.16, 0.84),
            _WHOLE,
            Material.METAL,
            FIRST,
        )
        wheels, size, high = (-0.33, -0.2, 0.36), 0.15, 0.3
    elif kind == 'van':
        sketch.frustum(
            (0, 0, 0.1), (1.0, 0.98), (-0.01, 0, 0.45), (0.97, 1.0), _WHOLE, Material.METAL, FIRST
        )
        sketch.frustum(
            (-0.12, 0, 0.45),
            (0.75, 1.0),
            (-0.15, 0, 0.97),
            (0.68, 0.9),
            _WHOLE,
            Material.METAL,
            FIRST,
        )
        sketch.frustum(
            (0.1, 0, 0.47), (0.52, 0.99), (0.04, 0, 0.84), (0.36, 0.93), _GLASS_RGB, Material.GLASS
        )
        sketch.box((-0.482, 0, 0.72), (0.012, 0.66, 0.22), _GLASS_RGB, Material.GLASS)
        sketch.box((0.0, 0, 0.2), (0.985, 1.004, 0.05), (54, 56, 58))
        wheels, size, high = (-0.31, 0.32), 0.15, 0.34
    else:
        sketch.frustum((0, 0, 0.13), (0.96, 0.9), (0, 0, 0.32), (0.98, 0.98), (32, 32, 34))
        sketch.frustum(
            (0, 0, 0.24), (0.99, 0.97), (0, 0, 0.46), (1.0, 1.0), _WHOLE, Material.METAL, FIRST
        )
        sketch.frustum(
            (0, 0, 0.46), (1.0, 1.0), (-0.02, 0, 0.62), (0.91, 0.93), _WHOLE, Material.METAL, FIRST
        )
        sketch.frustum(
            (-0.09, 0, 0.61),
            (0.7, 0.92),
            (-0.11, 0, 0.95),
            (0.43, 0.76),
            _GLASS_RGB,
            Material.GLASS,
        )
        sketch.frustum(
            (-0.11, 0, 0.945),
            (0.45, 0.78),
            (-0.11, 0, 1.0),
            (0.39, 0.68),
            _WHOLE,
            Material.METAL,
            FIRST,
        )
        wheels, size, high = (-0.31, 0.31), 0.145, 0.43
    for x in wheels:
        for side in (-1, 1):
            _wheel(sketch, x, side, size / 2, high)
    for side in (-1, 1):
        y = 0.36 * side
        z = 0.3 if kind in ('bus', 'truck') else 0.42
        sketch.box((0.495, y, z), (0.016, 0.2, 0.08), (236, 236, 226))
        sketch.box((-0.495, y, z + 0.04), (0.016, 0.18, 0.09), (150, 20, 18))
    return sketch.done()


def _wheel(sketch: Sketch, x: float, side: int, radius: float, high: float) -> None:
    """A wheel as an octagon at the body's side, in the unit frame of a vehicle."""
    angles = np.arange(8) * np.pi / 4
    ring = np.stack(
        [x + radius * np.cos(angles), np.full(8, 0.508 * side), high / 2 * (1 + np.sin(angles))],
        -1,
    )
    sketch.add(np.array([(ring[0], ring[i], ring[i + 1]) for i in range(1, 7)]), _TYRE_RGB)
    hub = ring.mean(axis=0) + (ring - ring.mean(axis=0)) * 0.55 + (0, 0.004 * side, 0)
    sketch.add(np.array([(hub[0], hub[i], hub[i + 1]) for i in range(1, 7)]), (148, 150, 152))


@lru_cache(maxsize=16)
def _walker(step: int) -> Template:
    """Somebody of unit height; `step` of _STEPS of the stride, -1 while standing."""
    swing = 0.0 if step < 0 else float(np.sin(2 * np.pi * step / _STEPS))
    sketch = Sketch()
    skin = (196.0, 152.0, 124.0)
    for side in (-1, 1):
        x, y = 0.13 * swing * side, 0.055 * side
        sketch.frustum(
            (x, y, 0.03),
            (0.06, 0.06),
            (0, y, 0.5),
            (0.085, 0.085),
            _WHOLE,
            Material.FABRIC,
            SECOND,
        )
        sketch.box((x + 0.025, y, 0.02), (0.14, 0.055, 0.04), (40, 36, 34))
        hand = (-0.11 * swing * side, 0.145 * side, 0.42)
        sketch.frustum(
            hand,
            (0.045, 0.045),
            (0, 0.125 * side, 0.8),
            (0.06, 0.055),
            _WHOLE,
            Material.FABRIC,
            FIRST,
        )
        sketch.box((hand[0], hand[1], 0.4), (0.04, 0.03, 0.05), skin)
    sketch.frustum(
        (0, 0, 0.46), (0.115, 0.19), (0, 0, 0.82), (0.125, 0.24), _WHOLE, Material.FABRIC, FIRST
    )
    sketch.prism((0, 0, 0.82), 0.03, 0.06, 5, skin)
    sketch.prism((0.004, 0, 0.865), 0.042, 0.065, 7, skin, taper=1.1)
    sketch.prism((-0.006, 0, 0.925), 0.049, 0.075, 7, (58, 44, 34), taper=0.55)
    return sketch.done()


def add_cars(builder: MeshBuilder, cars: Sequence[Car]) -> None:
    """Adds vehicles of all kinds."""
    for kind in ('car', 'van', 'bus', 'truck'):
        chosen = [c for c in cars if c.kind == kind]
        place(
            builder, _vehicle(kind), [c.xy for c in chosen], [c.yaw for c in chosen],
            np.array([c.size for c in chosen]).reshape(-1, 3), Label.VEHICLE,
            np.array([c.rgb for c in chosen]).reshape(-1, 3),
        )  # fmt: skip


def add_people(builder: MeshBuilder, people: Sequence[Person]) -> None:
    """Adds people, walking or standing."""
    steps = [-1 if p.phase < 0 else int(p.phase % 1.0 * _STEPS) for p in people]
    for step in sorted(set(steps)):
        chosen = [p for p, s in zip(people, steps, strict=True) if s == step]
        tall = np.array([p.height for p in chosen])
        place(
            builder, _walker(step), [p.xy for p in chosen], [p.yaw for p in chosen],
            np.repeat(tall[:, None], 3, axis=1), Label.PERSON,
            np.array([p.rgb for p in chosen]), np.array([p.legs_rgb for p in chosen]),
        )  # fmt: skip
