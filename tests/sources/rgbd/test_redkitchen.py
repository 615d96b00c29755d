# SPDX-License-Identifier: Apache-2.0
"""Real frames: a map of some, and others found in it."""

import numpy as np
import pytest

from geoloc_core.sources.rgbd.localization import PlaceLocalizer
from geoloc_core.types import Status
from tests.benchmarks import redkitchen, redkitchen_frames

pytestmark = pytest.mark.slow

MAPPED = (265, 275, 285, 295, 305, 500)
QUERIES = (960, 980)


@pytest.fixture(scope='module')
def kitchen(real_data):
    folder = real_data('seven_scenes_redkitchen', 'seq')
    frames = redkitchen.read(folder, {*MAPPED, *QUERIES})
    camera = redkitchen_frames.START.camera
    mapped = [frame for frame in frames if frame.number in MAPPED]
    place = redkitchen.make_map(mapped, camera, 'sift', 1.0)
    return place, [frame for frame in frames if frame.number in QUERIES], camera


@pytest.mark.parametrize(('with_depth', 'limit_m'), [(True, 0.03), (False, 0.06)])
def test_frames_filmed_much_later_are_found(kitchen, with_depth, limit_m):
    place, queries, camera = kitchen
    localizer = PlaceLocalizer(place)
    for frame in queries:
        measured = localizer.localize(frame.view(camera, with_depth))
        assert measured.status is Status.OK, measured.reasons
        error = redkitchen.error(measured, frame)
        assert np.linalg.norm(error[:3]) < limit_m
        assert np.degrees(np.linalg.norm(error[3:])) < 2.5
        assert error @ np.linalg.solve(measured.cov, error) < 60


def test_depth_read_in_another_unit_is_said(kitchen):
    place, queries, camera = kitchen
    view = queries[0].view(camera)
    view.depth[:] *= np.float32(0.2)
    measured = PlaceLocalizer(place).localize(view)
    assert measured.status is Status.OK
    assert any('5000' in reason for reason in measured.reasons)
