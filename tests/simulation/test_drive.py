# SPDX-License-Identifier: Apache-2.0
"""Drives: pictures in order, whatever the number of workers."""

import numpy as np
import pytest

from geoloc_core.errors import ConfigError
from geoloc_core.simulation.drive import make_drive, make_rig


@pytest.mark.parametrize('kind', ['pinhole', 'fisheye', 'panorama'])
def test_frames_come_in_order_and_do_not_depend_on_workers(small_world, kind):
    drive = make_drive(small_world, seed=1, duration=1.0, camera=kind, outage=None)
    one = list(drive.frames(workers=1))
    two = list(drive.frames(workers=2))
    assert [s for s, _ in one] == sorted(s for s, _ in two)
    assert len(one) == 4 == len(drive.frame_times())
    for (_, a), (_, b) in zip(one, two, strict=True):
        assert a.image.shape[:2] == (drive.rig.camera.height, drive.rig.camera.width)
        assert np.array_equal(a.image, b.image)
        assert 10 < a.image.mean() < 240


def test_unknown_camera_is_named():
    with pytest.raises(ConfigError, match='periscope'):
        make_rig('periscope')
