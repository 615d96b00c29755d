# SPDX-License-Identifier: Apache-2.0
"""One drive through a rendered world: what every sensor reports, and the truth beside it."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
import os
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import ConfigError
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import PinholeCamera
from geoloc_core.geometry.geodesy import EnuFrame
from geoloc_core.geometry.grid import Grid
from geoloc_core.simulation.conditions.settings import Conditions
from geoloc_core.simulation.render.renderer import render, Rendering
from geoloc_core.simulation.render.scene import Scene
from geoloc_core.simulation.robots.depth_camera import DEPTH_MODELS, DepthCamera
from geoloc_core.simulation.robots.gnss import gnss_record, GnssModel, GnssRecord
from geoloc_core.simulation.robots.rig import CameraRig, machine, make_rig, mounted, R_BODY_OPTICAL
from geoloc_core.simulation.robots.sensors import (
    imu_samples,
    ImuModel,
    odometry_samples,
    OdometryModel,
    stamp_ns_from,
)
from geoloc_core.simulation.robots.trajectory import make_trajectory, Trajectory
from geoloc_core.simulation.world import aerial_grid, aerial_image, World
from geoloc_core.types import GnssFix, ImuSample, OdometrySample

if TYPE_CHECKING:
    from geoloc_core.simulation.conditions.draws import AerialDay, GroundDay

Array = NDArray[np.float64]

__all__ = [
    'CameraRig',
    'Drive',
    'DriveFrame',
    'R_BODY_OPTICAL',
    'START_NS',
    'make_drive',
    'make_rig',
    'mounted',
    'sensor_models',
]

# Every drive starts at the same moment, so that the same seed gives the same bytes.
START_NS = 1_750_000_000 * 10**9
# Streaks of motion are as long as the day says at this speed (m/s) or at this yaw rate (rad/s).
_BLUR_SPEED, _BLUR_RATE = 8.0, 0.5
# An automatic exposure overshoots and recovers within about this time, s.
_EXPOSURE_S = 23.0


@dataclass(frozen=True)
class DriveFrame:
    """One picture of a drive.

    Attributes:
        image: (H, W, 3) uint8 RGB as the camera gives it, with what the day did to it.
        truth: The rendering before that: exact depth, range and labels.
        depth_m: (H, W) float32 what the depth camera reports, in the colour camera's pixels, NaN
            where it has nothing; None without such a camera.
        T_map_base: (4, 4) true pose at the stamp.
    """

    image: NDArray[np.uint8]
    truth: Rendering
    depth_m: NDArray[np.float32] | None
    T_map_base: Array


@dataclass(frozen=True)
class Drive:
    """A robot's drive with all its sensors.

    Attributes:
        world: Where.
        trajectory: True motion.
        rig: Camera.
        gnss: Receiver.
        odometry: Wheels and gyroscope.
        imu: Inertial unit.
        seed: Of every sensor's errors, of the day and of the traffic.
        start_ns: Stamp of the start.
        conditions: What the day of the drive and that of the flight are drawn from; None for a
            clear summer's day whose aerial picture shows other parked cars in another light.
        depth: A depth camera beside the colour camera, or None.
        room_m: No moving car or person comes nearer to the robot, m.
    """

    world: World
    trajectory: Trajectory
    rig: CameraRig
    gnss: GnssModel = field(default_factory=GnssModel)
    odometry: OdometryModel = field(default_factory=OdometryModel)
    imu: ImuModel = field(default_factory=ImuModel)
    seed: int = 0
    start_ns: int = START_NS
    conditions: Conditions | None = None
    depth: DepthCamera | None = None
    room_m: float = 7.0

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

    @cached_property
    def day(self) -> 'GroundDay | None':
        """The day of the drive, or None without conditions."""
        from geoloc_core.simulation.conditions.draws import draw_ground

        return None if self.conditions is None else draw_ground(self.conditions, self.seed)

    @cached_property
    def flight(self) -> 'AerialDay | None':
        """The day of the aerial picture, or None without conditions."""
        from geoloc_core.simulation.conditions.draws import draw_aerial

        return None if self.conditions is None else draw_aerial(self.conditions, self.seed)

    def aerial(self, gsd: float, workers: int | None = None) -> tuple[NDArray[np.uint8], Grid]:
        """The aerial picture of the whole city, and where it claims to lie."""
        if self.flight is None:
            return aerial_image(self.world, gsd)
        from geoloc_core.simulation.conditions.days import aerial_view

        view = aerial_view(self.world, self.flight, aerial_grid(self.world, gsd), workers)
        return view.image, view.grid

    @property
    def T_base_camera(self) -> Array:
        """Where the camera really is, (4, 4): the mount, bent about its centre by the day's tilt.

        `rig.T_base_camera` is what the robot believes.
        """
        T = self.rig.T_base_camera
        if self.day is None:
            return T
        return se3.make(self.day.T_base_tilted[:3, :3] @ T[:3, :3], T[:3, 3])

    def frames(self, workers: int | None = None) -> Iterator[tuple[int, DriveFrame]]:
        """Renders the drive's pictures, in order.

        Args:
            workers: Threads; as many as there are processors if None. Any number gives the same
                bytes.

        Yields:
            (stamp_ns, frame).
        """
        scene = self._scene()
        count = workers or os.cpu_count() or 1
        with ThreadPoolExecutor(count) as pool:
            pending: deque[tuple[float, Future[DriveFrame]]] = deque()
            try:
                for i, t in enumerate(self.frame_times()):
                    pending.append((t, pool.submit(self._shoot, scene, i, float(t))))
                    # A short queue: pictures are large, the writer may be slower than the pool.
                    if len(pending) > 2 * count:
                        done, future = pending.popleft()
                        yield self.stamp_ns(done), future.result()
                while pending:
                    done, future = pending.popleft()
                    yield self.stamp_ns(done), future.result()
            finally:
                # Whoever stops listening does not wait for pictures nobody will see.
                for _, future in pending:
                    future.cancel()

    def _scene(self) -> Scene:
        if self.day is None:
            return self.world.scene()
        from geoloc_core.simulation.conditions.days import ground_scene

        return ground_scene(self.world, self.day)

    def _shoot(self, scene: Scene, i: int, t: float) -> DriveFrame:
        """Picture number i, at time t."""
        T_map_base = self.trajectory.at(t)
        T_map_camera = T_map_base @ self.T_base_camera
        if self.day is not None:
            scene = self._with_traffic(scene, t, T_map_base)
        noise_seed = (self.seed << 20) + i
        truth = render(scene, self.rig.camera, T_map_camera, noise_seed=noise_seed)
        image = truth.image
        if self.day is not None:
            from geoloc_core.simulation.conditions.lens import expose

            day = self._day_at(self.day, t)
            image = expose(image, day, i, truth.range_m, self.rig.camera)
        depth_m = None
        if self.depth is not None and isinstance(self.rig.camera, PinholeCamera):
            measured = self.depth.take(scene, T_map_camera, noise_seed)
            depth_m = self.depth.report(measured, self.rig.camera)
        return DriveFrame(image, truth, depth_m, T_map_base)

    def _day_at(self, day: 'GroundDay', t: float) -> 'GroundDay':
        """The day's camera at a moment: no streaks at rest, and an exposure that wanders."""
        speed = float(self.trajectory.sample(self.trajectory.speed, np.array(t)))
        rates = self.trajectory.sample(self.trajectory.angular, np.array([t]))[0]
        way = min(1.0, speed / _BLUR_SPEED + float(np.linalg.norm(rates)) / _BLUR_RATE)
        wave = 0.6 + 0.4 * np.cos(2 * np.pi * t / _EXPOSURE_S)
        return replace(
            day, motion_blur_px=day.motion_blur_px * way, exposure_ev=day.exposure_ev * wave
        )

    def _with_traffic(self, scene: Scene, t: float, T_map_base: Array) -> Scene:
        """The scene with the cars and people that move through it at a moment."""
        day = self.day
        if day is None or not (day.cars_per_km or day.people_per_km):
            return scene
        from geoloc_core.simulation.city import traffic
        from geoloc_core.simulation.mesh import traffic_mesh

        x, y = (float(v) for v in T_map_base[:2, 3])
        cars, people = traffic(
            self.world.city,
            self.seed,
            t,
            cars_per_km=day.cars_per_km,
            people_per_km=day.people_per_km,
            avoid_xy=(x, y),
            avoid_m=self.room_m,
        )
        return scene.with_traffic(traffic_mesh(cars, people))


