# SPDX-License-Identifier: Apache-2.0
"""Writes a rendered drive as files that look like a real one's: a bag and an aerial map."""

from collections.abc import Callable
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from geoloc_core.bags import messages, topics
from geoloc_core.bags.writer import BagWriter
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import AbstractCamera, EquirectangularCamera, FisheyeCamera
from geoloc_core.geometry.cameras.pinhole import PinholeCamera
from geoloc_core.simulation.drive import Drive
from geoloc_core.simulation.world import aerial_image, write_geotiff

_JPEG_QUALITY = 92
_TRUTH_RATE_HZ = 20.0

# Called with the number of pictures done since its last call.
Progress = Callable[[int], Any]


def write_drive(
    out: Path, drive: Drive, *, map_gsd: float = 0.15, progress: Progress | None = None
) -> tuple[Path, Path]:
    """Renders a drive into a folder.

    Args:
        out: Folder; `drive/` (the bag), `map.tif` and `drive.json` are written there.
        drive: What is driven.
        map_gsd: Of the aerial map, m/px.
        progress: Told of every picture done.

    Returns:
        Paths of the bag and of the map.

    Raises:
        BagError: The bag's place is taken by something else.
    """
    out.mkdir(parents=True, exist_ok=True)
    map_path = out / 'map.tif'
    image, grid = aerial_image(drive.world, map_gsd)
    write_geotiff(map_path, image, grid, drive.world.datum)
    bag_path = out / 'drive'
    with BagWriter(bag_path, overwrite=True) as bag:
        write_bag(bag, drive, progress)
    (out / 'drive.json').write_text(json.dumps(facts(drive), indent=2) + '\n', encoding='utf-8')
    return bag_path, map_path


def facts(drive: Drive) -> dict[str, Any]:
    """What a person may want to know about a drive, as JSON."""
    trajectory = drive.trajectory
    distance = float(np.sum(trajectory.speed[:-1] * np.diff(trajectory.t)))
    return {
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
    }


def write_bag(bag: BagWriter, drive: Drive, progress: Progress | None = None) -> None:
    """Writes every message of a drive, in the order of their stamps.

    Args:
        bag: Open writer.
        drive: What is driven.
        progress: Told of every picture done.
    """
    _write_latched(bag, drive)
    waiting = sorted(_small_messages(drive), key=lambda item: item[0])
    info = _camera_info_fields(drive.rig.camera)
    next_small = 0
    for stamp, picture in drive.frames():
        while next_small < len(waiting) and waiting[next_small][0] <= stamp:
            bag.write(waiting[next_small][1], waiting[next_small][2])
            next_small += 1
        bag.write(topics.CAMERA_INFO, messages.camera_info_msg(stamp, **info))
        bgr = cv2.cvtColor(picture.image, cv2.COLOR_RGB2BGR)
        _, jpeg = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        bag.write(topics.COMPRESSED, messages.compressed_msg(stamp, jpeg.tobytes()))
        if progress is not None:
            progress(1)
    for _, topic, message in waiting[next_small:]:
        bag.write(topic, message)


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
