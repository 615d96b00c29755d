# SPDX-License-Identifier: Apache-2.0
"""KITTI drive 0013: a map from half of the frames, the other half localized in it.

The drive becomes a bag with GNSS at 5 m noise (one sigma per axis, alike over 10 s as real errors
are) and without any fix for 6 s. The turn of the camera mount is refined on the map's frames
first: KITTI's extrinsics and its INS disagree by about half a degree of yaw in this drive. Then
  offline: odd frames make the map, even frames are localized by `geoloc evaluate`'s code;
  far: the same, but for each query the map holds only frames at least 10 away (about 12 m);
  live: the map of the first, through the real node on the ROS graph.
Settings are the node's defaults but for SETTINGS. A frame is flagged when geoloc refused it
with a reason, or when its own 95 % ellipse reaches as far as its error.

Run: python -m tests.benchmarks.kitti [--no-live]
"""

from contextlib import ExitStack
from dataclasses import replace
import os
from pathlib import Path
import sys
import tempfile
import threading
from typing import Any

import numpy as np
import yaml

from geoloc_core.bags import topics
from geoloc_core.bags.reader import read_bag
from geoloc_core.evaluation.table import systems_table
from geoloc_core.geometry import se3
from geoloc_core.geometry.geodesy import EnuFrame
from geoloc_core.maps.mosaic import MosaicConfig, OrthoMosaic
from geoloc_core.maps.source import AbstractMapSource, MapInfo
from geoloc_core.messages.conversions import R_BODY_OPTICAL
from geoloc_core.sources.mount_calibration import MountCalibration
from geoloc_ros.assembly import build_localizer
from geoloc_ros.bags.drive_map import mosaic_of_drive, refined_mount
from geoloc_ros.bags.kitti import convert, KittiDrive, KittiOptions
from geoloc_ros.bags.offline import OfflineOptions, run_offline
from geoloc_ros.bags.results import FramePictures, write_results
from geoloc_ros.bags.run import read_inputs, RunInputs
from geoloc_ros.bags.scoring import Score, score
from geoloc_ros.parameters import defaults
from tests.benchmarks import results

DRIVE = 'kitti_raw_2011_09_26_drive_0013'
GNSS = KittiOptions(gnss_noise_m=5.0, gnss_correlation_s=10.0, gnss_cuts=((6.0, 12.0),))
# Frames 2.5 m apart see the ground from elsewhere: their errors are hardly alike.
SETTINGS = {'vision.correlation_s': 0.0}
FAR_FRAMES = 10
LIVE_RATE = 0.5
OUT = results.ROOT / 'out' / 'bench' / 'kitti'
COMMAND = 'make bench-kitti'


class FarMap(AbstractMapSource):
    """The mosaic of all frames but those near the query; `look` says which one that is."""

    def __init__(self, mosaic: OrthoMosaic, numbers: list[int]) -> None:
        self._mosaic = mosaic
        self._numbers = numbers
        self._shown = mosaic

    @property
    def info(self) -> MapInfo:
        return self._mosaic.info

    def look(self, query: int) -> None:
        near = [i for i, n in enumerate(self._numbers) if abs(n - query) < FAR_FRAMES]
        self._shown = self._mosaic.excluding(near)

    def patch(self, frame: Any, center_xy: Any, size_m: float, gsd: float) -> Any:
        return self._shown.patch(frame, center_xy, size_m, gsd)


def figures(scored: Score) -> dict[str, Any]:
    """The named figures of a run."""
    m, geoloc = scored.metrics, scored.metrics['systems']['geoloc']
    kept = ('position_median_m', 'position_p90_m', 'position_p95_m', 'position_max_m')
    return {
        **{key: geoloc[key] for key in kept},
        'lateral_median_m': geoloc['lateral_median_m'],
        'longitudinal_median_m': geoloc['longitudinal_median_m'],
        'yaw_median_deg': geoloc['yaw_median_deg'],
        'outage_position_median_m': geoloc['outage_position_median_m'],
        'frames': m['frames'],
        'localized': m['localized'],
        'frames_unaccounted': m['frames_unaccounted'],
        'frames_over_1m_unflagged': m['frames_over_1m_unflagged'],
        'coverage_95': m['coverage_95'],
        'gnss_position_median_m': m['systems']['gnss']['position_median_m'],
        'odometry_position_median_m': m['systems']['odometry']['position_median_m'],
    }


def make_bag(drive: Path, folder: Path) -> tuple[Path, MountCalibration]:
    """The bag of the drive, its camera mount refined on the odd frames alone."""
    clean = folder / 'clean'
    made = convert(drive, clean)
    with read_bag(clean) as reader:
        found = refined_mount(reader, made.truth, defaults(), every=2, offset=1)
    print('mount turned by roll, pitch, yaw', np.degrees(found.roll_pitch_yaw).round(2), 'degrees')
    noisy = folder / 'noisy'
    convert(drive, noisy, replace(GNSS, camera_rpy_deg=turn_deg(found)))
    return noisy, found


def turn_deg(found: MountCalibration) -> tuple[float, float, float]:
    roll, pitch, yaw = (float(v) for v in np.degrees(found.roll_pitch_yaw))
    return roll, pitch, yaw


def run_near(bag: Path, map_path: Path, out: Path) -> Score:
    """Even frames in the map of the odd ones, offline."""
    params = {**defaults(), **SETTINGS, 'map.path': str(map_path)}
    with read_bag(bag) as reader:
        inputs = even(read_inputs(reader))
        run = run_offline(
            reader,
            build_localizer(params),
            params,
            OfflineOptions(every=2),
            after_view=FramePictures(out, len(inputs.frame_stamps_ns), 24),
        )
    return score(run, inputs, name='KITTI 0013, map from the odd frames')


