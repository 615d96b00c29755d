# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from geoloc_core.bags import messages, topics
from geoloc_core.bags.reader import BagMessage, in_stamp_order, read_bag
from geoloc_core.bags.writer import BagWriter
from geoloc_core.errors import BagError
from geoloc_core.geometry import se3
from geoloc_core.messages.image_decoding import decode_image
from geoloc_ros.bags.views import views
from geoloc_ros.parameters import defaults
from tests.bags.conftest import DATUM, LEVER, picture, pose_at, START, T_BASE_CAMERA, write_drive

REAL = ['rl_test1.bag', 'rl_test2.bag', 'nav2_turtlebot.mcap', 'novatel_bestpos.bag']


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_what_is_written_is_read(tmp_path, storage):
    with read_bag(write_drive(tmp_path / 'bag', storage)) as bag:
        assert bag.is_ros2
        assert bag.duration_s == pytest.approx(3.0, abs=1e-6)
        assert bag.topics[topics.FIX].count == 16
        assert bag.topics[topics.ODOMETRY].rate_hz == pytest.approx(10.0)
        images = list(bag.messages([topics.IMAGE]))
        assert images[1].stamp_ns == START + 500_000_000
        np.testing.assert_array_equal(decode_image(images[1].message), picture(5))
        odometry = list(bag.messages([topics.ODOMETRY]))
        assert odometry[10].message.pose.pose.position.x == pytest.approx(4.0)


def test_a_drive_tells_its_truth_mounts_and_datum(drive_bag):
    with read_bag(drive_bag) as bag:
        truth = bag.truth()
        assert bag.truth_datum() == DATUM
        np.testing.assert_allclose(truth.poses[7], pose_at(0.7), atol=1e-9)
        np.testing.assert_allclose(bag.extrinsic('base_link', 'gnss_link')[:3, 3], LEVER)
        there = bag.extrinsic('camera_optical_frame', 'base_link')
        np.testing.assert_allclose(there, se3.inverse(T_BASE_CAMERA), atol=1e-12)
        assert bag.extrinsic('base_link', 'lidar') is None


def test_topics_are_found_by_type_or_named_in_the_error(drive_bag, tmp_path):
    with read_bag(drive_bag) as bag:
        assert bag.find('odometry') == topics.ODOMETRY  # not the truth
        assert bag.find('depth') is None
        with pytest.raises(BagError, match=r'no depth .*it has: .*/gnss/fix'):
            bag.require('depth')
        with pytest.raises(BagError, match=r'no topic /nowhere'):
            bag.find('fix', '/nowhere')
        with pytest.raises(BagError, match=r'cannot be fix: expected sensor_msgs/msg/NavSatFix'):
            bag.find('fix', topics.IMU)
    with BagWriter(tmp_path / 'two') as bag:
        for topic in ('/left', '/right'):
            bag.write(topic, messages.imu_msg(START, [0, 0, 0], [0, 0, 9.8]))
    with read_bag(tmp_path / 'two') as bag:
        with pytest.raises(BagError, match=r'several topics .* /left, /right; choose one'):
            bag.find('imu')
        assert bag.find('imu', '/right') == '/right'
        assert bag.truth() is None
        assert bag.truth_datum() is None


def test_raw_and_compressed_of_one_camera_are_one_camera(tmp_path):
    with BagWriter(tmp_path / 'both') as bag:
        bag.write(topics.IMAGE, messages.image_msg(START, picture(0)))
        bag.write(topics.COMPRESSED, messages.compressed_msg(START, b'\xff\xd8'))
    with read_bag(tmp_path / 'both') as bag:
        assert bag.find('image') == topics.COMPRESSED


