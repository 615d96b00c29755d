# SPDX-License-Identifier: Apache-2.0
"""RGB-D folders as bags, and depth out of bags: the same whichever way it was written."""

import numpy as np
import pytest
import yaml

from geoloc_core.bags import topics
from geoloc_core.bags.reader import read_bag
from geoloc_core.bags.topics import TopicChoice
from geoloc_core.errors import BagError
from geoloc_core.formats.rgbd_folder import open_rgbd_folder
from geoloc_core.geometry import se3
from geoloc_core.geometry.geodesy import Datum, EnuFrame
from geoloc_core.geometry.registration import register_depth
from geoloc_core.localizer import Localizer
from geoloc_core.types import PoseMeasurement, Status
from geoloc_ros.assembly import build_config, mounts_from_parameters
from geoloc_ros.bags.offline import OfflineOptions, run_offline
from geoloc_ros.bags.rgbd import (
    convert,
    FIRST_STAMP_NS,
    node_parameters,
    RgbdOptions,
    T_BASE_CAMERA,
)
from geoloc_ros.bags.views import views
from geoloc_ros.cli.main import main
from geoloc_ros.parameters import load_params_file, validated
from tests.formats.rgbd_frames import (
    depth_mm,
    H,
    picture,
    pose_at,
    W,
    write_seven_scenes,
    write_tum,
)

DEPTH = {'depth.enabled': True}


@pytest.fixture(scope='module')
def scene(tmp_path_factory):
    return open_rgbd_folder(write_seven_scenes(tmp_path_factory.mktemp('scene') / 'seq-01'))


@pytest.fixture(scope='module')
def desk(tmp_path_factory):
    root = tmp_path_factory.mktemp('tum') / 'rgbd_dataset_freiburg3_desk'
    return open_rgbd_folder(write_tum(root))


def seen(path, choice=None, **params):
    with read_bag(path) as bag:
        return list(views(bag, validated({**DEPTH, **params}), choice))


def expected_depth(folder, number):
    """(H, W) m over the colour camera."""
    counts = depth_mm(number).astype(np.float32)
    counts[(counts == 0) | (counts == 65535)] = np.nan
    if folder.is_registered:
        return counts / 1000
    return register_depth(
        counts / 1000, folder.depth_camera, folder.colour_camera, folder.T_colour_depth
    )


@pytest.mark.parametrize(
    'options',
    [
        RgbdOptions(),
        RgbdOptions(raw=True),
        RgbdOptions(depth_encoding='32FC1'),
        RgbdOptions(register=True, raw=True, depth_encoding='32FC1'),
    ],
)
def test_depth_comes_out_registered_whichever_way_it_was_written(scene, tmp_path, options):
    convert(scene, tmp_path / 'bag', options)
    found = seen(tmp_path / 'bag')
    assert [v.stamp_ns - FIRST_STAMP_NS for v in found] == [p.stamp_ns for p in scene.colour]
    for number, view in enumerate(found):
        np.testing.assert_array_equal(view.image, picture(number)[..., ::-1])
        np.testing.assert_allclose(view.depth, expected_depth(scene, number), rtol=1e-5)
        np.testing.assert_allclose(view.T_base_camera, T_BASE_CAMERA, atol=1e-9)
        assert view.camera == scene.colour_camera


@pytest.mark.parametrize('encoding', ['16UC1', '32FC1'])
def test_tum_depth_finds_its_picture_though_it_is_later(desk, tmp_path, encoding):
    convert(desk, tmp_path / 'bag', RgbdOptions(depth_encoding=encoding))
    found = seen(tmp_path / 'bag')
    assert len(found) == 4
    for number, view in enumerate(found):
        np.testing.assert_allclose(view.depth, expected_depth(desk, number), atol=1e-6)
    alone = seen(tmp_path / 'bag', **{'depth.slop_s': 0.003})
    assert all(view.depth is None for view in alone)


def test_reference_poses_are_of_base_link_in_a_world_with_z_up(scene, desk, tmp_path):
    for folder in (scene, desk):
        path = tmp_path / folder.layout
        convert(folder, path)
        with read_bag(path) as bag:
            truth = bag.truth()
            assert bag.truth_datum() is None
        # 7-Scenes' y is down and its z forward; a bag's map has z up.
        upright = np.eye(4) if folder.z_up else T_BASE_CAMERA
        T_world_camera = upright @ pose_at(2) @ se3.inverse(folder.T_colour_depth)
        np.testing.assert_allclose(truth.poses[2] @ T_BASE_CAMERA, T_world_camera, atol=1e-6)
        # base_link looks along x where the camera looks along z.
        np.testing.assert_allclose(truth.poses[2][:3, 0], T_world_camera[:3, 2], atol=1e-6)


def test_some_frames_and_parts(scene, tmp_path):
    counts = convert(scene, tmp_path / 'a', RgbdOptions(first=1, last=3, every=2, poses=False))
    assert counts[topics.COMPRESSED] == counts[topics.COMPRESSED_DEPTH] == 2
    assert topics.TRUTH not in counts
    counts = convert(scene, tmp_path / 'b', RgbdOptions(depth=False))
    assert set(counts) == {topics.COMPRESSED, topics.CAMERA_INFO, topics.TRUTH}
    assert all(view.depth is None for view in seen(tmp_path / 'b'))
    with pytest.raises(BagError, match='from 0 to 3'):
        convert(scene, tmp_path / 'c', RgbdOptions(first=9))
    with pytest.raises(BagError, match='exists already'):
        convert(scene, tmp_path / 'a')
    with pytest.raises(BagError, match='16UC1 or 32FC1'):
        RgbdOptions(depth_encoding='8UC1')


