# SPDX-License-Identifier: Apache-2.0
"""What the node adds to its matcher, what is lost on the wire, what a map crop takes.

Run: python -m tests.benchmarks.node

The node runs as a process of its own; this one plays the robot. Both use the Fast DDS profile that
geoloc ships. Overhead is the time from the image callback to the published pose, less the
matcher's own time, as the node reports it on ~/status for every frame.
"""

import argparse
import os
from pathlib import Path
import subprocess
import sys
import tempfile
import threading
import time

ROOT = Path(__file__).resolve().parents[2]
PROFILE = ROOT / 'config/fastdds_large_images.xml'
COMMAND = 'make bench-node'

# Stages of the matcher itself; cropping the map and decoding the volume are counted as overhead.
NOT_THE_MATCHER = ('match/patch_ms', 'match/decode_ms')
DRIVE_HZ, DRIVE_FRAMES, DRIVE_SIZE = 10.0, 300, (1242, 375)
WIRE_HZ, WIRE_FRAMES, WIRE_SIZE = 30.0, 300, (1280, 720)
# The first frames load libraries and build tables.
WARM_UP = 20
S = 10**9


def prepare_environment() -> None:
    """Before anything imports rclpy: profile, domain, and no discovery beyond this machine."""
    os.environ['FASTRTPS_DEFAULT_PROFILES_FILE'] = str(PROFILE)
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    os.environ['ROS_DOMAIN_ID'] = str(os.getpid() % 90 + 1)
    os.environ.pop('ROS_PYTHON_CHECK_FIELDS', None)