def sensor_models(
    level: str, gnss: GnssModel | None = None
) -> tuple[GnssModel, OdometryModel, ImuModel]:
    """Sensors of a quality that goes with a preset of conditions.

    Args:
        level: 'none' (noise, scale and drift), 'easy' (satellites behind houses, turns with errors
            of their own, biases that wander) or 'hard' (worse in all of it, wheels that slip, and
            a receiver that believes too much in itself).
        gnss: Antenna, outages and rate are taken from it.

    Returns:
        Receiver, wheels, inertial unit.

    Raises:
        ConfigError: No such level.
    """
    receiver = gnss or GnssModel()
    if level == 'none':
        return receiver, OdometryModel(), ImuModel()
    if level == 'easy':
        return (
            replace(receiver, std_m=2.5, multipath=True, smooth_walls=0.5),
            OdometryModel(scale=1.01, turn_scale_std=0.01, tick_m=0.02),
            ImuModel(gyro_walk=5e-5, accel_walk=5e-4),
        )
    if level == 'hard':
        return (
            replace(
                receiver, std_m=3.5, multipath=True, smooth_walls=0.8, covariance='optimistic'
            ),
            OdometryModel(
                scale=1.03, yaw_drift=float(np.radians(0.2)), turn_scale_std=0.03, grip=1.2,
                slip=0.08, tick_m=0.04,
            ),
            ImuModel(gyro_walk=2e-4, gyro_std=0.004, accel_walk=2e-3, accel_std=0.1),
        )  # fmt: skip
    raise ConfigError(f'unknown sensors {level!r}: expected none, easy or hard')


