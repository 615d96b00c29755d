# SPDX-License-Identifier: Apache-2.0
"""The node with a bundle, as a process of its own: memory, time to its first pose, its modules."""

from dataclasses import dataclass
import os
from pathlib import Path
import re
import signal
import subprocess
import sys
import time

from tests.benchmarks.node import odometry, prepare_environment, Robot, ROOT

# The real node's process says at its end what it has loaded.
_PROGRAM = """
import atexit, sys
atexit.register(lambda: print('torch in sys.modules:', 'torch' in sys.modules, flush=True))
from geoloc_ros.node import main
sys.exit(main())
"""
# A frame that this network answered has spent time in it.
_RAN = 'match/engine_ms'
_FRAME_S = 0.1
_PATIENCE_S = 300.0


@dataclass
class NodeFigures:
    """What a node with a bundle needed.

    Attributes:
        rss_mb: Memory it holds after some frames, MB.
        peak_rss_mb: The most it ever held, MB.
        first_pose_s: From the start of the process to its first answer by the network, s.
        torch: Whether torch was ever imported.
    """

    rss_mb: float
    peak_rss_mb: float
    first_pose_s: float
    torch: bool


def measure_node(bundle: Path, folder: Path, frames: int = 20) -> NodeFigures:
    """Runs the node on a made-up ground until it has answered some frames.

    Args:
        bundle: For the parameter model.path.
        folder: For the map.
        frames: Answers to wait for before memory is read.

    Raises:
        RuntimeError: The node does not answer.
    """
    prepare_environment()
    from geoloc_core.maps.opening import open_map
    from tests.ros import rig

    path = rig.write_map(folder / 'map.tif', rig.aerial_texture())
    image = rig.view_of(open_map(path), 0.0, 0.0, 0.0)
    robot = Robot()
    params = {**rig.MOUNTS, 'map.path': path, 'model.path': bundle, 'autostart': 'true'}
    words = [w for name, value in params.items() for w in ('-p', f'{name}:={value}')]
    start = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, '-c', _PROGRAM, '--ros-args', '--log-level', 'warn', *words],
        cwd=ROOT,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        if not robot.wait(robot.connected, _PATIENCE_S):
            raise RuntimeError(f'the node did not appear; it said: {_said(process)}')
        first = _drive(robot, image, frames) - start
        memory = _memory(process.pid)
    finally:
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
        robot.close()
    torch = re.search(r'torch in sys.modules: (\w+)', said)
    if torch is None:
        raise RuntimeError(f'the node did not end as it should; it said: {said[-2000:]}')
    return NodeFigures(memory['VmRSS'], memory['VmHWM'], first, torch[1] == 'True')


def _drive(robot: Robot, image, frames: int) -> float:
    """Plays a robot that stands, until the network has answered; when it did first, monotonic."""
    from geometry_msgs.msg import PoseWithCovarianceStamped
    import numpy as np

    from geoloc_ros import messages
    from tests.ros import rig

    height, width = image.shape[:2]
    first = None
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end:
        stamp = time.time_ns()
        robot.odom.publish(odometry(stamp))
        if first is None:
            # With every frame: one that overtakes the odometry's first message is lost.
            pose = PoseWithCovarianceStamped(header=messages.header(stamp, 'map'))
            pose.pose.pose.orientation.w = 1.0
            pose.pose.covariance = messages.covariance(np.diag([0.25, 0.25, 0, 0, 0, 0.01]))
            robot.start.publish(pose)
        robot.info.publish(rig.info_message(stamp, width, height))
        robot.image.publish(messages.image_message(image, stamp, 'camera_optical_frame'))
        due = time.monotonic() + _FRAME_S
        while time.monotonic() < due:
            answered = sum(_RAN in answer for answer in list(robot.answers.values()))
            if answered and first is None:
                first = time.monotonic()
            if first is not None and answered >= frames:
                return first
            time.sleep(0.005)
    states = {answer.get('status') for answer in list(robot.answers.values())}
    raise RuntimeError(f'the network answered too few frames; the node says {states}')


def _memory(pid: int) -> dict[str, float]:
    """VmRSS and VmHWM of a process, MB."""
    text = Path('/proc', str(pid), 'status').read_text()
    found = re.findall(r'(VmRSS|VmHWM):\s+(\d+) kB', text)
    return {name: int(value) / 1024 for name, value in found}


def _said(process: subprocess.Popen) -> str:
    process.kill()
    return process.communicate()[0][-2000:]
