# SPDX-License-Identifier: Apache-2.0
"""A few real frames of a real kitchen: does a map of them say what the sensor saw?"""

from dataclasses import replace

import numpy as np
import pytest

from geoloc_core.features.global_descriptor import restore
from geoloc_core.features.sift import SiftFeatures
from geoloc_core.geometry import se3
from geoloc_core.maps.place.alignment import align_places
from geoloc_core.maps.place.builder import build_place, BuildConfig
from geoloc_core.maps.place.checking import check_place
from geoloc_core.maps.place.depth import points_at
from geoloc_core.maps.place.file import load_place, save_place
from geoloc_core.maps.place.folder_sequence import FolderSequence
from geoloc_core.maps.place.selection import SelectionConfig

MAP_FRAMES = range(0, 750, 75)
QUERIES = (40, 260, 560)


@pytest.fixture(scope='module')
def linked(real_data, tmp_path_factory):
    """Returns a function that makes a folder of some frames of the sequence."""
    source = real_data('seven_scenes_redkitchen', 'seq')

    def make(name, numbers):
        target = tmp_path_factory.mktemp('kitchen') / name
        target.mkdir()
        for number in numbers:
            for path in source.glob(f'frame-{number:06d}.*'):
                (target / path.name).symlink_to(path)
        return target

    return make


@pytest.fixture(scope='module')
def kitchen(linked, tmp_path_factory):
    """A map of every fifteenth frame there is, written and read again."""
    path = tmp_path_factory.mktemp('maps') / 'kitchen.place'
    sequence = FolderSequence([linked('map', MAP_FRAMES)], calibration='redkitchen')
    config = BuildConfig(max_features=600, selection=SelectionConfig(coverage=0.98))
    save_place(build_place(sequence, config, name='kitchen'), path)
    return load_place(path)


@pytest.fixture(scope='module')
def asked(linked):
    """A folder of frames that are not in the map."""
    return linked('queries', QUERIES)


def test_the_map_is_sound_and_its_depth_agrees_to_centimetres(kitchen):
    report = check_place(kitchen)
    assert report.problems == (), report
    assert report.disagreement_m < 0.05 and report.gap_m < 0.06
    assert 5 <= report.keyframes <= len(MAP_FRAMES)
    assert report.points > 200 * report.keyframes


def test_depth_in_another_calibration_is_another_camera(kitchen, asked):
    """Depth taken for registered as it is: points and pictures then belong to two cameras."""
    assert kitchen.camera.fx == pytest.approx(527.4)
    wrong = next(FolderSequence([asked], calibration='registered').views())
    right = next(FolderSequence([asked], calibration='redkitchen').views())
    assert wrong.view.camera.fx == pytest.approx(585.0)
    offset = se3.inverse(wrong.T_place_camera) @ right.T_place_camera
    assert np.linalg.norm(offset[:3, 3]) == pytest.approx(0.0256, abs=1e-4)


def test_matched_features_have_their_points_at_one_place(kitchen, asked):
    """Between a query and the keyframe that retrieval names: points of both, by known poses."""
    vlad = restore(kitchen.global_kind, kitchen.global_arrays)
    for query in FolderSequence([asked], calibration='redkitchen').views():
        local = SiftFeatures(max_features=600).detect(query.view.image)
        described = vlad.describe(None, local)
        order = np.argsort(-(kitchen.global_descriptors @ described))[:3]
        points = points_at(local.xy, query.view.depth, query.view.camera, query.T_place_camera)
        gaps = []
        for k in order:
            keyframe = kitchen.keyframes[k]
            similarity = local.descriptors @ keyframe.descriptors.T
            best = similarity.argmax(axis=1)
            mutual = similarity.argmax(axis=0)[best] == np.arange(len(best))
            good = mutual & (similarity.max(axis=1) > 0.88)
            gap = np.linalg.norm(points[good] - keyframe.points[best[good]], axis=1)
            gaps.append(gap[np.isfinite(gap)])
        near = [np.count_nonzero(gap < 0.10) for gap in gaps]
        assert max(near) >= 15, (query.name, near)
        best = gaps[int(np.argmax(near))]
        assert np.median(best[best < 0.10]) < 0.05


@pytest.mark.slow
def test_a_second_map_of_the_kitchen_is_found_in_the_first(kitchen, linked):
    """Of other frames, in a frame of its own; what is given of the poses agrees to centimetres."""
    folder = linked('second', (35, 110, 260, 335, 410))
    second = build_place(
        FolderSequence([folder], calibration='redkitchen'), BuildConfig(max_features=600)
    )
    T = se3.from_xyz_rpy(3.0, -1.0, 0.5, 0.4, 0.2, -2.0)
    own = replace(
        second,
        keyframes=tuple(
            replace(
                k,
                T_place_camera=T @ k.T_place_camera,
                points=se3.transform(T, k.points).astype(np.float32),
            )
            for k in second.keyframes
        ),
    )
    found = align_places(kitchen, own)
    off = found.T_base_other @ T
    assert np.linalg.norm(off[:3, 3]) < 0.03, off
    assert np.linalg.norm(se3.log_rotation(off[:3, :3])) < np.deg2rad(1.0)
