# SPDX-License-Identifier: Apache-2.0
"""Writes a rendered drive as files that look like a real one's: a bag and an aerial map."""

from collections.abc import Callable
from dataclasses import asdict
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.bags import messages, topics
from geoloc_core.bags.writer import BagWriter
from geoloc_core.errors import ConfigError
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import AbstractCamera, EquirectangularCamera, FisheyeCamera
from geoloc_core.geometry.cameras.pinhole import PinholeCamera
from geoloc_core.simulation.robots.drive import Drive
from geoloc_core.simulation.world import write_geotiff

# Of a robot that drives into a hall: whoever steers by its pose shall not feel the door.
HALL_PARAMETERS = {'continuity': {'max_speed': 0.4}}
_JPEG_QUALITY = 92
_TRUTH_RATE_HZ = 20.0

# Called with the number of pictures done since its last call.
Progress = Callable[[int], Any]


def write_drive(
    out: Path,
    drive: Drive,
    *,
    map_gsd: float = 0.15,
    storage: str = 'mcap',
    depth_encoding: str = '16UC1',
    workers: int | None = None,
    progress: Progress | None = None,
) -> tuple[Path, Path]:
    """Renders a drive into a folder.

    Args:
        out: Folder; `drive/` (the bag), `map.tif` and `drive.json` are written there.
        drive: What is driven.
        map_gsd: Of the aerial map, m/px.
        storage: Of the bag, 'mcap' or 'sqlite3'.
        depth_encoding: '16UC1' (mm, 0 where unknown) or '32FC1' (m, NaN where unknown).
        workers: Threads; as many as there are processors if None. The bytes do not depend on it.
        progress: Told of every picture done.

    Returns:
        Paths of the bag and of the map.

    Raises:
        BagError: The bag's place is taken by something else.
    """
    out.mkdir(parents=True, exist_ok=True)
    map_path = out / 'map.tif'
    image, grid = drive.aerial(map_gsd, workers)
    write_geotiff(map_path, image, grid, drive.world.datum, drive.world.attribution)
    bag_path = out / 'drive'
    write_recording(bag_path, drive, storage, depth_encoding, workers, progress)
    (out / 'drive.json').write_text(json.dumps(facts(drive), indent=2) + '\n', encoding='utf-8')
    return bag_path, map_path


