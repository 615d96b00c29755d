# SPDX-License-Identifier: Apache-2.0
"""The live node in a mapped place: no GNSS, no aerial map, depth that goes and comes."""

from pathlib import Path
import subprocess
import sys

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy')

import rclpy

from geoloc_core.bags import topics
from geoloc_core.bags.reader import read_bag
from geoloc_core.formats.rgbd_folder import open_rgbd_folder
from geoloc_core.geometry import se3
from geoloc_core.maps.place.builder import build_place, BuildConfig
from geoloc_core.maps.place.file import save_place
from geoloc_core.maps.place.sequence import MemorySequence
from geoloc_core.messages.conversions import transform_from_pose
from geoloc_ros import messages
from geoloc_ros.bags.player import BagPlayer, PlayOptions
from geoloc_ros.bags.rgbd import convert, FIRST_STAMP_NS, node_parameters, T_BASE_CAMERA
from geoloc_ros.parameters import load_params_file
from tests.maps.place import room
from tests.ros.rig import info_message, START_NS, to_ns

S = 10**9
HOLD = {
    # The room's camera: its body in base_link.
    'frames.camera_xyz': [0.1, 0.0, 0.05],
    'frames.camera_rpy': [0.0, 0.0, 0.0],
}


@pytest.fixture(scope='module')
def paintings():
    return room.walls()


@pytest.fixture(scope='module')
def place_file(paintings, tmp_path_factory):
    frames = room.walk(paintings, 7)
    config = BuildConfig(max_features=300)
    place = build_place(MemorySequence('room', frames, z_up=True), config)
    path = tmp_path_factory.mktemp('place') / 'room.place'
    save_place(place, path)
    return str(path)


@pytest.fixture
def placed(rig, place_file):
    """Makes active nodes with the map of the painted room."""

    def make(**params):
        none = dict.fromkeys(('datum.lat_deg', 'datum.lon_deg'), float('nan'))
        given = {f'depth.{name}': value for name, value in params.items()}
        r = rig({**none, **HOLD, 'place_map': place_file, 'depth.enabled': True, **given})
        r.start()
        r.wait(r.pub['depth/image'].get_subscription_count, 'depth')
        monitor = r.node.session.monitors['camera_info']
        r.pub['camera_info'].publish(info_message(START_NS, camera=room.CAMERA))
        r.wait(lambda: monitor.received, 'camera_info')
        return r

    return make


def show(r, frame, stamp, depth=True, scale=1000.0):
    """Publishes a frame of the room; (status, reasons, T_map_base or None) of its answer."""
    if depth:
        monitor = r.node.session.monitors['depth/image']
        before = monitor.received
        mm = np.rint(np.nan_to_num(frame.view.depth) * scale).astype(np.uint16)
        message = messages.image_message(
            np.zeros((1, 1, 3), np.uint8), stamp, 'camera_optical_frame'
        )
        message.height, message.width, message.step = *mm.shape, mm.shape[1] * 2
        message.encoding, message.data = '16UC1', mm.tobytes()
        r.pub['depth/image'].publish(message)
        r.wait(lambda: monitor.received > before, 'depth')
    r.image(stamp, frame.view.image)
    status, reasons = r.status_of(stamp, timeout=60.0)
    if status != 'OK':
        return status, reasons, None

    def answer():
        return [m for m in list(r.got['geoloc/pose']) if to_ns(m.header.stamp) == stamp]

    r.wait(answer, 'the pose')
    return status, reasons, transform_from_pose(answer()[0].pose.pose)


def off(T, frame):
    """(m, degrees) from the truth."""
    turn = se3.log_rotation(T[:3, :3].T @ frame.T_place_base[:3, :3])
    metres = np.linalg.norm(T[:3, 3] - frame.T_place_base[:3, 3])
    return float(metres), float(np.degrees(np.linalg.norm(turn)))


def between(paintings, step):
    """Frames that are not those of the map."""
    yaw = np.pi / 24 + 0.03 * step
    return room.posed(paintings, 2.35 + 0.02 * step, 1.95, yaw, name='query')


