# SPDX-License-Identifier: Apache-2.0
"""The world writes KITTI's layout, the reader gives the world back."""

import numpy as np
import pytest

from geoloc_core.geometry import angles, se3
from geoloc_core.geometry.geodesy import EnuFrame
from geoloc_core.simulation.layouts.kitti import KittiWriter
from tests.training.datasets.compass import assert_compass, PLACES, write_compass
from training.datasets.kitti_crossview import KittiCrossView

# A car on a slope, leaning: its base_link's axes are not the map's.
TILTED = [
    se3.from_planar(x, y, yaw, roll=np.radians(2.0), pitch=np.radians(-3.0))
    for x, y, yaw in PLACES[:2]
]


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    pytest.importorskip('embreex')
    root = tmp_path_factory.mktemp('kitti-world')
    return root, write_compass(KittiWriter(root), size=(414, 125), places=TILTED)


@pytest.mark.parametrize('split', ['trainval', 'test1', 'test2'])
def test_compass_rose_and_poses(world, split):
    root, shots = world
    by_stamp = {shot.stamp_ns: shot for shot in shots}
    data = KittiCrossView(root, split, gsd='true')
    assert list(data.missing()) == [] and len(data) == len(TILTED)
    for sample in data:
        assert_compass(sample, datum=shots[0].frame.datum, tol_m=0.15)
        shot = by_stamp[sample.view.stamp_ns]
        lat, lon, alt = EnuFrame(sample.datum).geodetic_from_enu(sample.T_map_base[:3, 3])
        xyz = shot.frame.enu_from_geodetic(lat, lon, alt)
        np.testing.assert_allclose(xyz, shot.T_map_base[:3, 3], atol=1e-3)
        assert (
            abs(angles.difference(*map(se3.yaw_of, (sample.T_map_base, shot.T_map_base)))) < 1e-5
        )
        np.testing.assert_allclose(sample.T_map_base[:3, :3], shot.T_map_base[:3, :3], atol=1e-5)
        np.testing.assert_allclose(sample.view.T_base_camera, shot.T_base_camera, atol=1e-6)
        np.testing.assert_allclose(sample.view.camera.K, shot.camera.K, rtol=1e-6)
        np.testing.assert_array_equal(sample.view.image, shot.image)


def test_published_ground_size_is_that_of_the_place(world):
    """All of Karlsruhe is close enough to 49.015 N for the protocol's one number."""
    root, shots = world
    assert_compass(KittiCrossView(root, 'test1')[0], datum=shots[0].frame.datum, tol_m=0.15)
