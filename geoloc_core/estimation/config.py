# SPDX-License-Identifier: Apache-2.0
"""Every setting of the estimator, each with its default in this one place.

Plain floats, ints, bools, strings and tuples only, so that a parameter server can carry them.
Noise is given as one-sigma values; a random walk "per sqrt(m)" grows with the root of the way.
"""

from dataclasses import dataclass, field

from geoloc_core.errors import ConfigError


@dataclass(frozen=True)
class OdometryConfig:
    """How far odometry and gyro are believed.

    Attributes:
        max_speed: Faster than this between two samples is a teleport, m/s.
        max_yaw_rate: Faster turning than this between two samples is a teleport, rad/s.
        max_jump: So far beside its last speed a step may land before it is a teleport, m.
        max_accel: The same grows by max_accel dt^2, m/s^2.
        max_gap_s: A longer silence breaks the track: the motion across it is guessed, not read.
        extrapolate_s: How long the last speed is carried on when odometry is silent.
        yaw_source: 'odometry', 'gyro', or 'auto': the gyro wherever an IMU speaks.
        std_along_per_sqrt_m: Random walk along the track, m / sqrt(m).
        std_across_per_sqrt_m: Random walk across the track (slip), m / sqrt(m).
        std_vertical_per_sqrt_m: Random walk of height, m / sqrt(m).
        std_tilt_per_sqrt_m: Random walk of roll and pitch, rad / sqrt(m).
        std_yaw_per_sqrt_m: Random walk of yaw with distance, rad / sqrt(m).
        std_yaw_per_sqrt_s: Random walk of yaw with time while the robot moves, rad / sqrt(s).
        std_yaw_per_rad: Error of a turn as a fraction of it.
        std_rest: Floor of one step's position noise, m / sqrt(s).
    """

    max_speed: float = 40.0
    max_yaw_rate: float = 4.0
    max_jump: float = 1.0
    max_accel: float = 20.0
    max_gap_s: float = 1.0
    extrapolate_s: float = 1.0
    yaw_source: str = 'auto'
    std_along_per_sqrt_m: float = 0.05
    std_across_per_sqrt_m: float = 0.05
    std_vertical_per_sqrt_m: float = 0.05
    std_tilt_per_sqrt_m: float = 0.01
    std_yaw_per_sqrt_m: float = 0.003
    std_yaw_per_sqrt_s: float = 0.012
    std_yaw_per_rad: float = 0.01
    std_rest: float = 0.01


@dataclass(frozen=True)
class MotionConfig:
    """What is assumed of the motion where no odometry tells it.

    Attributes:
        std_accel: How quickly speed may change, m/s^2.
        std_yaw_rate: How quickly the robot may turn, rad/s.
        std_across: Sideways slip of a robot that drives forward, m/s.
        std_vertical: How quickly its height may change, m/s.
        std_tilt_rate: How quickly it may roll and pitch, rad/s; a robot on wheels does not, what
            is carried by hand does.
        std_broken_speed: Speed assumed possible across a broken stretch of odometry, m/s.
        std_broken_yaw: Yaw lost across a broken stretch of odometry, rad.
    """

    std_accel: float = 2.0
    std_yaw_rate: float = 0.3
    std_across: float = 0.2
    std_vertical: float = 0.1
    std_tilt_rate: float = 0.0
    std_broken_speed: float = 3.0
    std_broken_yaw: float = 0.5


@dataclass(frozen=True)
class GnssConfig:
    """How far fixes are believed.

    Attributes:
        antenna_in_base: Lever arm of the antenna in base_link, m.
        std_min: Horizontal standard deviation never taken smaller than this, m.
        std_max: A fix that claims to be worse than this is not used, m.
        std_vertical_min: The same floor for the height, m.
        correlation_s: Time over which the receiver's error stays alike; consecutive fixes are
            weighed down so that many of them do not pretend to be independent.
        std_factor: Receivers claim too little: their deviation is taken this much larger.
        gate_sigma: Innovations beyond this many sigmas are gated.
        robust_width: Width of the Cauchy kernel on what passes the gate, sigmas.
        max_abs_alt_m: Heights beyond this are impossible.
    """

    antenna_in_base: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std_min: float = 0.3
    std_max: float = 100.0
    std_vertical_min: float = 0.6
    correlation_s: float = 20.0
    std_factor: float = 1.5
    gate_sigma: float = 5.0
    robust_width: float = 3.0
    max_abs_alt_m: float = 20000.0


@dataclass(frozen=True)
class VisionConfig:
    """How far measurements made from views are believed.

    Attributes:
        std_position_min: Floor of their position deviation, m.
        std_yaw_min: Floor of their yaw deviation, rad.
        correlation_s: Time over which the error of consecutive views stays alike.
        gate_sigma: Innovations beyond this many sigmas are gated.
        robust_width: Width of the Cauchy kernel on what passes the gate, sigmas.
        max_prior_std: With a prior wider than this no view is matched (LOST), m.
    """

    std_position_min: float = 0.05
    std_yaw_min: float = 0.003
    correlation_s: float = 0.2
    gate_sigma: float = 5.0
    robust_width: float = 3.0
    max_prior_std: float = 50.0


@dataclass(frozen=True)
class YawInitConfig:
    """How the first yaw is found from the motion and the fixes.

    Attributes:
        min_distance: Metres to be driven at least.
        max_std: The yaw is taken once its standard deviation falls below this, rad.
        window_s: Fixes older than this are not looked at.
        assume_forward: Without odometry, take the course over ground as the yaw.
    """

    min_distance: float = 5.0
    max_std: float = 0.25
    window_s: float = 120.0
    assume_forward: bool = True