def test_a_view_begins_the_estimate_and_depth_goes_and_comes(placed, paintings):
    r = placed()
    for step, depth in enumerate((True, True, False, False, True)):
        frame = between(paintings, step)
        stamp = START_NS + step * S // 2
        status, reasons, T = show(r, frame, stamp, depth)
        assert status == 'OK', reasons
        metres, degrees = off(T, frame)
        assert metres < (0.05 if depth else 0.10) and degrees < 2.0, (step, reasons)
        assert ('colour and depth' in reasons) == depth, reasons
    session = r.node.session
    assert session.depth.counts == {'used': 3, 'none': 2}
    assert session.localizer.frame is None
    r.wait(
        lambda: any(
            s.name == 'geoloc: place map' and s.level == b'\x00'
            for m in r.got['/diagnostics']
            for s in m.status
        ),
        'the place map in diagnostics',
    )


def test_depth_of_another_unit_is_found_out_and_colour_goes_on(placed, paintings):
    r = placed()
    frame = between(paintings, 0)
    status, reasons, T = show(r, frame, START_NS, scale=200.0)
    assert status == 'OK', reasons
    assert 'wrong unit' in reasons and off(T, frame)[0] < 0.10
    # Told the unit, the node reads the same counts rightly.
    r = placed(unit_m=0.005)
    status, reasons, T = show(r, frame, START_NS, scale=200.0)
    assert status == 'OK' and 'wrong unit' not in reasons and 'colour and depth' in reasons


def test_another_room_is_refused_with_a_reason_and_nothing_is_claimed(placed):
    r = placed()
    frame = between(room.walls(seed=5), 0)
    status, reasons, _ = show(r, frame, START_NS)
    assert status in ('NO_MAP', 'LOW_TEXTURE', 'AMBIGUOUS'), (status, reasons)
    assert 'features' in reasons or 'depth' in reasons
    assert not r.got['geoloc/pose']