def test_views_carry_picture_camera_and_mount(drive_bag):
    with read_bag(drive_bag) as bag:
        found = list(views(bag, defaults(), every=2, offset=1))
        assert [v.stamp_ns - START for v in found] == [500_000_000, 1_500_000_000, 2_500_000_000]
        np.testing.assert_array_equal(found[0].image, picture(5))
        np.testing.assert_allclose(found[0].T_base_camera, T_BASE_CAMERA, atol=1e-12)
        assert (found[0].camera.width, found[0].camera.height) == (48, 32)


def test_refusals_name_the_file(tmp_path):
    with pytest.raises(BagError, match='no bag at'):
        read_bag(tmp_path / 'nothing')
    for name in ('torn.mcap', 'torn.bag', 'torn.txt', 'torn.db3'):
        file = tmp_path / name
        file.write_bytes(b'not a bag' * 10)
        with pytest.raises(BagError, match='torn'), read_bag(file) as bag:
            list(bag.messages())
    folder = tmp_path / 'precious'
    folder.mkdir()
    (folder / 'thesis.txt').write_text('years of work')
    with pytest.raises(BagError, match='exists already'):
        BagWriter(folder)
    with pytest.raises(BagError, match='not a bag, so it is not overwritten'):
        BagWriter(folder, overwrite=True)
    assert (folder / 'thesis.txt').exists()
    with pytest.raises(BagError, match="unknown bag storage 'zip'"):
        BagWriter(tmp_path / 'new', storage='zip')
    with BagWriter(tmp_path / 'changing') as bag:
        bag.write('/a', messages.imu_msg(START, [0, 0, 0], [0, 0, 9.8]))
        with pytest.raises(BagError, match='carries sensor_msgs/msg/Imu'):
            bag.write('/a', messages.fix_msg(START, 0, 0, 0, np.eye(3)))
        with pytest.raises(BagError, match='need their type'):
            bag.write('/b', b'bytes', START)


def test_truncated_bag_is_an_error_not_a_silence(tmp_path):
    path = write_drive(tmp_path / 'bag')
    file = next(path.glob('*.mcap'))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(BagError, match='bag'), read_bag(path) as bag:
        list(bag.messages())


def test_messages_are_put_in_order_of_their_stamps():
    def item(stamp, recorded, topic='/a'):
        return BagMessage(topic, 'x', recorded, stamp, None)

    mixed = [item(5, 6), item(3, 7), item(9, 9, '/slow'), item(8, 10), item(12, 12)]
    assert [m.stamp_ns for m in in_stamp_order(mixed, 100)] == [3, 5, 8, 9, 12]
    late = list(in_stamp_order(mixed, 100, {'/slow': 2}))
    assert [m.stamp_ns for m in late] == [3, 5, 8, 9, 12]
    assert [m.stamp_ns for m in in_stamp_order(mixed, 100, {'/slow': 50})] == [3, 5, 8, 12, 9]
    assert len(list(in_stamp_order(mixed, 0))) == 5


@pytest.mark.parametrize('name', [*REAL, 'novatel_ins2.bag', 'tf_example'])
def test_real_bags_are_read_whole(real_data, name):
    with read_bag(real_data('rosbags_real', name)) as bag:
        counted = {t.name: 0 for t in bag.topics.values()}
        for item in bag.messages():
            counted[item.topic] += 1
            assert item.stamp_ns > 0
        assert counted == {t.name: t.count for t in bag.topics.values()}
        for kind in topics.KINDS:
            bag.candidates(kind)


def test_ros1_messages_become_ros2_cdr(real_data):
    with read_bag(real_data('rosbags_real', 'rl_test1.bag')) as bag:
        assert not bag.is_ros2
        assert bag.find('fix') == '/fix'
        for topic in bag.topics:
            _, msgtype, _, data = next(bag.raw([topic]))
            before = bag.decode(msgtype, data)
            after = messages.typestore().deserialize_cdr(bag.to_cdr(msgtype, data), msgtype)
            assert messages.stamp_ns_of(after) == messages.stamp_ns_of(before)
            assert after.header.frame_id == before.header.frame_id