class Robot:
    """Publishes images and collects the node's answers."""

    def __init__(self) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from geometry_msgs.msg import PoseWithCovarianceStamped
        from nav_msgs.msg import Odometry
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from sensor_msgs.msg import CameraInfo, Image

        rclpy.init()
        self.rclpy = rclpy
        self.node = rclpy.create_node('robot')
        best_effort = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        create = self.node.create_publisher
        self.image = create(Image, 'image', best_effort)
        self.info = create(CameraInfo, 'camera_info', 10)
        self.odom = create(Odometry, 'odom', 50)
        self.start = create(PoseWithCovarianceStamped, 'initialpose', 10)
        self.answers: dict[int, dict[str, str]] = {}
        self.node.create_subscription(DiagnosticArray, 'geoloc/status', self._on_status, 1000)
        executor = SingleThreadedExecutor()
        executor.add_node(self.node)
        self.executor = executor
        self.thread = threading.Thread(target=executor.spin, daemon=True)
        self.thread.start()

    def _on_status(self, message) -> None:
        stamp = message.header.stamp.sec * S + message.header.stamp.nanosec
        self.answers[stamp] = {v.key: v.value for v in message.status[0].values}

    def wait(self, condition, timeout: float = 30.0) -> bool:
        """Polls until a condition holds; whether it did."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if condition():
                return True
            time.sleep(0.02)
        return False

    def connected(self) -> bool:
        """Whether the node listens and can be heard."""
        return all(
            p.get_subscription_count() for p in (self.image, self.info, self.odom, self.start)
        ) and bool(self.node.count_publishers('geoloc/status'))

    def close(self) -> None:
        """Leaves the graph."""
        self.executor.shutdown()
        self.rclpy.try_shutdown()
        self.thread.join(2)


def node_process(params: dict[str, object]) -> subprocess.Popen:
    """The node, started with parameters."""
    arguments = [f'{name}:={value}' for name, value in {**params, 'autostart': 'true'}.items()]
    flags = [word for argument in arguments for word in ('-p', argument)]
    return subprocess.Popen(
        [sys.executable, '-m', 'geoloc_ros.node', '--ros-args', '--log-level', 'warn', *flags],
        cwd=ROOT,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
    )


def odometry(stamp: int):
    """A robot that stands."""
    from geometry_msgs.msg import Quaternion
    from nav_msgs.msg import Odometry

    from geoloc_ros import messages

    message = Odometry(header=messages.header(stamp, 'odom'), child_frame_id='base_link')
    message.pose.pose.orientation = Quaternion(x=0.0, y=0.0, z=0.0, w=1.0)
    return message


def first_answer(robot: Robot, image, info) -> int:
    """Speaks to the node until it answers; the stamp of the frame that it answered."""
    from geoloc_ros import messages

    sent = []

    def answered() -> bool:
        sent.append(time.time_ns())
        info.header = image.header = messages.header(sent[-1], 'camera_optical_frame')
        robot.info.publish(info)
        robot.image.publish(image)
        return robot.wait(lambda: any(stamp in robot.answers for stamp in sent), 0.5)

    if not robot.wait(answered):
        raise RuntimeError('the node does not answer')
    return sent[-1]


def overhead_ms(robot: Robot, folder: Path) -> tuple[list[float], int]:
    """(overhead of every frame that was matched, frames without an answer) at 10 Hz."""
    from geometry_msgs.msg import PoseWithCovarianceStamped
    import numpy as np

    from geoloc_core.geometry.cameras import PinholeCamera
    from geoloc_core.maps.opening import open_map
    from geoloc_ros import messages
    from tests.ros import rig

    width, height = DRIVE_SIZE
    camera = PinholeCamera(width, height, 720.0, 720.0, width / 2, height / 2)
    path = rig.write_map(folder / 'map.tif', rig.aerial_texture())
    view = rig.view_of(open_map(path), 0.0, 0.0, 0.0, camera)
    params = {name: str(value) for name, value in rig.MOUNTS.items()}
    process = node_process({**params, 'map.path': path})
    try:
        if not robot.wait(robot.connected):
            raise RuntimeError('the node did not appear')
        info = rig.info_message(1, width, height, camera=camera)
        image = messages.image_message(view, 1, 'camera_optical_frame')
        start = first_answer(robot, image, info)
        robot.odom.publish(odometry(start))
        pose = PoseWithCovarianceStamped(header=messages.header(start, 'map'))
        pose.pose.pose.orientation.w = 1.0
        pose.pose.covariance = messages.covariance(np.diag([0.25, 0.25, 0, 0, 0, 0.01]))
        robot.start.publish(pose)
        stamps = []
        due = time.monotonic()
        for _ in range(DRIVE_FRAMES):
            for part in range(5):
                due += 1 / DRIVE_HZ / 5
                time.sleep(max(due - time.monotonic(), 0))
                stamp = time.time_ns()
                robot.odom.publish(odometry(stamp))
                if part == 4:
                    image.header = messages.header(stamp, 'camera_optical_frame')
                    robot.image.publish(image)
                    stamps.append(stamp)
        robot.wait(lambda: all(stamp in robot.answers for stamp in stamps), 5.0)
    finally:
        process.terminate()
        process.wait(20)
    answers = [robot.answers[stamp] for stamp in stamps if stamp in robot.answers]
    matched = [answer for answer in answers if answer['status'] == 'OK'][WARM_UP:]
    overheads = [
        float(answer['total_ms'])
        - sum(
            float(value)
            for key, value in answer.items()
            if key.startswith('match/') and key not in NOT_THE_MATCHER
        )
        for answer in matched
    ]
    fates = {a['status'] for a in answers}
    for stage in sorted({key for a in matched for key in a if key.endswith('_ms')}):
        durations = sorted(float(a.get(stage, 'nan')) for a in matched)
        middle, late = durations[len(durations) // 2], durations[len(durations) * 99 // 100]
        print(f'{stage:24s} {middle:8.2f} {late:8.2f}')
    if not overheads:
        raise RuntimeError(f'no frame was matched: {fates}, {answers[:1]}')
    return overheads, len(stamps) - len(answers)


def lost_frames(robot: Robot) -> int:
    """How many of 300 images of 1280 x 720 at 30 Hz, best effort, the node never got."""
    import numpy as np

    from geoloc_ros import messages
    from tests.ros import rig

    width, height = WIRE_SIZE
    process = node_process({name: str(value) for name, value in rig.MOUNTS.items()})
    try:
        if not robot.wait(robot.connected):
            raise RuntimeError('the node did not appear')
        rgb = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        image = messages.image_message(rgb, 1, 'camera_optical_frame')
        first_answer(robot, image, rig.info_message(1, width, height))
        stamps = []
        due = time.monotonic()
        for _ in range(WIRE_FRAMES):
            due += 1 / WIRE_HZ
            time.sleep(max(due - time.monotonic(), 0))
            stamps.append(time.time_ns())
            image.header = messages.header(stamps[-1], 'camera_optical_frame')
            robot.image.publish(image)
        robot.wait(lambda: all(stamp in robot.answers for stamp in stamps), 5.0)
    finally:
        process.terminate()
        process.wait(20)
    return sum(stamp not in robot.answers for stamp in stamps)


def main() -> None:
    """Measures everything and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--no-crops', action='store_true', help='leave the map crops out')
    options = parser.parse_args()
    prepare_environment()
    import numpy as np

    from tests.benchmarks import map_crop, results

    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        robot = Robot()
        try:
            overheads, unanswered = overhead_ms(robot, Path(folder))
            robot.wait(lambda: not robot.connected(), 10.0)
            figures['lost_frames_720p30'] = lost_frames(robot)
        finally:
            robot.close()
    figures['overhead_ms_p50'] = float(np.percentile(overheads, 50))
    figures['overhead_ms_p99'] = float(np.percentile(overheads, 99))
    figures['overhead_frames'] = len(overheads)
    figures['overhead_frames_unanswered'] = unanswered
    if not options.no_crops:
        figures.update(map_crop.run())
    path = results.write('node', figures, COMMAND)
    print(path.read_text())


if __name__ == '__main__':
    main()