def test_a_camera_unlike_the_one_of_the_map_is_told_apart(rig, paintings, place_file):
    none = dict.fromkeys(('datum.lat_deg', 'datum.lon_deg'), float('nan'))
    r = rig({**none, **HOLD, 'place_map': place_file})
    r.start()
    small = room.CAMERA.resized(room.CAMERA.width // 4, room.CAMERA.height // 4)
    monitor = r.node.session.monitors['camera_info']
    r.pub['camera_info'].publish(info_message(START_NS, small.width, small.height, camera=small))
    r.wait(lambda: monitor.received, 'camera_info')
    r.image(START_NS, np.ascontiguousarray(between(paintings, 0).view.image[::4, ::4]))
    status, reasons = r.status_of(START_NS)
    assert status == 'BAD_INPUT' and 'more than a factor of 2 apart' in reasons
    assert 'resize its pictures' in reasons and not r.got['geoloc/pose']


def test_maps_that_cannot_be_used_leave_the_node_alive(rig, place_file, map_path, tmp_path):
    torn = tmp_path / 'torn.place'
    content = Path(place_file).read_bytes()
    torn.write_bytes(content[: len(content) // 2])
    cases = [
        ({'place_map': str(tmp_path / 'absent.place')}, 'absent.place'),
        ({'place_map': str(torn)}, 'torn.place'),
        ({'place_map': place_file, 'map.path': map_path}, 'not tied to the Earth'),
        ({'place_map': place_file, 'place.xyz': [1.0, 2.0, 3.0]}, 'give both wholly'),
    ]
    for params, text in cases:
        r = rig({**HOLD, **params})
        r.node.trigger_configure()
        assert r.node.session is None
        assert text in r.node._why


def test_place_and_aerial_map_share_a_frame_where_it_is_said(rig, place_file, map_path, paintings):
    r = rig({
        **HOLD, 'place_map': place_file, 'map.path': map_path, 'datum.lat_deg': 48.5,
        'datum.lon_deg': 9.25, 'place.xyz': [10.0, 5.0, 0.0], 'place.rpy': [0.0, 0.0, 1.5],
    })  # fmt: skip
    r.start()
    monitor = r.node.session.monitors['camera_info']
    r.pub['camera_info'].publish(info_message(START_NS, camera=room.CAMERA))
    r.wait(lambda: monitor.received, 'camera_info')
    frame = between(paintings, 0)
    status, reasons, T = show(r, frame, START_NS, depth=False)
    assert status == 'OK', reasons
    T_map_place = se3.from_xyz_rpy(10.0, 5.0, 0.0, 0.0, 0.0, 1.5)
    expected = T_map_place @ frame.T_place_base
    assert np.linalg.norm(T[:3, 3] - expected[:3, 3]) < 0.10
    assert abs(se3.yaw_of(T) - se3.yaw_of(expected)) < 0.03


def test_the_node_comes_up_without_torch():
    code = (
        "import sys; import geoloc_ros.node, geoloc_ros.assembly; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, '-c', code], timeout=120).returncode == 0


@pytest.mark.slow
def test_a_bag_of_rgbd_frames_through_the_live_node(rig, paintings, place_file, tmp_path):
    """Folder -> bag -> player -> node: every frame is accounted for, and where it should be."""
    folder = tmp_path / 'frames'
    folder.mkdir()
    frames = [between(paintings, step) for step in range(5)]
    for number, frame in enumerate(frames):
        stem = str(folder / f'frame-{number:06d}')
        cv2.imwrite(f'{stem}.color.png', frame.view.image[..., ::-1])
        mm = np.rint(np.nan_to_num(frame.view.depth) * 1000).astype(np.uint16)
        cv2.imwrite(f'{stem}.depth.png', mm)
        rows = [' '.join(f'{v:.9f}' for v in row) for row in frame.T_place_camera]
        (folder / f'frame-{number:06d}.pose.txt').write_text('\n'.join(rows))
    camera = room.CAMERA
    intrinsics = (camera.fx, camera.fy, camera.cx, camera.cy)
    opened = open_rgbd_folder(folder, calibration='registered', intrinsics=intrinsics, rate_hz=2.0)
    convert(opened, tmp_path / 'bag')
    (tmp_path / 'params.yaml').write_text(node_parameters(opened))
    none = dict.fromkeys(('datum.lat_deg', 'datum.lon_deg'), float('nan'))
    # The painted room has z up, and its frames do not say so.
    params = {**load_params_file(tmp_path / 'params.yaml'), **none, 'place_map': place_file}
    r = rig(params, sim_time=True)
    r.node.trigger_configure()
    r.node.trigger_activate()
    r.wait(lambda: r.peer.count_publishers('geoloc/status'), 'status publisher')
    player = rclpy.create_node('player', context=r.context)
    try:
        with read_bag(tmp_path / 'bag') as bag:
            options = PlayOptions(
                rate=0.5,
                remap={
                    topics.COMPRESSED: '/image/compressed',
                    topics.CAMERA_INFO: '/camera_info',
                    topics.COMPRESSED_DEPTH: '/depth/image/compressedDepth',
                    topics.DEPTH_INFO: '/depth/camera_info',
                },
                exclude=(topics.TRUTH,),
                wait_for=(topics.COMPRESSED, topics.CAMERA_INFO, topics.COMPRESSED_DEPTH),
            )
            BagPlayer(bag, player, options).play()
        stamps = [FIRST_STAMP_NS + p.stamp_ns for p in opened.colour]
        found = [r.status_of(stamp, timeout=60.0) for stamp in stamps]
    finally:
        player.destroy_node()
    used = [i for i, (status, _) in enumerate(found) if status == 'OK']
    assert len(used) >= 3, found
    assert {status for status, _ in found} <= {'OK', 'DROPPED', 'BAD_INPUT'}, found
    for i in used:
        assert 'colour and depth' in found[i][1] or 'no depth' in found[i][1], found[i]
        r.wait(lambda i=i: any(to_ns(m.header.stamp) == stamps[i] for m in r.got['geoloc/pose']))
        pose = next(m for m in r.got['geoloc/pose'] if to_ns(m.header.stamp) == stamps[i])
        T = transform_from_pose(pose.pose.pose)
        # base_link of such a bag is the camera itself.
        expected = frames[i].T_place_camera @ se3.inverse(T_BASE_CAMERA)
        assert np.linalg.norm(T[:3, 3] - expected[:3, 3]) < 0.10, found[i]
