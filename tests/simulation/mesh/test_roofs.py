# SPDX-License-Identifier: Apache-2.0
"""Roofs are closed, of the right height, and lie where the house stands."""

import numpy as np
import pytest

from geoloc_core.simulation.city import Building
from geoloc_core.simulation.city.houses import block_of_flats, church, detached, hall
from geoloc_core.simulation.city.room import area_of, Frame, rectangle
from geoloc_core.simulation.mesh import add_building, Mesh, MeshBuilder
from geoloc_core.simulation.mesh.builder import boxes, ear_clip
from geoloc_core.simulation.mesh.roofs import inset
from geoloc_core.simulation.render.labels import Label

FRAME = Frame(np.array([7.0, -4.0]), np.array([0.8, 0.6]))
L_SHAPE = FRAME.place([(0, 0), (20, 0), (20, 16), (11, 16), (11, 8), (0, 8)])
HOUSE = rectangle((3.0, 5.0), 0.4, 14.0, 9.0)


def mesh_of(*buildings):
    builder = MeshBuilder()
    for building in buildings:
        add_building(builder, building)
    return Mesh(builder)


def highest(mesh, places):
    """Height (N,) and label (N,) of what is met first from above."""
    top = np.full(len(places), -np.inf)
    label = np.full(len(places), -1)
    for triangle, kind in zip(mesh.triangles, mesh.label, strict=True):
        (ax, ay, az), (bx, by, bz), (cx, cy, cz) = triangle
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < 1e-9:
            continue
        x, y = places.T
        v = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) / area
        w = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / area
        z = az + v * (bz - az) + w * (cz - az)
        better = (v >= -1e-9) & (w >= -1e-9) & (v + w <= 1 + 1e-9) & (z > top)
        top[better], label[better] = z[better], kind
    return top, label


def places_in(outline, count=300):
    """Places well inside of an outline."""
    rng = np.random.default_rng(3)
    inner = inset(outline, 0.25)
    triangles = inner[ear_clip(inner)]
    chosen = triangles[rng.integers(0, len(triangles), count)]
    weight = rng.dirichlet((1, 1, 1), count)
    return np.einsum('ni,nij->nj', weight, chosen)


@pytest.mark.parametrize(
    'roof', ['flat', 'gable', 'hip', 'half_hip', 'mansard', 'shed', 'sawtooth', 'spire']
)
def test_no_hole_is_seen_from_above(roof):
    gable = 0.0 if roof == 'flat' else 3.0
    extras = ('chimney', 'dormers', 'solar', 'plant', 'balconies')
    house = Building(HOUSE, 6.5, gable, 0, (200, 180, 160), (150, 80, 60), roof, extras=extras)
    top, label = highest(mesh_of(house), places_in(HOUSE))
    assert np.isin(label, (Label.ROOF, Label.BUILDING)).all()
    assert (label == Label.ROOF).mean() > 0.97
    assert top.min() > 6.4
    assert top.max() < 6.5 + gable + 3.5
    plain = Building(HOUSE, 6.5, gable, 0, (200, 180, 160), (150, 80, 60), roof)
    mesh = mesh_of(plain)
    peak = mesh.triangles[mesh.label == Label.ROOF][..., 2].max()
    assert peak == pytest.approx(6.5 + (gable or 0.45))


def test_ridge_runs_along_the_first_edge():
    house = Building(HOUSE, 6.0, 4.0, 0, (200, 180, 160), (150, 80, 60), 'gable')
    along = (HOUSE[1] - HOUSE[0]) / 14.0
    middle = HOUSE.mean(axis=0)
    places = np.array([middle, middle + 5 * along, middle - 5 * along])
    top, _ = highest(mesh_of(house), places)
    np.testing.assert_allclose(top, 10.0, atol=1e-6)
    across = np.array([-along[1], along[0]])
    top, _ = highest(mesh_of(house), middle + across * [[2.25], [-2.25]])
    np.testing.assert_allclose(top, 8.0, atol=1e-6)


@pytest.mark.parametrize('seed', range(12))
def test_houses_of_all_forms_are_closed(seed):
    rng = np.random.default_rng(seed)
    buildings = [
        [detached(rng, FRAME, 12.0, 12.5)],
        block_of_flats(rng, FRAME, 40.0, 36.0),
        [hall(rng, FRAME.box(0, 0, 30, 18))],
        church(rng, FRAME),
    ][seed % 4]
    mesh = mesh_of(*buildings)
    for building in buildings:
        assert area_of(building.footprint) > 0
        top, label = highest(mesh, places_in(building.footprint, 120))
        assert (top > building.height - 0.3).all()
        assert (label == Label.ROOF).mean() > 0.9


def test_concave_footprints_are_triangulated_exactly():
    triangles = L_SHAPE[ear_clip(L_SHAPE)]
    areas = [area_of(t) for t in triangles]
    assert min(areas) > 0
    assert sum(areas) == pytest.approx(area_of(L_SHAPE)) == pytest.approx(20 * 8 + 9 * 8)
    # The notch of the L stays open to the sky.
    flat = Building(L_SHAPE, 6.0, 0.0, 0, (200, 180, 160), (150, 150, 150), 'flat')
    top, _ = highest(mesh_of(flat), FRAME.place([(5.0, 12.0), (15.0, 12.0)]))
    assert top[0] == -np.inf and top[1] == pytest.approx(6.0)


@pytest.mark.parametrize('seed', range(6))
def test_stars_are_triangulated(seed):
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 17))
    star = np.stack([np.cos(angles), np.sin(angles)], -1) * rng.uniform(3, 12, 17)[:, None]
    if np.diff(angles).max() > 3 or area_of(star) <= 0:
        return
    areas = np.array([area_of(t) for t in star[ear_clip(star)]])
    assert areas.min() > -1e-9
    assert areas.sum() == pytest.approx(area_of(star))


def test_boxes_are_closed_and_turned():
    triangles = boxes([(1.0, 2.0, 3.0)], (4.0, 2.0, 6.0), 0.3)
    a, b, c = np.moveaxis(triangles - (1.0, 2.0, 3.0), 1, 0)
    assert (np.einsum('ij,ij->i', np.cross(a, b), c) / 6).sum() == pytest.approx(48.0)
    far = a[np.argmax(np.hypot(a[:, 0], a[:, 1]))]
    assert np.hypot(far[0], far[1]) == pytest.approx(np.hypot(2, 1))
