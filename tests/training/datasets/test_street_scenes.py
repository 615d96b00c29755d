# SPDX-License-Identifier: Apache-2.0
"""Streets in the files of 7-Scenes: poses, far depth, and one data set with rooms."""

from types import SimpleNamespace

import numpy as np
import pytest

from geoloc_core.geometry import se3
from geoloc_core.simulation.layouts.dataset import DatasetOptions, render_dataset
from geoloc_core.simulation.layouts.seven_scenes import SevenScenesWriter, StreetScenesWriter
from geoloc_core.simulation.layouts.studio import Studio
from tests.training.datasets.compass import assert_compass, write_compass
from training.datasets.observations import world_of
from training.datasets.seven_scenes import SevenScenes


def test_compass(tmp_path):
    # On the ground, as a vehicle's: the layout carries the camera above it.
    shots = write_compass(StreetScenesWriter(tmp_path), (320, 240))
    samples = [
        sample
        for split in ('train', 'test')
        for sample in SevenScenes(tmp_path, split, validation=0.0)
    ]
    assert len(samples) == len(shots)
    for sample, shot in zip(samples, shots, strict=True):
        np.testing.assert_allclose(sample.T_map_camera, shot.T_map_camera, atol=1e-6)
        assert sample.T_map_camera[2, 3] == pytest.approx(1.6, abs=1e-6)
        assert_compass(sample)


def test_streets_and_rooms_are_one_data_set(tmp_path):
    pytest.importorskip('embreex')
    pytest.importorskip('numba')
    rooms = DatasetOptions('7scenes', 3, size=(64, 48), cities=1, seed=3)
    streets = DatasetOptions(
        '7scenes-streets', 6, size=(64, 48), cities=1, seed=3, half_extent=60.0, blocks=1
    )
    for name, options in (('rooms', rooms), ('streets', streets)):
        render_dataset(tmp_path / name, options, workers=1)
    (tmp_path / 'both').mkdir()
    for scene in ('rooms/room0', 'streets/street0'):
        (tmp_path / scene).rename(tmp_path / 'both' / scene.rpartition('/')[2])
    train = SevenScenes(tmp_path / 'both', 'train', validation=0.0)
    test = SevenScenes(tmp_path / 'both', 'test')
    assert (len(train), len(test)) == (6, 3) and not train.missing() + test.missing()
    samples = [*train, *test]
    assert {world_of(sample) for sample in samples} == {'room0', 'street0'}
    depth = {
        world: np.concatenate([s.view.depth.ravel() for s in samples if world_of(s) == world])
        for world in ('room0', 'street0')
    }
    far = {world: np.nanpercentile(values, 95) for world, values in depth.items()}
    assert far['street0'] > 1.5 * far['room0']
    # The sky, and what 16 bits of millimetres do not hold, is nothing.
    assert np.isnan(depth['street0']).mean() > 0.05
    assert np.nanmax(depth['street0']) < 66.0
    # The road lies below the camera, and in the picture too.
    street = next(s for s in samples if world_of(s) == 'street0')
    assert street.T_map_camera[2, 3] == pytest.approx(1.6, abs=0.5)
    assert np.nanmedian(street.view.depth[-4:]) < np.nanmedian(street.view.depth[20:28])


@pytest.mark.parametrize('writer', [StreetScenesWriter, SevenScenesWriter])
def test_nothing_tilts_a_camera_whose_pose_is_exact(writer):
    rig = writer.rig(64, 48)
    tilted = SimpleNamespace(T_base_tilted=se3.from_xyz_rpy(0, 0, 0, 0.1, 0.05, 0))
    studio = SimpleNamespace(_rig=rig, _writer=writer)
    np.testing.assert_array_equal(Studio._mount(studio, tilted), rig.T_base_camera)
