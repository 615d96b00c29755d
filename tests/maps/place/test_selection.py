# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest

from geoloc_core.errors import ConfigError
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import PinholeCamera
from geoloc_core.maps.place.selection import Glimpse, select, SelectionConfig
from geoloc_core.messages.conversions import R_BODY_OPTICAL

CAMERA = PinholeCamera(80, 60, 65.0, 66.0, 40.5, 28.5)


def wall_at(x, y=0.0, distance=2.0, yaw=0.0, sharpness=1.0, name=None):
    """A look from (x, y) along yaw 0 (+x) at a wall that stands across it, so far away."""
    T = se3.from_planar(x, y, yaw, 1.0) @ se3.make(R_BODY_OPTICAL, np.zeros(3))
    depth = np.full((60, 80), round(distance * 1e3), np.uint16)
    return Glimpse(name or f'{x:.2f} {y:.2f} {yaw:.2f}', T, depth, sharpness)


def passing(count, step):
    """A camera that moves sideways along a long wall."""
    return [wall_at(0.0, k * step) for k in range(count)]


def test_frames_of_one_view_give_one_keyframe():
    chosen = select([wall_at(0.0, 0.001 * k) for k in range(10)], CAMERA)
    assert len(chosen.chosen) == 1 and chosen.covered.min() > 0.95


def test_a_walk_past_a_wall_is_covered_by_few():
    glimpses = passing(40, 0.1)
    found = select(glimpses, CAMERA)
    # 8 degrees at 2 m are 0.28 m to either side: some 4 m need seven keyframes or a few more.
    assert 7 <= len(found.chosen) <= 20, found.chosen
    assert found.covered.min() >= 0.97
    assert found.chosen == tuple(sorted(found.chosen))
    assert select(glimpses, CAMERA).chosen == found.chosen


def test_wider_limits_need_fewer():
    glimpses = passing(40, 0.1)
    wide = select(glimpses, CAMERA, SelectionConfig(max_angle_deg=30.0))
    assert len(wide.chosen) < len(select(glimpses, CAMERA).chosen)


def test_the_same_wall_from_near_and_far_needs_two():
    pair = [wall_at(0.0, distance=4.0), wall_at(2.0, distance=2.0)]
    assert select(pair, CAMERA).chosen == (0, 1)
    assert len(select(pair, CAMERA, SelectionConfig(max_ratio=3.0, coverage=0.2)).chosen) == 1


def test_looking_the_other_way_sees_other_things():
    assert select([wall_at(0.0), wall_at(0.0, yaw=np.pi)], CAMERA).chosen == (0, 1)


def test_what_something_hides_is_not_covered():
    """A box before the second camera: it looks at the same wall and does not see it."""
    hidden = wall_at(0.0, 0.01)
    hidden.depth[:, :] = 500
    assert select([wall_at(0.0), hidden], CAMERA).chosen == (0, 1)


def test_of_two_alike_the_sharp_one_is_kept():
    glimpses = [wall_at(0.0, 0.002 * k, sharpness=0.1) for k in range(3)]
    glimpses += [replace(wall_at(0.0, 0.006), sharpness=1.0)]
    glimpses += [wall_at(0.0, 0.008 + 0.002 * k, sharpness=1.0) for k in range(3)]
    assert select(glimpses, CAMERA).chosen[0] >= 3


def test_no_more_than_asked_for_and_the_most_useful_first():
    found = select(passing(40, 0.1), CAMERA, SelectionConfig(max_keyframes=2))
    assert len(found.chosen) == 2
    assert found.covered.min() < 0.9


def test_frames_without_depth_are_never_kept():
    blind = replace(wall_at(5.0), depth=np.zeros((60, 80), np.uint16))
    found = select([blind, wall_at(0.0)], CAMERA)
    assert found.chosen == (1,) and np.isnan(found.covered[0])
    assert select([blind], CAMERA).chosen == ()
    assert select([], CAMERA).chosen == ()


@pytest.mark.parametrize(
    ('name', 'value'),
    [('coverage', 0.0), ('coverage', 1.5), ('max_angle_deg', -1.0), ('max_ratio', 1.0),
     ('max_keyframes', 0), ('coverage', float('nan'))],
)  # fmt: skip
def test_bad_settings_are_refused(name, value):
    with pytest.raises(ConfigError, match=name):
        SelectionConfig(**{name: value})
