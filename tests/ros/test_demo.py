# SPDX-License-Identifier: Apache-2.0
"""The demo: its bag, its parameter file, its child process, and the whole of it once."""

import json
import os
from pathlib import Path
import socket
import time

import numpy as np
import pytest

from geoloc_core.bags import topics
from geoloc_core.bags.reader import read_bag
from geoloc_core.errors import ConfigError
from geoloc_core.geometry import se3
from geoloc_core.messages.conversions import camera_from_info, camera_mount
from geoloc_core.simulation.robots.drive import make_drive
from geoloc_ros import demo
from geoloc_ros.bags.run import read_inputs
from geoloc_ros.cli.main import main
from geoloc_ros.demo_drive import write_drive
from geoloc_ros.demo_node import free_domain, NodeDiedError, NodeProcess, ros_environment
from geoloc_ros.parameters import load_params_file

pytest.importorskip('embreex')


@pytest.fixture(scope='module')
def world():
    from geoloc_core.simulation.world import make_world

    return make_world(5, half_extent=80.0, blocks=2, ground_gsd=0.2)


@pytest.mark.parametrize('kind', ['pinhole', 'fisheye', 'panorama'])
def test_bag_holds_what_a_real_drive_would(world, tmp_path, kind):
    drive = make_drive(world, seed=2, duration=2.0, camera=kind, rate_hz=2.0, outage=(0.7, 1.5))
    seen = []
    bag, map_path = write_drive(tmp_path, drive, map_gsd=1.0, progress=seen.append)
    assert map_path.is_file() and sum(seen) == 4
    with read_bag(bag) as reader:
        counts = {name: topic.count for name, topic in reader.topics.items()}
        assert counts == {
            topics.COMPRESSED: 4,
            topics.CAMERA_INFO: 4,
            topics.FIX: 10,
            topics.ODOMETRY: 40,
            topics.IMU: 100,
            topics.TRUTH: 40,
            topics.TRUTH_DATUM: 1,
            topics.TF_STATIC: 1,
        }
        inputs = read_inputs(reader)
        assert inputs.truth_datum == world.datum
        assert len(inputs.fixes) == 6  # four of the ten fall into the outage
        assert inputs.fixes[0].antenna_in_base == pytest.approx(drive.gnss.antenna_in_base)
        for stamp in inputs.frame_stamps_ns:
            T, known = inputs.truth.at(np.array([stamp]))
            if known[0]:
                expected = drive.trajectory.at((stamp - drive.start_ns) * 1e-9)
                np.testing.assert_allclose(T[0], expected, atol=2e-3)
        info = next(iter(reader.messages([topics.CAMERA_INFO]))).message
        assert camera_from_info(info) == drive.rig.camera
        mount = reader.extrinsic(topics.BASE_FRAME, topics.CAMERA_FRAME)
        np.testing.assert_allclose(mount, drive.rig.T_base_camera, atol=1e-9)


def test_parameter_file_puts_the_camera_where_it_is(world, tmp_path):
    drive = make_drive(world, duration=1.0)
    demo.write_params(tmp_path / 'params.yaml', drive, tmp_path / 'map.tif')
    params = load_params_file(tmp_path / 'params.yaml')
    T = camera_mount(params['frames.camera_xyz'], params['frames.camera_rpy'])
    np.testing.assert_allclose(T, drive.rig.T_base_camera, atol=1e-6)
    assert params['map.path'] == str(tmp_path / 'map.tif')
    assert params['image.transport'] == 'compressed'
    # Heights over the ground that the matcher believes and that the car really has.
    assert params['matcher.base_height_m'] == pytest.approx(drive.trajectory.xyz[0, 2])
    assert tuple(params['frames.antenna_xyz']) == drive.gnss.antenna_in_base
    assert se3.is_rigid(T)


def test_outage_is_a_minute_and_lies_within_the_drive():
    assert demo.outage_of(160.0) == (60.0, 120.0)
    start, end = demo.outage_of(40.0)
    assert 0 < start < end < 40.0


def test_keep_takes_only_the_same_drive(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(demo, 'demo_drive', lambda options: made.append(options) or Fake())
    monkeypatch.setattr(demo, 'write_params', lambda path, *_: path.write_text('{}'))
    monkeypatch.setattr('geoloc_ros.demo_drive.write_drive', fake_write)
    first = demo.DemoOptions(tmp_path, keep=True)
    paths = demo.prepare(first)
    assert demo.prepare(first) == paths and len(made) == 1
    demo.prepare(demo.DemoOptions(tmp_path, keep=True, seed=1))
    assert len(made) == 2
    demo.prepare(demo.DemoOptions(tmp_path, keep=False, seed=1))
    assert len(made) == 3


class Fake:
    """A drive without pictures."""

    def frame_times(self):
        return []


def fake_write(out: Path, drive, progress):
    (out / 'drive').mkdir(exist_ok=True)
    (out / 'map.tif').touch()


@pytest.mark.parametrize(
    ('arguments', 'named'),
    [(['--duration', '5'], '--duration is 5'), (['--rate', '-1'], '--rate is -1')],
)
def test_impossible_options_are_named(arguments, named, capsys, tmp_path):
    assert main(['demo', '--out', str(tmp_path), *arguments]) == 1
    assert named in capsys.readouterr().err


def test_missing_packages_are_named_with_the_extra(monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    with pytest.raises(ConfigError, match=r'embreex.*make demo.*\[onnx,ros,sim,viz\]'):
        demo.require_packages()


def test_free_domain_is_not_one_that_is_taken():
    domain = free_domain()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(('', 7410 + 250 * domain))
        assert free_domain() != domain
    assert 1 <= domain <= 101


@pytest.mark.ros
def test_node_that_dies_is_explained_by_its_own_words(tmp_path):
    pytest.importorskip('rclpy')
    params = tmp_path / 'params.yaml'
    params.write_text('/**:\n  ros__parameters:\n    matcher: {gsd: -4.0}\n')
    environment = ros_environment(free_domain())
    with NodeProcess(params, tmp_path / 'n.log', remap={}, environment=environment) as child:
        deadline = time.monotonic() + 60
        with pytest.raises(NodeDiedError, match=r'matcher\.gsd'):
            while time.monotonic() < deadline:
                child.check()
                time.sleep(0.05)
    assert child.stop() != 0


@pytest.mark.ros
@pytest.mark.slow
def test_whole_demo_on_a_short_drive(tmp_path, capsys, monkeypatch):
    pytest.importorskip('rclpy')
    for name in ros_environment(0):
        monkeypatch.setenv(name, os.environ.get(name, ''))
    assert main(['demo', '--out', str(tmp_path), '--duration', '30', '--seed', '1']) == 0
    printed = capsys.readouterr().out
    assert 'geoloc' in printed and 'odometry' in printed and 'report' in printed
    metrics = json.loads((tmp_path / 'metrics.json').read_text())
    assert metrics['frames'] == 120 and metrics['frames_unaccounted'] == 0
    assert metrics['systems']['geoloc']['position_median_m'] < 1.5
    for system in ('geoloc', 'gnss', 'odometry'):
        assert {'position_p95_m', 'yaw_median_deg', 'outage_position_median_m'} <= set(
            metrics['systems'][system]
        )
    assert (tmp_path / 'report.html').stat().st_size > 100_000
    assert list((tmp_path / 'frames').glob('*_match.jpg'))