@dataclass(frozen=True)
class CalibrationConfig:
    """Estimation of wheel scale and gyro bias on the way.

    Attributes:
        enabled: Whether what is found is applied.
        min_distance: Metres driven under fixes before a result is applied.
        std_scale: How far the scale may be from one, beforehand.
        std_bias: How far the yaw rate may be off, beforehand, rad/s.
        std_bias_walk: How the bias wanders, rad/s / sqrt(s).
        max_scale_change: Hard bound of |scale - 1|.
        max_bias: Hard bound of the bias, rad/s.
        std_scale_floor: The scale is never known better than this (ground, tyres).
        std_bias_floor: The bias is never known better than this (warming up), rad/s.
    """

    enabled: bool = True
    min_distance: float = 20.0
    std_scale: float = 0.03
    std_bias: float = 0.0005
    std_bias_walk: float = 1e-5
    max_scale_change: float = 0.1
    max_bias: float = 0.03
    std_scale_floor: float = 0.005
    std_bias_floor: float = 0.0002


@dataclass(frozen=True)
class SmootherConfig:
    """The fixed-lag smoother and what it may say.

    Attributes:
        keyframe_s: Spacing of the poses it estimates.
        lag_s: How far back a late measurement may still reach.
        std_tilt: Roll and pitch of a robot that has no IMU orientation, rad.
        std_tilt_imu: Roll and pitch read from the IMU, rad.
        min_std_position: Floor of the reported deviation, m.
        min_std_yaw: Floor of the reported deviation, rad.
        max_std_position: Ceiling of the reported deviation, m.
        lost_std: Beyond this horizontal deviation the estimate is called LOST, m.
    """

    keyframe_s: float = 0.5
    lag_s: float = 10.0
    std_tilt: float = 0.05
    std_tilt_imu: float = 0.02
    min_std_position: float = 0.02
    min_std_yaw: float = 0.001
    max_std_position: float = 1000.0
    lost_std: float = 30.0


@dataclass(frozen=True)
class ReacquireConfig:
    """The way back when the gate keeps refusing.

    Attributes:
        after_s: The gate must have been shut this long for every absolute source.
        count: So many refused measurements must agree with each other.
        agree_sigma: Agreement, in their own sigmas.
        std_yaw: Yaw deviation after a position has been taken anew, rad.
    """

    after_s: float = 3.0
    count: int = 5
    agree_sigma: float = 3.0
    std_yaw: float = 0.3


@dataclass(frozen=True)
class ContinuityConfig:
    """How corrections reach the published pose; the smoother takes them in at once.

    Attributes:
        max_speed: Beyond odometry the pose moves no faster than this, in the plane and in height,
            m/s; what is left is added to its covariance. 0: corrections are published at once.
        max_turn_rate: It turns no faster than this, rad/s.
        give_up_m: A correction longer than this in the plane is published at once.
    """

    max_speed: float = 0.0
    max_turn_rate: float = 0.2
    give_up_m: float = 5.0


@dataclass(frozen=True)
class DatumConfig:
    """Origin of the map frame.

    Attributes:
        lat_deg: WGS84 latitude, or NaN to take it from the first fixes.
        lon_deg: WGS84 longitude, or NaN.
        alt_m: Ellipsoidal height, m.
        average_fixes: So many good fixes are averaged when no datum is given.
        wait_for_datum: Do not take it from the fixes; wait for `Localizer.set_datum`.
    """

    lat_deg: float = float('nan')
    lon_deg: float = float('nan')
    alt_m: float = 0.0
    average_fixes: int = 5
    wait_for_datum: bool = False


@dataclass(frozen=True)
class LocalizerConfig:
    """All settings of a `Localizer`.

    Attributes:
        clock_jump_s: Stamps that go back further than this, twice in a row, reset the estimate.
    """

    odometry: OdometryConfig = field(default_factory=OdometryConfig)
    motion: MotionConfig = field(default_factory=MotionConfig)
    gnss: GnssConfig = field(default_factory=GnssConfig)
    vision: VisionConfig = field(default_factory=VisionConfig)
    yaw_init: YawInitConfig = field(default_factory=YawInitConfig)
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    smoother: SmootherConfig = field(default_factory=SmootherConfig)
    reacquire: ReacquireConfig = field(default_factory=ReacquireConfig)
    continuity: ContinuityConfig = field(default_factory=ContinuityConfig)
    datum: DatumConfig = field(default_factory=DatumConfig)
    clock_jump_s: float = 5.0

    def __post_init__(self) -> None:
        """Checks what cannot work.

        Raises:
            ConfigError: A setting that contradicts itself.
        """
        if self.odometry.yaw_source not in ('auto', 'gyro', 'odometry'):
            raise ConfigError(
                f'odometry.yaw_source is {self.odometry.yaw_source!r}; '
                "expected 'auto', 'gyro' or 'odometry'"
            )
        if self.smoother.keyframe_s <= 0.0:
            raise ConfigError(f'smoother.keyframe_s is {self.smoother.keyframe_s}; must be > 0 s')
        if self.smoother.lag_s < 4.0 * self.smoother.keyframe_s:
            raise ConfigError(
                f'smoother.lag_s is {self.smoother.lag_s}; must be at least four keyframes '
                f'({4.0 * self.smoother.keyframe_s} s)'
            )
