# SPDX-License-Identifier: Apache-2.0
"""KITTI raw drives (Geiger et al., "Vision meets Robotics", IJRR 2013) as rosbag2 bags.

base_link is the point on the ground under the OXTS unit, x forward, y left, z up, fixed to the
car; the ground is where the camera's height over it says (1.65 m in KITTI's setup). OXTS angles
are those of REP-103 already: yaw 0 = east and counter-clockwise, positive pitch is nose down,
positive roll is left side up. The colour images are the rectified ones, so they follow P_rect_02
without distortion.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.bags import messages
from geoloc_core.bags import topics as names
from geoloc_core.bags.writer import BagWriter
from geoloc_core.errors import BagError, DataError
from geoloc_core.evaluation.trajectory import Trajectory
from geoloc_core.formats import kitti_raw
from geoloc_core.formats.kitti_raw import (
    ALT,
    AX,
    AY,
    AZ,
    CAMERA_HEIGHT_M,
    LAT,
    LON,
    PITCH,
    POS_ACCURACY,
    ROLL,
    VF,
    VL,
    VU,
    WU,
    WX,
    WY,
    WZ,
    YAW,
)
from geoloc_core.geometry import se3
from geoloc_core.geometry.geodesy import Datum, EnuFrame

Array = NDArray[np.float64]


@dataclass(frozen=True)
class KittiOptions:
    """How a drive becomes a bag.

    Attributes:
        gnss_noise_m: Standard deviation per horizontal axis added to the fixes, m (1.5 times it
            vertically). 0 keeps the INS positions.
        gnss_correlation_s: Time over which that noise stays alike (first-order Gauss-Markov), s;
            0 makes it white.
        gnss_cuts: (start, end) in s since the first packet without any fix.
        odom_scale: Factor on the odometry's speed, as of a wrong wheel radius.
        odom_drift_deg: Random walk of the odometry's yaw, degrees per root second.
        gyro_bias_deg_s: Added to the yaw rate of the odometry and of the IMU, degrees/s.
        seed: Of all noise.
        raw_images: Write decoded rgb8 images; otherwise the files as they are, compressed.
        every: Write one camera frame of so many.
        offset: Index of the first camera frame written.
        camera_height_m: Height of the colour camera over the ground, m.
        camera_rpy_deg: Small turn (roll, pitch, yaw) of the camera about the axes of base_link
            on top of KITTI's calibration, degrees; `geoloc bag
            refine-mount` finds it.
    """

    gnss_noise_m: float = 0.0
    gnss_correlation_s: float = 0.0
    gnss_cuts: tuple[tuple[float, float], ...] = ()
    odom_scale: float = 1.0
    odom_drift_deg: float = 0.0
    gyro_bias_deg_s: float = 0.0
    seed: int = 0
    raw_images: bool = False
    every: int = 1
    offset: int = 0
    camera_height_m: float = CAMERA_HEIGHT_M
    camera_rpy_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)


class KittiDrive:
    """A KITTI raw drive on disk (synchronised and rectified, the `_sync` folders)."""

    def __init__(
        self,
        folder: str | Path,
        camera_height_m: float = CAMERA_HEIGHT_M,
        camera_rpy_deg: tuple[float, float, float] = (0.0, 0.0, 0.0),
    ) -> None:
        """Reads the drive's navigation packets and calibration; images stay on disk.

        Args:
            folder: The drive's folder (with `oxts` and `image_02` in it, the calibration files
                beside it), or one above that holds a single drive.
            camera_height_m: Height of the colour camera over the ground, m.
            camera_rpy_deg: See `KittiOptions`.

        Raises:
            BagError: There is no drive, more than one, or a file of it is missing or damaged.
        """
        self.folder = _drive_folder(Path(folder))
        self.stamps_ns = _timestamps(self.folder / 'oxts' / 'timestamps.txt')
        files = sorted((self.folder / 'oxts' / 'data').glob('*.txt'))
        if len(files) != len(self.stamps_ns) or not files:
            raise BagError(
                f'{self.folder / "oxts"} has {len(files)} packets for {len(self.stamps_ns)} stamps'
            )
        calibration = self.folder.parent
        try:
            self.oxts = np.array([kitti_raw.read_packet(file) for file in files])
            calib = kitti_raw.read_calibration(calibration)
        except DataError as error:
            raise BagError(str(error)) from error
        self.K: Array = calib.K
        T_imu_camera = calib.T_imu_camera
        if T_imu_camera is None:
            raise BagError(
                f'{calibration} holds neither calib_imu_to_velo.txt nor calib_velo_to_cam.txt: '
                'a bag needs both for the place of its camera'
            )
        self.T_base_imu: Array = se3.make(
            np.eye(3), [0.0, 0.0, camera_height_m - T_imu_camera[2, 3]]
        )
        self.T_base_camera: Array = turned(self.T_base_imu @ T_imu_camera, camera_rpy_deg)
        self.images = self._images()

    def _images(self) -> list[tuple[int, int, Path]]:
        """(frame number, stamp, file) of camera 2; the folder with more frames is taken."""
        found: list[tuple[int, int, Path]] = []
        for name, suffix in (('image_02', 'png'), ('image_02_jpeg', 'jpg')):
            files = sorted((self.folder / name / 'data').glob(f'*.{suffix}'))
            if len(files) <= len(found):
                continue
            stamps = _timestamps(self.folder / name / 'timestamps.txt')
            if int(files[-1].stem) >= len(stamps):
                raise BagError(f'{files[-1]} has no stamp: timestamps.txt holds {len(stamps)}')
            found = [(int(f.stem), int(stamps[int(f.stem)]), f) for f in files]
        if not found:
            raise BagError(
                f'{self.folder} has no colour images: expected image_02/data/*.png or '
                f'image_02_jpeg/data/*.jpg'
            )
        return found

    @cached_property
    def datum(self) -> Datum:
        """base_link's place at the first packet."""
        lat, lon, alt = self.oxts[0, [LAT, LON, ALT]]
        return Datum(float(lat), float(lon), float(alt - self.T_base_imu[2, 3]))

    @cached_property
    def truth(self) -> Trajectory:
        """T_map_base at the packets' stamps, map being ENU at `datum`."""
        frame = EnuFrame(self.datum)
        xyz = frame.enu_from_geodetic(self.oxts[:, LAT], self.oxts[:, LON], self.oxts[:, ALT])
        # The INS measures yaw against true north where it is, not where the datum is.
        turn = frame.convergence(self.oxts[:, LAT], self.oxts[:, LON])
        T_imu_base = se3.inverse(self.T_base_imu)
        poses = [
            se3.from_xyz_rpy(*xyz[i], packet[ROLL], packet[PITCH], packet[YAW] + turn[i])
            @ T_imu_base
            for i, packet in enumerate(self.oxts)
        ]
        return Trajectory(self.stamps_ns, np.array(poses))


def convert(
    folder: str | Path,
    out: str | Path,
    options: KittiOptions | None = None,
    overwrite: bool = False,
    progress: Any = None,
) -> KittiDrive:
    """Writes a KITTI raw drive as a rosbag2 (mcap) with the topics of `bags.topics`.

    Args:
        folder: See `KittiDrive`.
        out: Folder of the new bag.
        options: Noise, outages, frames; the clean drive if None.
        overwrite: Replace a bag that is there.
        progress: Wraps the iterable of messages for a progress bar (such as `tqdm`).

    Returns:
        The drive that was converted.

    Raises:
        BagError: The drive cannot be read, or the bag not be written.
    """
    options = options or KittiOptions()
    drive = KittiDrive(folder, options.camera_height_m, options.camera_rpy_deg)
    entries = [*_images(drive, options), *_navigation(drive, options)]
    entries.sort(key=lambda entry: entry[0])
    if progress is not None:
        entries = progress(entries)
    with BagWriter(out, overwrite=overwrite) as bag:
        start = min(int(drive.stamps_ns[0]), drive.images[0][1])
        bag.write(names.TF_STATIC, _transforms(drive, start), start)
        bag.write(
            names.TRUTH_DATUM,
            messages.fix_msg(
                start,
                drive.datum.lat_deg,
                drive.datum.lon_deg,
                drive.datum.alt_m,
                np.eye(3) * 1e-4,
                frame_id=names.MAP_FRAME,
            ),
        )
        for _, topic, make in entries:
            bag.write(topic, make())
    return drive


def _images(drive: KittiDrive, options: KittiOptions) -> Iterator[tuple[int, str, Any]]:
    """Entries (stamp, topic, function that makes the message) of the camera."""
    first = cv2.imread(str(drive.images[0][2]))
    if first is None:
        raise BagError(f'{drive.images[0][2]} is not an image')
    height, width = first.shape[:2]
    for number, stamp, file in drive.images:
        if number < options.offset or (number - options.offset) % options.every:
            continue

        def info(stamp: int = stamp) -> Any:
            return messages.camera_info_msg(stamp, width, height, drive.K)

        def image(stamp: int = stamp, file: Path = file) -> Any:
            if not options.raw_images:
                kind = 'png' if file.suffix == '.png' else 'jpeg'
                return messages.compressed_msg(stamp, file.read_bytes(), kind)
            pixels = cv2.imread(str(file))
            if pixels is None or pixels.shape[:2] != (height, width):
                raise BagError(f'{file} is not an image of {width} x {height}')
            return messages.image_msg(stamp, cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))

        yield stamp, names.CAMERA_INFO, info
        yield stamp, names.IMAGE if options.raw_images else names.COMPRESSED, image


def _navigation(drive: KittiDrive, options: KittiOptions) -> Iterator[tuple[int, str, Any]]:
    """Entries of fix, odometry, imu and truth, one each a packet."""
    rng = np.random.default_rng(options.seed)
    since = (drive.stamps_ns - drive.stamps_ns[0]) * 1e-9
    fixes, covs = _noisy_fixes(drive, options, since, rng)
    odometry = _dead_reckoning(drive, options, since, rng)
    bias = np.radians(options.gyro_bias_deg_s)
    truth = drive.truth
    for i, packet in enumerate(drive.oxts):
        stamp = int(drive.stamps_ns[i])
        linear = packet[[VF, VL, VU]]
        angular = packet[[WX, WY, WZ]]
        measured = angular + np.array([0.0, 0.0, bias])
        if not any(start <= since[i] < end for start, end in options.gnss_cuts):
            yield stamp, names.FIX, lambda s=stamp, i=i: messages.fix_msg(s, *fixes[i], covs[i])
        yield (
            stamp,
            names.ODOMETRY,
            lambda s=stamp, i=i, v=linear * options.odom_scale, w=measured: messages.odometry_msg(
                s, odometry[i], v, w, twist_cov=np.diag([0.1**2] * 3 + [0.01**2] * 3)
            ),
        )
        R = se3.rotation_from_rpy(packet[ROLL], packet[PITCH], packet[YAW])
        yield (
            stamp,
            names.IMU,
            lambda s=stamp, w=measured, a=packet[[AX, AY, AZ]], R=R: messages.imu_msg(s, w, a, R),
        )
        yield (
            stamp,
            names.TRUTH,
            lambda s=stamp, i=i, v=linear, w=angular: messages.odometry_msg(
                s,
                truth.poses[i],
                v,
                w,
                pose_cov=np.diag([0.02**2] * 3 + [0.001**2] * 3),
                frame_id=names.MAP_FRAME,
            ),
        )


def _noisy_fixes(
    drive: KittiDrive, options: KittiOptions, since: Array, rng: np.random.Generator
) -> tuple[list[tuple[float, float, float]], Array]:
    """(lat, lon, alt) of the antenna and its (3, 3) covariance, one a packet."""
    frame = EnuFrame(drive.datum)
    xyz = frame.enu_from_geodetic(drive.oxts[:, LAT], drive.oxts[:, LON], drive.oxts[:, ALT])
    std = options.gnss_noise_m * np.array([1.0, 1.0, 1.5])
    white = rng.standard_normal((len(since), 3))
    noise = white.copy()
    if options.gnss_correlation_s > 0:
        for i in range(1, len(since)):
            keep = np.exp(-(since[i] - since[i - 1]) / options.gnss_correlation_s)
            noise[i] = keep * noise[i - 1] + np.sqrt(1 - keep**2) * white[i]
    lat, lon, alt = frame.geodetic_from_enu(xyz + noise * std)
    accuracy = drive.oxts[:, POS_ACCURACY]
    covs = np.array([np.diag(std**2 + max(a, 0.01) ** 2) for a in accuracy])
    return list(zip(lat, lon, alt, strict=True)), covs


def _dead_reckoning(
    drive: KittiDrive, options: KittiOptions, since: Array, rng: np.random.Generator
) -> Array:
    """(N, 4, 4) T_odom_base integrated from the INS velocities as wheels and a gyro would.

    Planar, as the wheel odometry of a real car: vf and vl are parallel to the ground, and roll
    and pitch are the IMU's to tell.
    """
    speed = drive.oxts[:, [VF, VL]] * options.odom_scale
    rate = drive.oxts[:, WU] + np.radians(options.gyro_bias_deg_s)
    walk = np.radians(options.odom_drift_deg) * rng.standard_normal(len(since))
    x = y = yaw = 0.0
    poses = [se3.from_planar(x, y, yaw)]
    for i in range(1, len(since)):
        dt = since[i] - since[i - 1]
        turn = dt * (rate[i] + rate[i - 1]) / 2 + walk[i] * np.sqrt(dt)
        # The chord of an arc points half-way between its end headings.
        forward, left = dt * (speed[i] + speed[i - 1]) / 2
        cos, sin = np.cos(yaw + turn / 2), np.sin(yaw + turn / 2)
        x += cos * forward - sin * left
        y += sin * forward + cos * left
        yaw += turn
        poses.append(se3.from_planar(x, y, yaw))
    return np.array(poses)


def _transforms(drive: KittiDrive, stamp_ns: int) -> Any:
    return messages.static_transforms_msg(
        stamp_ns,
        [
            (names.BASE_FRAME, names.IMU_FRAME, drive.T_base_imu),
            # KITTI's positions are those of the OXTS unit, not of its antenna.
            (names.BASE_FRAME, names.GNSS_FRAME, drive.T_base_imu),
            (names.BASE_FRAME, names.CAMERA_FRAME, drive.T_base_camera),
        ],
    )


def turned(T_base_camera: Array, rpy_deg: tuple[float, float, float]) -> Array:
    """A mount (4, 4) turned in place by roll, pitch, yaw (degrees) about base_link's axes."""
    T = np.array(T_base_camera, dtype=np.float64)
    roll, pitch, yaw = (float(v) for v in np.radians(rpy_deg))
    T[:3, :3] = se3.rotation_from_rpy(roll, pitch, yaw) @ T[:3, :3]
    return T


def _drive_folder(folder: Path) -> Path:
    """The drive at or below a folder.

    Raises:
        BagError: None, or several.
    """
    if not folder.is_dir():
        raise BagError(f'no folder {folder}')
    found = [folder] if (folder / 'oxts' / 'data').is_dir() else []
    for pattern in ('*/oxts/data', '*/*/oxts/data'):
        found = found or [data.parents[1] for data in sorted(folder.glob(pattern))]
    if not found:
        raise BagError(
            f'{folder} holds no KITTI raw drive: expected <date>_drive_<number>_sync/oxts/data'
        )
    if len(found) > 1:
        raise BagError(f'{folder} holds {len(found)} drives; choose one, such as {found[0]}')
    return found[0]


def _timestamps(file: Path) -> NDArray[np.int64]:
    try:
        return kitti_raw.read_timestamps(file)
    except DataError as error:
        raise BagError(str(error)) from error
