# SPDX-License-Identifier: Apache-2.0
"""Views made of all frames of a place: against the room rendered from the same poses."""

from dataclasses import replace

import numpy as np
import pytest

from geoloc_core.errors import ConfigError, DataError
from tests.training import room
from tests.training.pose_networks import small
from training.datasets.base import UnreadableError
from training.datasets.observations import world_of
from training.loading import make_loader, Preparation
from training.loop.data import open_split
from training.loop.reading import build
from training.loop.settings import Data
from training.novel_views import NovelViews, WithNovelViews
from training.objectives.pose_loss import frame_tuples, PoseLossSettings
from training.pose_preparation import CameraPosePreparation
from training.reduction import Reduction

WIDE = NovelViews(12, (0.3, 0.15, 0.3), (10.0, 35.0, 10.0), distraction=0.0)


@pytest.fixture
def frames(tmp_path):
    return room.Room(tmp_path, 'train')


def off(image, wanted, where):
    return float(np.median(np.abs(image.astype(int) - wanted)[where]))


def test_a_view_shows_what_is_seen_from_its_pose(frames):
    views = WithNovelViews(frames, WIDE)
    known = []
    for i in range(len(frames), len(views)):
        made = views.sample(i)
        image, depth = room.see(made.T_map_camera)
        both = np.isfinite(made.view.depth)
        assert off(made.view.image, image, both) <= 6
        assert np.median(np.abs(made.view.depth - depth)[both]) < 0.03
        assert made.view.image.dtype == np.uint8 and made.view.depth.dtype == np.float32
        assert made.view.image.shape == (60, 80, 3)
        known.append(both.mean())
    # One frame seen from 35 degrees beside shows little of it; all together show nearly all.
    assert np.mean(known) > 0.8


def test_a_view_is_of_its_own_pose_and_not_of_a_frame(frames):
    views = WithNovelViews(frames, WIDE)
    poses = np.array([frames.sample(i).T_map_camera for i in range(len(frames))])
    turned, moved = [], []
    for i in range(len(frames), len(views)):
        T = views.sample(i).T_map_camera
        traces = np.einsum('nij,ij->n', poses[:, :3, :3], T[:3, :3])
        turned.append(np.degrees(np.arccos(np.clip((traces - 1) / 2, -1, 1))).min())
        moved.append(np.linalg.norm(poses[:, :3, 3] - T[:3, 3], axis=1).min())
    assert np.median(turned) > 5 and np.median(moved) > 0.1


def test_a_near_thing_seen_by_one_frame_hides_what_others_see_behind_it(frames):
    # The board stands in the world of one frame alone; from its pose it must be in front.
    class Boarded(room.Room):
        def sample(self, index, epoch=0):
            sample = super().sample(index, epoch)
            if index:
                return sample
            image, depth = sample.view.image.copy(), sample.view.depth.copy()
            image[20:40, 30:50], depth[20:40, 30:50] = 255, 0.6
            return replace(sample, view=replace(sample.view, image=image, depth=depth))

    still = NovelViews(40, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), distraction=0.0)
    boarded = Boarded(frames.root, 'train')
    views = WithNovelViews(boarded, still)
    pose = boarded.sample(0).T_map_camera
    at_it = [
        s
        for s in (views.sample(i) for i in range(len(boarded), len(views)))
        if np.allclose(s.T_map_camera, pose)
    ]
    assert at_it
    for sample in at_it:
        np.testing.assert_allclose(sample.view.depth[25:35, 35:45], 0.6, atol=1e-5)
        assert (sample.view.image[25:35, 35:45] == 255).all()


def test_frames_of_several_cameras_show_each_other(tmp_path):
    """As where a list of poses has a focal length of each frame."""

    class Mixed(room.Room):
        def sample(self, index, epoch=0):
            sample = super().sample(index, epoch)
            own = replace(room.CAMERA, fx=60.0 + 0.5 * index, fy=62.0, cx=41.0, cy=28.0)
            image, depth = room.see(sample.T_map_camera, own)
            return replace(sample, view=replace(sample.view, image=image, depth=depth, camera=own))

    views, known, cameras = WithNovelViews(Mixed(tmp_path, 'train'), WIDE), [], set()
    for i in range(24, 36):
        made = views.sample(i)
        cameras.add(made.view.camera.fx)
        image, depth = room.see(made.T_map_camera, made.view.camera)
        both = np.isfinite(made.view.depth)
        assert off(made.view.image, image, both) <= 6
        assert np.median(np.abs(made.view.depth - depth)[both]) < 0.03
        known.append(both.mean())
    assert len(cameras) > 3 and np.mean(known) > 0.8


def test_frames_come_first_and_views_are_the_same_whenever_asked(frames):
    views, again = WithNovelViews(frames, WIDE), WithNovelViews(frames, WIDE)
    assert len(views) == 24 + 12 and views.keys[:24] == list(frames.keys)
    assert views.keys[24] == 'novel/000000' and views.files(24) == ()
    assert np.array_equal(views.sample(0).view.image, frames.sample(0).view.image)
    last, first = again.sample(35), again.sample(24, 5)
    assert np.array_equal(views.sample(24, 0).view.image, first.view.image)
    assert np.array_equal(views.sample(35).T_map_base, last.T_map_base)
    other = WithNovelViews(frames, replace(WIDE, seed=1))
    assert not np.array_equal(other.sample(24).T_map_base, first.T_map_base)
    # A cache must tell them apart.
    smaller = WithNovelViews(frames, WIDE, Reduction((40, 30), None))
    assert len({views.opened, other.opened, frames.opened, smaller.opened}) == 4
    assert views.opened == again.opened