def run_far(bag: Path, drive: KittiDrive) -> Score:
    """Even frames, each in a map without the frames around it, offline."""
    params = {**defaults(), **SETTINGS}
    with read_bag(bag) as reader:
        truth, datum = reader.truth(), reader.truth_datum()
        assert truth is not None and datum is not None
        mosaic, used = mosaic_of_drive(reader, truth, EnuFrame(datum), params, MosaicConfig())
        number = {stamp: n for n, stamp, _ in drive.images}
        far = FarMap(mosaic, [number[s] for s in used])
        inputs = even(read_inputs(reader))
        run = run_offline(
            reader,
            build_localizer(params, far),
            params,
            OfflineOptions(every=2),
            before_view=lambda view: far.look(number[view.stamp_ns]),
        )
    return score(run, inputs, name=f'KITTI 0013, map at least {FAR_FRAMES} frames away')


def even(inputs: RunInputs) -> RunInputs:
    return inputs.with_frames(inputs.frame_stamps_ns[::2])


def run_live(drive: Path, folder: Path, map_path: Path, found: MountCalibration) -> Score:
    """Even frames in the map of the odd ones, through the node on the ROS graph."""
    from geoloc_ros.demo_node import free_domain, NodeProcess, ros_environment

    environment = ros_environment(free_domain())
    os.environ.update(environment)
    bag = folder / 'even'
    made = convert(drive, bag, replace(GNSS, camera_rpy_deg=turn_deg(found), every=2))
    T = found.T_base_camera
    rpy = se3.rpy_from(se3.make(T[:3, :3] @ R_BODY_OPTICAL.T, T[:3, 3]))
    params = {
        **SETTINGS,
        'use_sim_time': True,
        'autostart': True,
        'image.transport': 'compressed',
        'map.path': str(map_path),
        # tf2_msgs is not among the wheels: without it mounts come from parameters.
        'frames.camera_xyz': [float(v) for v in T[:3, 3]],
        'frames.camera_rpy': [float(v) for v in rpy],
        'frames.antenna_xyz': [float(v) for v in made.T_base_imu[:3, 3]],
        'frames.imu_rpy': [0.0, 0.0, 0.0],
    }
    file = folder / 'params.yaml'
    file.write_text(yaml.safe_dump({'/**': {'ros__parameters': params}}))
    remap = {
        'image/compressed': topics.COMPRESSED,
        'camera_info': topics.CAMERA_INFO,
        'fix': topics.FIX,
        'odom': topics.ODOMETRY,
        'imu': topics.IMU,
    }
    with NodeProcess(file, folder / 'node.log', remap=remap, environment=environment):
        return play_and_record(bag, set(remap.values()))


def play_and_record(bag: Path, listened: set[str]) -> Score:
    """Plays a bag to the node that is up, and scores what it says."""
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.parameter import Parameter

    from geoloc_ros.bags.player import BagPlayer, PlayOptions
    from geoloc_ros.bags.recorder import Recorder

    rclpy.init()
    with ExitStack() as stack:
        stack.callback(rclpy.try_shutdown)
        node = rclpy.create_node(
            'bench_kitti', parameter_overrides=[Parameter('use_sim_time', value=True)]
        )
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        recorder = Recorder(node)
        thread = threading.Thread(target=executor.spin, daemon=True)
        thread.start()
        stack.callback(thread.join, 5.0)
        stack.callback(executor.shutdown)
        reader = stack.enter_context(read_bag(bag))
        inputs = read_inputs(reader)
        options = PlayOptions(
            rate=LIVE_RATE, topics=listened, wait_for=listened, wait_timeout_s=60.0
        )
        recorder.wait_for_target(60.0)
        BagPlayer(reader, node, options).play()
        recorder.wait_for_frames(inputs.frame_stamps_ns, 20.0)
        run = recorder.record(details={'rate': LIVE_RATE})
    return score(run, inputs, name='KITTI 0013, through the live node')


def main() -> int:
    data = Path(os.environ.get('GEOLOC_DATA', results.ROOT.parent / 'shared' / 'data'))
    drive = data / DRIVE
    if not drive.is_dir():
        print(f'bench-kitti: {drive} is absent (set GEOLOC_DATA)', file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bag, found = make_bag(drive, folder)
        map_path = folder / 'odd.tif'
        with read_bag(bag) as reader:
            truth, datum = reader.truth(), reader.truth_datum()
            mosaic, _ = mosaic_of_drive(
                reader, truth, EnuFrame(datum), defaults(), every=2, offset=1
            )
        mosaic.write_geotiff(map_path)
        near = run_near(bag, map_path, OUT)
        write_results(OUT, near, mosaic, report=True)
        far = run_far(bag, KittiDrive(drive))
        runs = {'offline': near, 'far': far}
        if '--no-live' not in sys.argv:
            runs['live'] = run_live(drive, folder, map_path, found)
    for run_name, scored in runs.items():
        print(f'\n{run_name}: {scored.metrics["frames_by_status"]}')
        print(systems_table(scored.metrics['systems']))
        if run_name != 'offline':
            write_results(OUT / run_name, scored, report=False)
    measured: dict[str, Any] = {run_name: figures(scored) for run_name, scored in runs.items()}
    turn = np.degrees(found.roll_pitch_yaw).tolist()
    measured['mount_turned_deg'] = dict(zip(('roll', 'pitch', 'yaw'), turn, strict=True))
    print(results.write('kitti', measured, COMMAND))
    return 0


if __name__ == '__main__':
    sys.exit(main())