def test_the_parameter_file_says_what_tf_static_does(scene, desk, tmp_path):
    file = tmp_path / 'params.yaml'
    file.write_text(node_parameters(scene))
    mounts = mounts_from_parameters(load_params_file(file))
    np.testing.assert_allclose(mounts['depth'], scene.T_colour_depth, atol=1e-8)
    np.testing.assert_allclose(mounts['camera'], T_BASE_CAMERA, atol=1e-12)
    file.write_text(node_parameters(desk, RgbdOptions(raw=True)))
    params = load_params_file(file)
    assert params['image.transport'] == params['depth.transport'] == 'raw'
    assert 'depth' not in mounts_from_parameters(params)


class Still:
    """A source that keeps what it is shown, and finds the robot where it is thought to be."""

    def __init__(self):
        self.views = []

    def measure(self, view, prior, frame, map_source):
        self.views.append(view)
        cov = np.eye(6) * 0.01
        return PoseMeasurement(view.stamp_ns, Status.OK, T_map_base=prior.T_map_base, cov=cov)


def offline(path, options=None, **params):
    params = validated({**DEPTH, **params})
    source = Still()
    frame = EnuFrame(Datum(48.0, 9.0, 300.0))
    localizer = Localizer(build_config(params), source, map_source=object(), frame=frame)
    with read_bag(path) as bag:
        localizer.on_initial_pose(bag.start_ns, np.eye(4), np.eye(6) * 0.01)
        return run_offline(bag, localizer, params, options), source.views


def test_the_offline_run_feeds_depth_as_the_node_does(scene, tmp_path):
    convert(scene, tmp_path / 'bag')
    record, shown = offline(tmp_path / 'bag')
    assert record.details['depth'] == {'used': 4}
    for number, view in enumerate(shown):
        np.testing.assert_allclose(view.depth, expected_depth(scene, number), rtol=1e-5)
    # Late pictures come with late depth.
    record, shown = offline(tmp_path / 'bag', OfflineOptions(image_delay_s=0.3))
    assert record.details['depth'] == {'used': 4} and len(shown) == 4


def test_the_offline_run_goes_on_with_colour_alone(scene, desk, tmp_path):
    convert(scene, tmp_path / 'bag')
    for options, params in (
        (OfflineOptions(sensors=('image',)), {}),
        (None, {'depth.enabled': False}),
    ):
        record, shown = offline(tmp_path / 'bag', options, **params)
        assert [view.depth for view in shown] == [None] * 4
        assert 'depth' not in record.details
    convert(desk, tmp_path / 'desk')
    record, shown = offline(tmp_path / 'desk', **{'depth.slop_s': 0.001})
    assert record.details['depth'] == {'none': 4}
    reasons = ['; '.join(f.reasons) for f in record.frames]
    assert 'no depth received yet' in reasons[0]
    assert all('depth.slop_s' in text for text in reasons[1:])


def test_the_command_teaches_and_tells(tmp_path, capsys):
    root = write_seven_scenes(tmp_path / 'seq-01', suffix='jpg')
    out, file = tmp_path / 'bag', tmp_path / 'new' / 'params.yaml'
    code = main(['bag', 'from-rgbd', str(root), str(out), '--params', str(file), '--frames', '1:'])
    said = capsys.readouterr().out
    assert code == 0 and topics.COMPRESSED_DEPTH in said and str(file) in said
    assert yaml.safe_load(file.read_text())['/**']['ros__parameters']['depth.enabled'] is True
    assert len(seen(out)) == 3
    assert main(['bag', 'info', str(out)]) == 0
    assert topics.DEPTH_INFO in capsys.readouterr().out
    for wrong in (['--frames', 'a:b'], ['--every', '0'], []):
        assert main(['bag', 'from-rgbd', str(root), str(out), *wrong]) == 1
        assert 'geoloc:' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(['bag', 'from-rgbd', '--help'])
    assert '7-Scenes' in capsys.readouterr().out


def test_a_bag_with_two_depth_topics_asks_which(scene, tmp_path):
    convert(scene, tmp_path / 'bag')
    with read_bag(tmp_path / 'bag') as bag:
        assert bag.find('depth') == topics.COMPRESSED_DEPTH
        assert bag.find('depth', topics.COMPRESSED_DEPTH) == topics.COMPRESSED_DEPTH
        with pytest.raises(BagError, match='cannot be depth'):
            bag.find('depth', topics.CAMERA_INFO)
    choice = TopicChoice.of(
        [f'depth={topics.COMPRESSED_DEPTH}', f'depth_info={topics.DEPTH_INFO}']
    )
    assert all(view.depth is not None for view in seen(tmp_path / 'bag', choice))


def test_real_frames_come_out_of_a_bag_as_out_of_the_reader(real_data, tmp_path):
    from training.datasets.seven_scenes import SevenScenes

    root = real_data('seven_scenes_redkitchen', 'seq')
    folder = open_rgbd_folder(root, calibration='redkitchen')
    convert(folder, tmp_path / 'bag', RgbdOptions(first=0, last=10))
    with read_bag(tmp_path / 'bag') as bag:
        truth = bag.truth()
    dataset = SevenScenes(root, 'train', calibration='redkitchen', validation=0.0)
    for index, view in enumerate(seen(tmp_path / 'bag')):
        sample = dataset[index]
        np.testing.assert_array_equal(view.image, sample.view.image)
        np.testing.assert_allclose(view.depth, sample.view.depth, atol=1e-5)
        T_upright_base = T_BASE_CAMERA @ sample.T_map_base
        np.testing.assert_allclose(truth.poses[index], T_upright_base, atol=1e-6)
        assert np.isfinite(view.depth).mean() > 0.5
    assert view.depth.shape != (H, W) and len(truth) == 3