def test_unknown_parts_show_another_frame_where_that_is_wanted(frames):
    far = replace(WIDE, half_deg=(30.0, 60.0, 30.0), least_known=0.0)
    bare = WithNovelViews(frames, far)
    distracted = WithNovelViews(frames, replace(far, distraction=1.0))
    filled = 0
    for i in range(24, 36):
        with_holes, without = bare.sample(i), distracted.sample(i)
        np.testing.assert_array_equal(with_holes.T_map_base, without.T_map_base)
        hole = ~with_holes.view.image.any(axis=-1)
        filled += int(without.view.image.any(axis=-1)[hole].sum())
        seen = np.isfinite(with_holes.view.depth)
        np.testing.assert_array_equal(without.view.image[seen], with_holes.view.image[seen])
    assert filled > 500


def test_frames_are_reduced_before_views_are_made(frames):
    views = WithNovelViews(frames, WIDE, Reduction((40, 30), None))
    assert views.sample(24).view.image.shape == (30, 40, 3)
    assert views.sample(0).view.image.shape == (60, 80, 3)


def test_what_cannot_be_made_is_said(tmp_path):
    blind = WithNovelViews(room.Room(tmp_path, 'train', depth=False), WIDE)
    with pytest.raises(DataError, match='depth and a pose'):
        blind.sample(24)


def test_a_frame_that_cannot_be_read_is_left_out_and_read_once(tmp_path, caplog):
    class Torn(room.Room):
        reads = 0

        def sample(self, index, epoch=0):
            self.reads += 1
            if index == 23:
                raise UnreadableError(self.root / 'frame', 'a picture')
            return super().sample(index, epoch)

    torn = Torn(tmp_path, 'train')
    views = WithNovelViews(torn, WIDE)
    assert all(np.isfinite(views.sample(i).view.depth).mean() > 0.3 for i in (24, 30, 35))
    assert torn.reads == 24 and caplog.text.count('no novel view is made of it') == 1


def test_frames_of_two_places_are_not_mixed(tmp_path):
    class Two(room.Room):
        def sample(self, index, epoch=0):
            sample = super().sample(index, epoch)
            return replace(sample, sequence=f'office-{index % 2}')

    with pytest.raises(DataError, match="'office-0' and of 'office-1'"):
        WithNovelViews(Two(tmp_path, 'train'), WIDE).sample(24)


def test_views_are_in_the_world_of_their_frames(frames):
    sample = WithNovelViews(frames, WIDE).sample(24)
    assert world_of(sample) == world_of(frames.sample(0))


def test_a_pose_that_shows_nothing_is_counted_not_learned(frames):
    # Ten metres off one stands outside, where all surfaces are seen from behind or not at all.
    away = NovelViews(30, (10.0, 10.0, 10.0), (180.0, 180.0, 180.0), distraction=0.0)
    views, given = WithNovelViews(frames, away), 0
    for i in range(24, 54):
        try:
            assert np.isfinite(views.sample(i).view.depth).any()
            given += 1
        except UnreadableError as error:
            assert 'half_m' in str(error)
    assert given < 30


def test_workers_and_a_cache_give_the_same(frames, tmp_path):
    preparation = CameraPosePreparation(small('atloc').inputs)
    batches = [[(0, 3), (0, 24), (0, 30)], [(2, 24), (1, 35), (0, 0)]]
    seen = []
    for workers, cache in ((0, None), (1, tmp_path / 'cache'), (0, tmp_path / 'cache')):
        views = WithNovelViews(frames, WIDE)
        made = Preparation(prepare=preparation, cache=cache)
        seen.append(list(make_loader(views, batches, made, workers=workers)))
    for other in seen[1:]:
        for a, b in zip(seen[0], other, strict=True):
            assert a.keys == b.keys
            for name in a.tensors:
                np.testing.assert_array_equal(a.tensors[name], b.tensors[name])


def test_views_have_no_earlier_frame(frames):
    settings = PoseLossSettings(relative='rigid')
    with pytest.raises(ConfigError, match='novel_views: null'):
        frame_tuples(settings, WithNovelViews(frames, WIDE), np.arange(36))


@pytest.mark.parametrize(
    ('setting', 'said'),
    [
        ({'count': 0}, 'train.novel_views.count: expected 1 or more'),
        ({'count': 5, 'half_deg': [0, 200, 0]}, 'half_deg: expected three numbers'),
        ({'count': 5, 'half_m': [0, 0]}, 'expected 3 values'),
        ({'count': 5, 'distraction': 2}, 'distraction: expected a part'),
    ],
)
def test_settings_out_of_range_are_named(setting, said):
    data = {'reader': 'room', 'train': {'split': 'train', 'novel_views': setting}}
    with pytest.raises(ConfigError, match=said):
        build(Data, data)


def test_a_limit_beside_them_is_refused():
    with pytest.raises(ConfigError, match=r'train\.limit: expected null'):
        train = {'split': 'train', 'limit': 5, 'novel_views': {'count': 5}}
        build(Data, {'reader': 'room', 'train': train})


def test_a_recipe_asks_for_them(tmp_path):
    room.install()
    train = {'split': 'train', 'novel_views': {'count': 7}, 'reduce': {'view_size': [40, 30]}}
    data = build(Data, {'reader': 'room', 'train': train, 'validation': {'split': 'validation'}})
    dataset, _ = open_split(data, 'train', tmp_path)
    assert len(dataset) == 31 and dataset.sample(30).view.image.shape == (30, 40, 3)
    assert len(open_split(data, 'validation', tmp_path)[0]) == 6
