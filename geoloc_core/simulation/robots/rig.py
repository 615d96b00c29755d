# SPDX-License-Identifier: Apache-2.0
"""Robots and where their cameras and antennas sit."""

from dataclasses import dataclass

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
from geoloc_core.simulation.robots.trajectory import DrivingStyle, ROBOTS

Array = NDArray[np.float64]

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


@dataclass(frozen=True)
class Robot:
    """What drives, or walks.

    Attributes:
        style: How it moves.
        base_height: Of base_link's origin over the ground, m.
        camera_xyz: (3,) a camera that looks forward, in base_link, m.
        pitch_deg: By which it looks down.
        roof_xyz: (3,) a panorama camera, m.
        antenna_xyz: (3,) satellite antenna, m.
        room_m: No other car or person within this distance, m.
    """

    style: DrivingStyle
    base_height: float
    camera_xyz: tuple[float, float, float]
    pitch_deg: float
    roof_xyz: tuple[float, float, float]
    antenna_xyz: tuple[float, float, float]
    room_m: float


_CAR = Robot(
    ROBOTS['car'], 0.3, (1.3, 0.0, 1.3), 14.0, (0.4, 0.0, 1.6), (-0.4, 0.0, 1.2), room_m=7.0
)
MACHINES: dict[str, Robot] = {
    'car': _CAR,
    'delivery': Robot(
        ROBOTS['delivery'], 0.15, (0.25, 0.0, 0.5), 8.0, (0.0, 0.0, 1.0), (-0.2, 0.0, 0.9), 1.2
    ),
    'pedestrian': Robot(
        ROBOTS['pedestrian'], 1.0, (0.1, 0.0, 0.55), 8.0, (0.0, 0.0, 0.95), (0.0, 0.0, 0.9), 1.0
    ),
}


def machine(name: str) -> Robot:
    """A robot by name.

    Raises:
        ConfigError: There is none of that name.
    """
    if name not in MACHINES:
        raise ConfigError(f'unknown robot {name!r}: expected one of {", ".join(MACHINES)}')
    return MACHINES[name]


def make_rig(kind: str = 'pinhole', rate_hz: float = 4.0, robot: Robot = _CAR) -> CameraRig:
    """A camera of a usual kind on a robot.

    Args:
        kind: 'pinhole' (95 degrees wide, slightly distorted), 'fisheye' (180 degrees) or
            'panorama' (equirectangular, on the roof).
        rate_hz: Pictures a second.
        robot: What carries it.

    Returns:
        The rig.

    Raises:
        ConfigError: No such kind.
    """
    x, y, z = robot.camera_xyz
    if kind == 'pinhole':
        lens = PinholeCamera(
            480, 300, 220.0, 220.0, 238.7, 151.2, (-0.06, 0.012, 0.0005, -0.0003, 0.0)
        )
        return CameraRig(lens, mounted(x, y, z, robot.pitch_deg), rate_hz)
    if kind == 'fisheye':
        fisheye = FisheyeCamera(
            480, 360, 148.0, 148.0, 239.1, 180.3, (-0.012, 0.004, -0.002, 0.0003)
        )
        return CameraRig(fisheye, mounted(x, y, z, robot.pitch_deg + 11.0), rate_hz)
    if kind == 'panorama':
        panorama = EquirectangularCamera(768, 384)
        return CameraRig(panorama, mounted(*robot.roof_xyz, 0.0), rate_hz)
    raise ConfigError(f'unknown camera {kind!r}: expected pinhole, fisheye or panorama')