def make_drive(
    world: World,
    *,
    seed: int = 0,
    duration: float = 160.0,
    camera: str = 'pinhole',
    rate_hz: float = 4.0,
    outage: tuple[float, float] | None = (60.0, 120.0),
    gnss: GnssModel | None = None,
    robot: str | None = None,
    conditions: Conditions | None = None,
    sensors: str = 'none',
    depth: bool = False,
    trajectory: Trajectory | None = None,
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
        robot: A name in `rig.MACHINES`; a calmly driven car if None.
        conditions: Of the day and of the aerial picture; see `Drive`.
        sensors: See `sensor_models`.
        depth: With a stereo depth camera, registered to the colour camera; needs 'pinhole'.
        trajectory: A motion of its own, whose length in time then counts; drawn if None.

    Returns:
        The drive; nothing is rendered yet.

    Raises:
        ConfigError: A name is unknown, or a depth camera is wanted beside a lens that is none of
            a pinhole.
    """
    body = machine(robot or 'car')
    rig = make_rig(camera, rate_hz, body)
    receiver = gnss or GnssModel(antenna_in_base=body.antenna_xyz)
    if outage is not None:
        receiver = replace(receiver, outages=(outage,))
    receiver, wheels, inertial = sensor_models(sensors, receiver)
    return Drive(
        world=world,
        trajectory=trajectory
        or make_trajectory(
            world.city,
            seed,
            duration,
            style=None if robot is None else body.style,
            base_height=body.base_height,
        ),
        rig=rig,
        gnss=receiver,
        odometry=wheels,
        imu=inertial,
        seed=seed,
        conditions=conditions,
        depth=_stereo(rig) if depth else None,
        room_m=body.room_m,
    )


def _stereo(rig: CameraRig) -> DepthCamera:
    """A depth camera 5 cm to the right of the colour camera, with rectified pictures."""
    colour = rig.camera
    if not isinstance(colour, PinholeCamera):
        raise ConfigError('a depth camera goes with the pinhole camera: choose camera pinhole')
    plain = replace(colour, distortion=())
    right = se3.make(np.eye(3), (0.05, 0.0, 0.0))
    return DepthCamera(plain, DEPTH_MODELS['stereo'], right, registered=True)
