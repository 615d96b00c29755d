# SPDX-License-Identifier: Apache-2.0
"""Masks of rendered tiles: the roads that the tile shows, where it shows them."""

import cv2
import numpy as np
import pytest

pytest.importorskip('embreex')
pytest.importorskip('numba')

from geoloc_core.simulation.city.make import make_city
from geoloc_core.simulation.conditions.days import aerial_scene, draw_aerial
from geoloc_core.simulation.conditions.settings import AerialConditions, Conditions
from geoloc_core.simulation.layouts.base import Shot
from geoloc_core.simulation.layouts.plan import plan_city
from geoloc_core.simulation.layouts.studio import CityStudio
from geoloc_core.simulation.layouts.vigor import mask_name, VigorWriter
from geoloc_core.simulation.render.labels import Label
from geoloc_core.simulation.render.renderer import render_aerial
from geoloc_core.simulation.world import make_world

SEED, HALF_M = 3, 60.0
SHIFTED = Conditions(aerial=AerialConditions(shift_std_m=3.0, lean_m_per_m=(0.3, 0.3)))


@pytest.fixture(scope='module')
def flown(tmp_path_factory):
    """Writer, plan, world and aerial picture, the last off by its registration."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VigorWriter, 'AERIAL_GSD', 0.4)
        writer = VigorWriter(tmp_path_factory.mktemp('masks'))
        plan = plan_city(VigorWriter, make_city(SEED, HALF_M, 1), 0, SEED, 0, 2)
        made = []

        def make(datum):
            made.append(
                make_world(SEED, datum=datum, half_extent=HALF_M, blocks=1, ground_gsd=0.2)
            )
            return made[0]

        rig = VigorWriter.rig(64, 32)
        studio = CityStudio(writer, plan, rig, SHIFTED, make=make, workers=1)
        return writer, plan, made[0], studio.aerial()


def roads(world, day, grid):
    scene = aerial_scene(world, day)
    labels = render_aerial(scene, grid, 2, 1, lean=day.lean, with_labels=True)[1]
    return np.isin(labels, (Label.ROAD, Label.MARKING))


def test_mask_lies_on_the_picture_not_on_the_truth(flown):
    _, plan, world, photo = flown
    assert photo.mask.shape == photo.image.shape[:2] and photo.mask.shape[0] != photo.mask.shape[1]
    assert set(np.unique(photo.mask)) == {0, 255}
    day = draw_aerial(SHIFTED, plan.seed, 0)
    dx, dy = day.shift_m
    assert np.hypot(dx, dy) > 1.0
    # What the picture shows at (x, y) truly lies at (x - dx, y - dy).
    x, y = photo.grid.center_xy
    np.testing.assert_array_equal(
        photo.mask > 0, roads(world, day, photo.grid.moved_to((x - dx, y - dy)))
    )
    beside = roads(world, day, photo.grid)
    assert (beside != (photo.mask > 0)).mean() > 0.01
    # Roads are grey in the picture, lawns are not: the mask belongs to what is seen.
    grey = np.ptp(photo.image.astype(int), axis=-1)
    assert grey[photo.mask > 0].mean() < 0.5 * grey[photo.mask == 0].mean()


def test_each_tile_has_its_mask(flown):
    writer, plan, _, photo = flown
    place = plan.places[0]
    files = writer.files(place)
    tiles = [path for path in files if path.parent.name == 'satellite']
    masks = [path for path in files if path.parent.name == 'point_prompt_mask']
    assert [mask_name(path.name) for path in tiles] == [path.name for path in masks]
    assert len(masks) == 4 and all(path.name.endswith('_mask.tif') for path in masks)
    picture = np.zeros((32, 64, 3), np.uint8)
    writer.write(_shot(place, picture), photo)
    for tile, mask in zip(tiles, masks, strict=True):
        stored = cv2.imread(str(mask), cv2.IMREAD_UNCHANGED)
        assert stored.shape == (640, 640) == cv2.imread(str(tile)).shape[:2]
        assert stored.dtype == np.uint8 and set(np.unique(stored)) == {0, 255}
        assert mask.stat().st_size < 20_000


def _shot(place, image):
    rig = VigorWriter.rig(64, 32)
    return Shot(
        place.index, place.sequence, place.stamp_ns, image, None, None, rig.camera,
        rig.T_base_camera, place.T_map_base, place.frame, place.split,
    )  # fmt: skip
