# SPDX-License-Identifier: Apache-2.0
"""One drive through a rendered world: what every sensor reports, and the truth beside it."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
import os

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import ConfigError
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import (
    AbstractCamera,
    EquirectangularCamera,
    FisheyeCamera,
    PinholeCamera,
)
from geoloc_core.geometry.geodesy import EnuFrame
from geoloc_core.simulation.gnss import gnss_record, GnssModel, GnssRecord
from geoloc_core.simulation.render.renderer import render, Rendering
from geoloc_core.simulation.sensors import (
    imu_samples,
    ImuModel,
    odometry_samples,
    OdometryModel,
    stamp_ns_from,
)
from geoloc_core.simulation.trajectory import make_trajectory, Trajectory
from geoloc_core.simulation.world import World
from geoloc_core.types import GnssFix, ImuSample, OdometrySample

Array = NDArray[np.float64]

# Every drive starts at the same moment, so that the same seed gives the same bytes.
START_NS = 1_750_000_000 * 10**9
# Optical axes (z forward, x right, y down) in a body's axes (x forward, y left, z up).
R_BODY_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


@dataclass(frozen=True)
class CameraRig:
    """A camera on the car.

    Attributes:
        camera: Its projection.
        T_base_camera: (4, 4) optical frame -> base_link.
        rate_hz: Pictures a second.
    """

    camera: AbstractCamera
    T_base_camera: Array
    rate_hz: float = 4.0


def mounted(x: float, y: float, z: float, pitch_deg: float) -> Array:
    """T_base_camera (4, 4) of a camera looking forward, tilted down by `pitch_deg`."""
    return se3.from_xyz_rpy(x, y, z, 0.0, np.radians(pitch_deg), 0.0) @ se3.make(
        R_BODY_OPTICAL, np.zeros(3)
    )


def make_rig(kind: str = 'pinhole', rate_hz: float = 4.0) -> CameraRig:
    """A car's camera of a usual kind.

    Args:
        kind: 'pinhole' (95 degrees wide, slightly distorted), 'fisheye' (180 degrees) or
            'panorama' (equirectangular, on the roof).
        rate_hz: Pictures a second.

    Returns:
        The rig.

    Raises:
        ConfigError: No such kind.
    """
    if kind == 'pinhole':
        lens = PinholeCamera(
            480, 300, 220.0, 220.0, 238.7, 151.2, (-0.06, 0.012, 0.0005, -0.0003, 0.0)
        )
        return CameraRig(lens, mounted(1.3, 0.0, 1.3, 14.0), rate_hz)
    if kind == 'fisheye':
        fisheye = FisheyeCamera(
            480, 360, 148.0, 148.0, 239.1, 180.3, (-0.012, 0.004, -0.002, 0.0003)
        )
        return CameraRig(fisheye, mounted(1.3, 0.0, 1.3, 25.0), rate_hz)
    if kind == 'panorama':
        return CameraRig(EquirectangularCamera(768, 384), mounted(0.4, 0.0, 1.6, 0.0), rate_hz)
    raise ConfigError(f'unknown camera {kind!r}: expected pinhole, fisheye or panorama')


@dataclass(frozen=True)
class Drive:
    """A car's drive with all its sensors.

    Attributes:
        world: Where.
        trajectory: True motion.
        rig: Camera.
        gnss: Receiver.
        odometry: Wheels and gyroscope.
        imu: Inertial unit.
        seed: Of every sensor's errors.
        start_ns: Stamp of the start.
    """

    world: World
    trajectory: Trajectory
    rig: CameraRig
    gnss: GnssModel = field(default_factory=GnssModel)
    odometry: OdometryModel = field(default_factory=OdometryModel)
    imu: ImuModel = field(default_factory=ImuModel)
    seed: int = 0
    start_ns: int = START_NS

    @property
    def frame(self) -> EnuFrame:
        """The map frame."""
        return EnuFrame(self.world.datum)

    @cached_property
    def gnss_record(self) -> GnssRecord:
        """Fixes and moments without, with the number of satellites."""
        buildings = self.world.city.buildings
        return gnss_record(
            self.trajectory, self.frame, self.gnss, self.seed, self.start_ns, buildings
        )

    def fixes(self) -> list[GnssFix]:
        """Fixes, none during outages."""
        return self.gnss_record.fixes

    def outage_stamps(self) -> list[int]:
        """Stamps of the messages that say 'no fix'."""
        return self.gnss_record.lost_ns

    def odometry_samples(self) -> list[OdometrySample]:
        """Dead reckoning."""
        return odometry_samples(self.trajectory, self.odometry, self.seed, self.start_ns)

    def imu_samples(self) -> list[ImuSample]:
        """Rates and specific force."""
        return imu_samples(self.trajectory, self.imu, self.seed, self.start_ns)

    def frame_times(self) -> Array:
        """Times of the pictures, s since the start; none falls on another sensor's stamp."""
        return np.arange(0.013, self.trajectory.duration, 1 / self.rig.rate_hz)

    def stamp_ns(self, t: float) -> int:
        """Stamp of a time since the start, s."""
        return stamp_ns_from(self.start_ns, t)

    def frames(self, workers: int | None = None) -> Iterator[tuple[int, Rendering]]:
        """Renders the drive's pictures, in order.

        Args:
            workers: Threads; as many as there are processors if None. Any number gives the same
                bytes.

        Yields:
            (stamp_ns, rendering).
        """
        scene = self.world.scene()
        count = workers or os.cpu_count() or 1

        def shoot(i: int, t: float) -> Rendering:
            T_map_camera = self.trajectory.at(t) @ self.rig.T_base_camera
            return render(scene, self.rig.camera, T_map_camera, noise_seed=(self.seed << 20) + i)

        with ThreadPoolExecutor(count) as pool:
            pending: deque[tuple[float, Future[Rendering]]] = deque()
            for i, t in enumerate(self.frame_times()):
                pending.append((t, pool.submit(shoot, i, float(t))))
                # A short queue: pictures are large, and the writer may be slower than the pool.
                if len(pending) > 2 * count:
                    done, future = pending.popleft()
                    yield self.stamp_ns(done), future.result()
            while pending:
                done, future = pending.popleft()
                yield self.stamp_ns(done), future.result()


def make_drive(
    world: World,
    *,
    seed: int = 0,
    duration: float = 160.0,
    camera: str = 'pinhole',
    rate_hz: float = 4.0,
    outage: tuple[float, float] | None = (60.0, 120.0),
    gnss: GnssModel | None = None,
) -> Drive:
    """A drive with usual sensors.

    Args:
        world: Where.
        seed: Of the route and of every error.
        duration: s.
        camera: See `make_rig`.
        rate_hz: Pictures a second.
        outage: (start, end) of the span without satellites, s; none if None.
        gnss: A receiver of another quality; its own outages are kept if `outage` is None.

    Returns:
        The drive; nothing is rendered yet.
    """
    receiver = gnss or GnssModel()
    if outage is not None:
        receiver = GnssModel(**{**receiver.__dict__, 'outages': (outage,)})
    return Drive(
        world=world,
        trajectory=make_trajectory(world.city, seed, duration),
        rig=make_rig(camera, rate_hz),
        gnss=receiver,
        seed=seed,
    )
