# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest

from geoloc_core.errors import MapError
from geoloc_core.features.base import AbstractMatcher
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import PinholeCamera
from geoloc_core.geometry.geodesy import Datum, EnuFrame
from geoloc_core.maps.place.alignment import align_places
from geoloc_core.maps.place.builder import build_place, BuildConfig
from geoloc_core.maps.place.checking import mutual_matches
from geoloc_core.maps.place.merging import merge_places
from geoloc_core.maps.place.records import Anchor
from geoloc_core.maps.place.sequence import MemorySequence
from tests.maps.place import room


@pytest.fixture(scope='module')
def other(paintings):
    """A map of the next part of the turn, which overlaps with the first."""
    frames = room.walk(paintings, 4, first=5)
    return build_place(MemorySequence('second', frames, z_up=True), BuildConfig(max_features=200))


def moved(place, T):
    return replace(
        place,
        keyframes=tuple(
            replace(
                k,
                T_place_camera=T @ k.T_place_camera,
                points=se3.transform(T, k.points).astype(np.float32),
            )
            for k in place.keyframes
        ),
    )


def test_two_maps_of_one_frame_become_one(place, other):
    whole = merge_places([place, other], 'both', same_frame=True)
    assert len(whole.keyframes) == len(place.keyframes) + len(other.keyframes)
    assert whole.name == 'both' and whole.z_up
    assert whole.facts['made of'] == 'room, second'
    np.testing.assert_allclose(np.linalg.norm(whole.global_descriptors, axis=1), 1.0, atol=1e-5)
    np.testing.assert_array_equal(whole.keyframes[0].points, place.keyframes[0].points)
    names = [k.name for k in whole.keyframes]
    assert len(set(names)) == len(names)


def test_names_that_both_have_are_told_apart(place):
    twin = replace(place, name='again')
    names = [k.name for k in merge_places([place, twin], same_frame=True).keyframes]
    first = place.keyframes[0].name
    assert f'room/{first}' in names and f'again/{first}' in names


def test_anchored_maps_find_each_other(place, other):
    """The second map is kept in a frame of its own, turned and far from the first one's."""
    datum = Datum(49.0, 8.4, 110.0)
    here = Anchor(datum, 0.3)
    lat, lon, alt = EnuFrame(datum).geodetic_from_enu([120.0, -60.0, 3.0])
    there = Anchor(Datum(float(lat), float(lon), float(alt)), -2.0)
    frame = EnuFrame(datum)
    T = se3.inverse(there.T_map_place(frame)) @ here.T_map_place(frame)
    whole = merge_places([replace(place, anchor=here), replace(moved(other, T), anchor=there)])
    assert whole.anchor == here
    back = {k.name.split('/')[-1]: k for k in whole.keyframes[len(place.keyframes) :]}
    for keyframe in other.keyframes:
        np.testing.assert_allclose(
            back[keyframe.name].T_place_camera, keyframe.T_place_camera, atol=1e-4
        )


def test_frames_that_do_not_fit_are_found_by_their_depth(place, other):
    off = moved(other, se3.make(np.eye(3), np.array([0.6, -0.6, 0.0])))
    with pytest.raises(MapError, match=r'do not lie in one frame.* differs by \d\.\d+ m'):
        merge_places([place, off], same_frame=True)


def test_what_cannot_be_joined_is_refused(place, other):
    anchored = replace(place, anchor=Anchor(Datum(1.0, 2.0), 0.0))
    others_camera = replace(other, camera=PinholeCamera(160, 120, 99.0, 99.0, 80.0, 60.0))
    for maps, said in (
        ([place], 'two or more'),
        ([place, other], '--same-frame'),
        ([anchored, other], 'some are not'),
        ([place, others_camera], 'holds the keyframes of one camera'),
        ([place, replace(other, features='xfeat')], 'build both with one kind'),
    ):
        with pytest.raises(MapError, match=said):
            merge_places(maps)
    with pytest.raises(MapError, match='is one map given twice'):
        merge_places([place, place], same_frame=True)