def write_recording(
    bag_path: Path,
    drive: Drive,
    storage: str = 'mcap',
    depth_encoding: str = '16UC1',
    workers: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Renders a drive into a bag alone; see `write_drive`."""
    with BagWriter(bag_path, storage, overwrite=True) as bag:
        write_bag(bag, drive, progress, depth_encoding=depth_encoding, workers=workers)


def facts(drive: Drive) -> dict[str, Any]:
    """What a person may want to know about a drive, as JSON."""
    trajectory = drive.trajectory
    distance = float(np.sum(trajectory.speed[:-1] * np.diff(trajectory.t)))
    record = drive.gnss_record
    known = {
        'seed': drive.seed,
        'duration_s': round(trajectory.duration, 3),
        'distance_m': round(distance, 1),
        'frames': len(drive.frame_times()),
        'gnss_std_m_per_axis': drive.gnss.std_m,
        'gnss_correlated_part': drive.gnss.correlated,
        'outages_s': [list(span) for span in drive.gnss.outages],
        'odometry_scale': drive.odometry.scale,
        'odometry_yaw_drift_deg_s': round(float(np.degrees(drive.odometry.yaw_drift)), 4),
        'datum': [drive.world.datum.lat_deg, drive.world.datum.lon_deg, drive.world.datum.alt_m],
        'fixes': len(record.fixes),
        'fixes_lost': len(record.lost_ns),
    }
    if drive.gnss.multipath and len(record.used):
        known['satellites_mean'] = round(float(record.used.mean()), 2)
        known['satellites_reflected_mean'] = round(float(record.reflected.mean()), 2)
    if drive.day is not None and drive.flight is not None:
        known['camera_tilt_rpy_deg'] = [round(float(np.degrees(a)), 4) for a in drive.day.tilt_rpy]
        known['map_shift_m'] = [round(float(v), 3) + 0.0 for v in drive.flight.shift_m]
        known['day'] = _plain(asdict(drive.day))
        known['flight'] = _plain(asdict(drive.flight))
    if drive.world.attribution:
        known['attribution'] = drive.world.attribution
    return known


def _plain(value: Any) -> Any:
    """The same with numpy's numbers as Python's, and floats short."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    return round(float(value), 6)


def write_bag(
    bag: BagWriter,
    drive: Drive,
    progress: Progress | None = None,
    *,
    depth_encoding: str = '16UC1',
    workers: int | None = None,
) -> None:
    """Writes every message of a drive, in the order of their stamps.

    Args:
        bag: Open writer.
        drive: What is driven.
        progress: Told of every picture done.
        depth_encoding: See `write_drive`.
        workers: See `write_drive`.
    """
    _write_latched(bag, drive)
    waiting = sorted(_small_messages(drive), key=lambda item: item[0])
    info = _camera_info_fields(drive.rig.camera)
    next_small = 0
    for stamp, picture in drive.frames(workers):
        while next_small < len(waiting) and waiting[next_small][0] <= stamp:
            bag.write(waiting[next_small][1], waiting[next_small][2])
            next_small += 1
        bag.write(topics.CAMERA_INFO, messages.camera_info_msg(stamp, **info))
        bgr = cv2.cvtColor(picture.image, cv2.COLOR_RGB2BGR)
        _, jpeg = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        bag.write(topics.COMPRESSED, messages.compressed_msg(stamp, jpeg.tobytes()))
        if picture.depth_m is not None:
            pixels = _encoded(picture.depth_m, depth_encoding)
            bag.write(topics.DEPTH, messages.image_msg(stamp, pixels, depth_encoding))
        if progress is not None:
            progress(1)
    for _, topic, message in waiting[next_small:]:
        bag.write(topic, message)


def _encoded(depth_m: NDArray[np.float32], encoding: str) -> NDArray:
    """Depth as a message carries it.

    Raises:
        ConfigError: No such encoding.
    """
    if encoding == '32FC1':
        return depth_m
    if encoding != '16UC1':
        raise ConfigError(f'unknown depth encoding {encoding!r}: expected 16UC1 or 32FC1')
    # What does not fit into 16 bits is as unknown as what was not measured.
    mm = np.rint(np.nan_to_num(depth_m) * 1000)
    return np.where(mm < 65535, mm, 0).astype(np.uint16)


def _write_latched(bag: BagWriter, drive: Drive) -> None:
    """The datum of the truth and the sensors' mounts."""
    datum = drive.world.datum
    start = drive.start_ns
    where = messages.fix_msg(
        start, datum.lat_deg, datum.lon_deg, datum.alt_m, np.eye(3) * 1e-6,
        frame_id=topics.MAP_FRAME,
    )  # fmt: skip
    bag.write(topics.TRUTH_DATUM, where)
    mounts = [
        (topics.BASE_FRAME, topics.CAMERA_FRAME, drive.rig.T_base_camera),
        (topics.BASE_FRAME, topics.GNSS_FRAME, se3.make(np.eye(3), drive.gnss.antenna_in_base)),
        (topics.BASE_FRAME, topics.IMU_FRAME, np.eye(4)),
    ]
    bag.write(topics.TF_STATIC, messages.static_transforms_msg(start, mounts), start)


def _small_messages(drive: Drive) -> list[tuple[int, str, Any]]:
    """(stamp_ns, topic, message) of all sensors but the camera, and of the truth."""
    items: list[tuple[int, str, Any]] = []
    for fix in drive.fixes():
        message = messages.fix_msg(fix.stamp_ns, fix.lat_deg, fix.lon_deg, fix.alt_m, fix.cov_enu)
        items.append((fix.stamp_ns, topics.FIX, message))
    for stamp in drive.outage_stamps():
        nothing = messages.fix_msg(stamp, np.nan, np.nan, np.nan, np.zeros((3, 3)), status=-1)
        items.append((stamp, topics.FIX, nothing))
    for sample in drive.odometry_samples():
        message = messages.odometry_msg(
            sample.stamp_ns, sample.T_odom_base, sample.linear, sample.angular
        )
        items.append((sample.stamp_ns, topics.ODOMETRY, message))
    for imu in drive.imu_samples():
        message = messages.imu_msg(imu.stamp_ns, imu.angular, imu.linear_acceleration)
        items.append((imu.stamp_ns, topics.IMU, message))
    trajectory = drive.trajectory
    for t in np.arange(0.0, trajectory.duration, 1 / _TRUTH_RATE_HZ):
        stamp = drive.stamp_ns(t)
        message = messages.odometry_msg(
            stamp,
            trajectory.at(t),
            (float(trajectory.sample(trajectory.speed, np.array(t))), 0.0, 0.0),
            trajectory.sample(trajectory.angular, np.array(t)),
            frame_id=topics.MAP_FRAME,
        )
        items.append((stamp, topics.TRUTH, message))
    return items


def _camera_info_fields(camera: AbstractCamera) -> dict[str, Any]:
    """Arguments of `camera_info_msg` for a camera."""
    fields: dict[str, Any] = {'width': camera.width, 'height': camera.height}
    if isinstance(camera, EquirectangularCamera):
        return fields | {'k': np.zeros((3, 3)), 'd': (), 'model': 'equirectangular'}
    if isinstance(camera, FisheyeCamera):
        return fields | {'k': camera.K, 'd': camera.distortion, 'model': 'equidistant'}
    assert isinstance(camera, PinholeCamera)
    return fields | {'k': camera.K, 'd': camera.distortion or (0.0,) * 5, 'model': camera.model}
