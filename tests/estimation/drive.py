# SPDX-License-Identifier: Apache-2.0
"""A drive with known truth, and the sensors that watch it, for tests of the estimator."""

from dataclasses import dataclass, field

import numpy as np

from geoloc_core.geometry import se3
from geoloc_core.geometry.geodesy import Datum, EnuFrame
from geoloc_core.types import GnssFix, ImuSample, OdometrySample, PoseMeasurement, Status

NS = 1_000_000_000
START_NS = 1_700_000_000 * NS
FRAME = EnuFrame(Datum(48.1, 11.5, 500.0))
STEP_S = 0.1


def ns(t: float) -> int:
    return START_NS + round(t * NS)


@dataclass
class Drive:
    """A winding drive at constant speed, sampled every 0.1 s.

    `scale` and `bias` are the errors of odometry: true metres per measured metre, and what its
    yaw rate reads too much (rad/s). `gnss_std` (m, one axis) wanders with `gnss_tau` (s).
    """

    seconds: float = 60.0
    speed: float = 5.0
    seed: int = 0
    scale: float = 1.0
    bias: float = 0.0
    gnss_std: float = 1.0
    gnss_tau: float = 20.0
    yaw_noise: float = 0.003
    arm: np.ndarray = field(default_factory=lambda: np.zeros(3))

    def __post_init__(self):
        rng = np.random.default_rng(self.seed)
        self.n = round(self.seconds / STEP_S) + 1
        self.times = np.arange(self.n) * STEP_S
        rates = 0.15 * np.sin(self.times / 5.0) + 0.05
        x, odom = se3.from_planar(30.0, -20.0, 2.5), se3.from_planar(1.0, 2.0, -0.7)
        self.truth, self.odom, self.rates = [x], [odom], rates
        for rate in rates[:-1]:
            step = np.array([self.speed * STEP_S, 0, 0, 0, 0, rate * STEP_S])
            x = x @ se3.exp(step)
            seen = step.copy()
            seen[0] = step[0] / self.scale * (1 + 0.005 * rng.normal())
            seen[5] += self.bias * STEP_S + self.yaw_noise * np.sqrt(STEP_S) * rng.normal()
            odom = odom @ se3.exp(seen)
            self.truth.append(x)
            self.odom.append(odom)
        rho = np.exp(-STEP_S / self.gnss_tau)
        error = self.gnss_std * rng.normal(size=3)
        self.gnss_error = []
        for _ in range(self.n):
            error = rho * error + np.sqrt(1 - rho**2) * self.gnss_std * rng.normal(size=3)
            self.gnss_error.append(error)
        self.rng = rng

    def odometry(self, i: int) -> OdometrySample:
        return OdometrySample(ns(self.times[i]), self.odom[i])

    def imu(self, i: int) -> ImuSample:
        return ImuSample(ns(self.times[i]), np.array([0.0, 0.0, self.rates[i]]))

    def fix(self, i: int, offset=(0.0, 0.0, 0.0), stamp_ns: int | None = None) -> GnssFix:
        xyz = se3.transform(self.truth[i], self.arm) + self.gnss_error[i] + offset
        lat, lon, alt = FRAME.geodetic_from_enu(xyz)
        cov = np.eye(3) * max(self.gnss_std, 0.01) ** 2
        return GnssFix(stamp_ns or ns(self.times[i]), float(lat), float(lon), float(alt), cov)

    def view(self, i: int, std=0.3, std_yaw=0.01, offset=(0.0, 0.0, 0.0)) -> PoseMeasurement:
        noise = self.rng.normal(size=3) * [std, std, std_yaw]
        mean = np.array(se3.planar(self.truth[i])) + noise + offset
        cov = np.diag([std, std, std_yaw]) ** 2
        return PoseMeasurement(
            ns(self.times[i]), Status.OK, likelihood_mean=mean, likelihood_cov=cov
        )

    def error(self, estimate, i: int) -> np.ndarray:
        """Estimate minus truth: x, y, yaw."""
        e = np.array(se3.planar(estimate.T_map_base)) - se3.planar(self.truth[i])
        e[2] = np.arctan2(np.sin(e[2]), np.cos(e[2]))
        return e