@pytest.fixture(scope='module')
def lost(other):
    """The second map in a frame of its own, and how that lies in the first one's."""
    T = se3.from_xyz_rpy(7.0, -3.0, 0.4, 0.3, -0.2, 2.2)
    return moved(other, se3.inverse(T)), T


def test_frames_are_found_in_what_two_maps_share(place, lost):
    own, T = lost
    found = align_places(place, own)
    off = se3.inverse(T) @ found.T_base_other
    assert np.linalg.norm(off[:3, 3]) < 0.02
    assert np.linalg.norm(se3.log_rotation(off[:3, :3])) < np.deg2rad(0.5)
    assert found.support >= 40 and found.keyframes >= 2 and found.gap_m < 0.03
    again = align_places(place, own)
    np.testing.assert_array_equal(found.T_base_other, again.T_base_other)


class Counting(AbstractMatcher):
    """Matches by descriptors; remembers what it was asked."""

    kind = 'counting'

    def __init__(self):
        self.asked = []

    def match(self, size, other_size, features, others):
        self.asked.append((size, other_size))
        return mutual_matches(features.descriptors, others.descriptors)


def test_a_network_that_matches_is_asked_for_features_with_points(place, lost):
    own, T = lost
    matcher = Counting()
    whole = merge_places([place, own], align=True, matcher=matcher)
    assert set(matcher.asked) == {((place.camera.width, place.camera.height),) * 2}
    off = whole.keyframes[-1].T_place_camera @ se3.inverse(T @ own.keyframes[-1].T_place_camera)
    assert np.linalg.norm(off[:3, 3]) < 0.05
    assert np.linalg.norm(se3.log_rotation(off[:3, :3])) < np.deg2rad(0.5)


def test_aligned_maps_are_joined_in_the_first_frame(place, other, lost):
    own, _ = lost
    anchor = Anchor(Datum(49.0, 8.4, 110.0), 0.3)
    whole = merge_places([replace(place, anchor=anchor), own], align=True)
    assert whole.anchor == anchor
    for a, b in zip(whole.keyframes[len(place.keyframes) :], other.keyframes, strict=True):
        gap = np.linalg.norm(a.T_place_camera[:3, 3] - b.T_place_camera[:3, 3])
        assert gap < 0.05


def test_a_chain_of_maps_is_joined_link_by_link(place, other, lost, paintings):
    """The third shares nothing with the first, much with the second."""
    frames = room.walk(paintings, 5, first=7)
    config = BuildConfig(max_features=200)
    third = build_place(MemorySequence('third', frames, z_up=True), config)
    T = se3.from_xyz_rpy(-1.0, 2.0, 0.0, 0.0, 0.0, -1.0)
    whole = merge_places([place, lost[0], moved(third, se3.inverse(T))], align=True)
    for a, b in zip(whole.keyframes[-len(third.keyframes) :], third.keyframes, strict=True):
        assert np.linalg.norm(a.T_place_camera[:3, 3] - b.T_place_camera[:3, 3]) < 0.08


def test_maps_without_anything_in_common_are_not_joined(place):
    frames = room.walk(room.walls(seed=9), 3)
    stranger = build_place(MemorySequence('stranger', frames), BuildConfig(max_features=200))
    with pytest.raises(MapError, match=r'room and stranger have too little in common: \d+ of'):
        merge_places([place, stranger], align=True)


def test_maps_that_fit_in_two_ways_are_not_joined(place, lost):
    """The first map shows the same room twice, 50 m apart: which of the two is meant?"""
    far = moved(place, se3.make(np.eye(3), np.array([50.0, 0.0, 0.0])))
    twins = tuple(replace(k, name=f'twin {k.name}') for k in far.keyframes)
    both = replace(place, keyframes=place.keyframes + twins)
    with pytest.raises(MapError, match='fit together in several ways'):
        align_places(both, lost[0])
