# SPDX-License-Identifier: Apache-2.0
"""The frozen records that travel through geoloc. No behaviour beyond checking themselves.

Conventions (README, "Conventions"): `map` is local ENU at a datum; `base_link` x forward, y left,
z up; optical frames z forward, x right, y down; yaw in rad, 0 = east, counter-clockwise;
`T_a_b` takes points of b into a; covariances in m and rad, order (x, y, z, rot x, rot y, rot z).
"""

from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from geoloc_core.geometry.cameras import AbstractCamera
from geoloc_core.geometry.grid import Grid

Array = NDArray[np.float64]


class Status(Enum):
    """What became of an input. Members are sentences a person can read."""

    OK = 'used'
    NO_PRIOR = 'no position to search around yet: waiting for a first fix or initial pose'
    NO_YAW = 'yaw is not known yet: drive a few metres, or give an initial pose or heading'
    NO_MAP = 'the map does not cover this place'
    NO_GROUND = 'the view sees too little of the ground'
    LOW_TEXTURE = 'the ground or the map shows too little structure to match'
    AMBIGUOUS = 'several places on the map look alike'
    GATED = 'contradicts the current estimate'
    STALE = 'older than the smoother still remembers'
    BAD_STAMP = 'stamp goes back in time or repeats'
    BAD_INPUT = 'content is damaged or impossible'
    NO_FIX = 'the receiver reports no fix'
    LOST = 'the estimate is too uncertain to be trusted'
    DROPPED = 'a newer frame arrived before this one was processed'


@dataclass(frozen=True)
class GroundView:
    """One camera frame near the ground.

    Attributes:
        stamp_ns: Acquisition time, carried unchanged to every output made from this view.
        image: (H, W, 3) uint8, RGB.
        camera: Its projection, for exactly this H and W.
        T_base_camera: (4, 4) camera optical frame -> base_link.
        depth: (H, W) float32 in m, NaN where invalid, or None. Along the optical axis, as depth
            cameras give it; for a panorama, or a piece of one, along the ray.
    """

    stamp_ns: int
    image: NDArray[np.uint8]
    camera: AbstractCamera
    T_base_camera: Array
    depth: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class AerialPatch:
    """A piece of aerial imagery, north-up in the map frame.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        mask: (H, W) bool, True where the map has imagery.
        grid: Its place in the map frame.
        attribution: Who must be named where it is shown; '' if nobody.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    grid: Grid
    attribution: str = ''

    @property
    def coverage(self) -> float:
        """Fraction of the patch that the map covers, 0..1."""
        return float(self.mask.mean())


@dataclass(frozen=True)
class GnssFix:
    """A satellite fix of the antenna.

    Attributes:
        stamp_ns: Time of validity.
        lat_deg: WGS84 latitude.
        lon_deg: WGS84 longitude.
        alt_m: Height over the ellipsoid, or NaN when the receiver gives none.
        cov_enu: (3, 3) m^2, positive definite.
        antenna_in_base: (3,) m, lever arm, or None for the configured one.
    """

    stamp_ns: int
    lat_deg: float
    lon_deg: float
    alt_m: float
    cov_enu: Array
    antenna_in_base: Array | None = None


@dataclass(frozen=True)
class OdometrySample:
    """A pose in the continuous odom frame.

    Attributes:
        stamp_ns: Time of validity.
        T_odom_base: (4, 4).
        linear: (3,) m/s in base_link, or None.
        angular: (3,) rad/s in base_link, or None.
    """

    stamp_ns: int
    T_odom_base: Array
    linear: Array | None = None
    angular: Array | None = None


@dataclass(frozen=True)
class ImuSample:
    """Rates in base_link axes.

    Attributes:
        stamp_ns: Time of validity.
        angular: (3,) rad/s.
        linear_acceleration: (3,) m/s^2, gravity included (reads +9.8 on z at rest), or None.
        R_world_base: (3, 3) orientation if the device gives one, else None. Only its roll and
            pitch are used: its yaw reference differs from driver to driver.
    """

    stamp_ns: int
    angular: Array
    linear_acceleration: Array | None = None
    R_world_base: Array | None = None


@dataclass(frozen=True)
class PosePrior:
    """Where the robot is believed to be before looking.

    Attributes:
        stamp_ns: Time it holds for.
        T_map_base: (4, 4).
        cov: (6, 6), order (x, y, z, rot x, rot y, rot z), map axes.
    """

    stamp_ns: int
    T_map_base: Array
    cov: Array


@dataclass(frozen=True)
class PoseVolume:
    """A distribution over (yaw, y, x) of base_link, each cell with its metric place.

    Attributes:
        log_prob: (K, H, W) float32, log-probabilities that sum (as exp) to one; -inf outside the
            prior. Rows run north to south.
        grid: Cells -> map frame metres.
        yaws: (K,) rad, bin centres, increasing by a constant step.
    """

    log_prob: NDArray[np.float32]
    grid: Grid
    yaws: Array


@dataclass(frozen=True)
class PoseMode:
    """One peak of a `PoseVolume`: position (m), yaw (rad) and the probability mass around it."""

    x: float
    y: float
    yaw: float
    mass: float


@dataclass(frozen=True)
class PoseMeasurement:
    """What one view says about the pose, or why it says nothing.

    Attributes:
        stamp_ns: The view's stamp.
        status: OK, or the reason why the pose fields are None.
        reasons: Details for people, e.g. 'coverage 12 % < 40 %'.
        T_map_base: (4, 4) or None.
        cov: (6, 6) or None; unobserved axes are large but bounded.
        likelihood_mean: (3,) x, y, yaw of the view alone (prior not multiplied in), or None.
            The smoother fuses this one, so that the prior is not counted twice.
        likelihood_cov: (3, 3) of the same, or None.
        modes: Peaks, best first.
        entropy: Of the posterior volume, nats; NaN if none.
        volume: The posterior volume, for overlays; None if not kept.
        patch: The aerial patch matched against; None if not kept.
        timings_ms: Stage name -> duration.
    """

    stamp_ns: int
    status: Status
    reasons: tuple[str, ...] = ()
    T_map_base: Array | None = None
    cov: Array | None = None
    likelihood_mean: Array | None = None
    likelihood_cov: Array | None = None
    modes: tuple[PoseMode, ...] = ()
    entropy: float = float('nan')
    volume: PoseVolume | None = None
    patch: AerialPatch | None = None
    timings_ms: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class PoseEstimate:
    """The answer: a pose with a covariance that can be believed, or the reason for none.

    Attributes:
        stamp_ns: Time the pose holds for (a frame's own stamp in answer to a view).
        status: OK; LOST (pose given but too uncertain); or why there is none.
        reasons: Details for people.
        T_map_base: (4, 4) or None.
        cov: (6, 6) symmetric positive definite, map axes, or None.
        linear: (3,) m/s in base_link, or None.
        angular: (3,) rad/s in base_link, or None.
        measurement: What the view said, if this answers one; its status tells the frame's fate.
    """

    stamp_ns: int
    status: Status
    reasons: tuple[str, ...] = ()
    T_map_base: Array | None = None
    cov: Array | None = None
    linear: Array | None = None
    angular: Array | None = None
    measurement: PoseMeasurement | None = None
