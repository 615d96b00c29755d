# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest

from geoloc_core.errors import MapError
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import EquirectangularCamera, PinholeCamera
from geoloc_core.maps.place.builder import build_place, BuildConfig
from geoloc_core.maps.place.checking import check_place, look_alikes, pixels_a_radian, require_fit
from geoloc_core.maps.place.sequence import MemorySequence
from tests.maps.place import room


def with_keyframes(place, change):
    return replace(place, keyframes=tuple(change(i, k) for i, k in enumerate(place.keyframes)))


def test_a_good_map_is_sound(place):
    report = check_place(place)
    assert report.problems == ()
    assert report.keyframes == len(place.keyframes)
    assert report.disagreement_m < 0.02 and report.gap_m < 0.02 and report.alone == 0
    assert report.points == sum(int(k.has_point.sum()) for k in place.keyframes)


def test_points_that_belong_to_another_pose_are_found(place):
    shift = np.float32([0.1, 0.0, 0.0])
    bad = with_keyframes(place, lambda i, k: replace(k, points=k.points + shift) if i == 1 else k)
    assert any('do not lie where their features see them' in p for p in check_place(bad).problems)


def test_wrong_poses_are_found_by_depth(place):
    def slide(i, k):
        T = se3.make(np.eye(3), np.array([0.5 * (i % 2), 0.5 * (i % 3 == 0), 0.0]))
        return replace(
            k,
            T_place_camera=T @ k.T_place_camera,
            points=se3.transform(T, k.points).astype(np.float32),
        )

    report = check_place(with_keyframes(place, slide))
    assert report.disagreement_m > 0.1
    assert any('wrong poses, wrong unit' in p for p in report.problems)


def test_depth_of_another_scale_is_found_once_the_camera_moves(paintings):
    """Counts of 1/5000 m taken for 1/3000 m: each look alone is plausible."""
    frames = []
    for k in range(5):
        frame = room.posed(paintings, 1.0 + 0.5 * k, 1.5, 1.2, name=f'{k}', stamp_ns=k)
        frames.append(
            replace(frame, view=replace(frame.view, depth=np.float32(5 / 3) * frame.view.depth))
        )
    place = build_place(MemorySequence('wrong unit', frames), BuildConfig(max_features=200))
    problems = check_place(place).problems
    assert any('features that match' in p and 'wrong unit' in p for p in problems), problems


@pytest.mark.parametrize(('share', 'sound'), [(0.015, True), (0.08, False)])
def test_in_a_hall_points_may_lie_further_apart_than_in_a_room(place, share, sound):
    """The room five times as large; every second keyframe's depth is longer by a share of it."""

    def enlarged(i, k):
        T = k.T_place_camera.copy()
        T[:3, 3] *= 5.0
        longer = 1.0 + share * (i % 2)
        points = T[:3, 3] + longer * (5.0 * k.points - T[:3, 3])
        nothing = k.depth[:0, :0]
        return replace(k, T_place_camera=T, points=points.astype(np.float32), depth=nothing)

    report = check_place(with_keyframes(place, enlarged))
    assert report.gap_m > 0.1
    assert any('features that match' in p for p in report.problems) != sound, report


def test_keyframes_with_few_points_are_named(place):
    def blind(i, k):
        return replace(k, points=np.full_like(k.points, np.nan)) if i == 0 else k

    problems = check_place(with_keyframes(place, blind)).problems
    assert any(place.keyframes[0].name in p and 'fewer than' in p for p in problems)


def test_two_rooms_painted_alike_are_told(place):
    """The same keyframes once more, 50 m away: a second room with the same pictures."""
    T = se3.make(np.eye(3), np.array([50.0, 0.0, 0.0]))
    twins = tuple(
        replace(
            k,
            name=f'twin {k.name}',
            T_place_camera=T @ k.T_place_camera,
            points=se3.transform(T, k.points).astype(np.float32),
        )
        for k in place.keyframes
    )
    both = replace(place, keyframes=place.keyframes + twins)
    found = look_alikes(both)
    assert found and all(a.name == b.name.removeprefix('twin ') for a, b, _ in found)
    assert any('look alike' in p for p in check_place(both).problems)


def test_another_camera_of_about_that_resolution_is_welcome(place):
    require_fit(place, room.CAMERA)
    require_fit(place, PinholeCamera(320, 200, 150.0, 150.0, 160.0, 100.0))


@pytest.mark.parametrize(
    ('camera', 'said'),
    [
        (EquirectangularCamera(1024, 512), 'made with a pinhole camera, this one is equirect'),
        (PinholeCamera(1280, 960, 1050.0, 1050.0, 640.0, 480.0), 'resize its pictures'),
        (room.CAMERA.resized(40, 30), 'more than a factor of 2 apart'),
    ],
)
def test_cameras_that_see_otherwise_are_refused(place, camera, said):
    with pytest.raises(MapError, match=said):
        require_fit(place, camera)


def test_resolution_of_a_lens():
    assert pixels_a_radian(PinholeCamera(101, 51, 80.0, 70.0, 50.0, 25.0)) == pytest.approx(
        80.0, rel=1e-3
    )
    assert pixels_a_radian(EquirectangularCamera(1000, 500)) == pytest.approx(
        1000 / (2 * np.pi), rel=1e-3
    )
