# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest

from geoloc_core.estimation.calibration import Calibrator
from geoloc_core.estimation.config import LocalizerConfig
from geoloc_core.estimation.odometry_buffer import PoseBuffer
from geoloc_core.geometry import se3
from tests.estimation.drive import Drive


def learn(drive, config=None, outliers=0.0, every=5):
    calibrator = Calibrator(config or LocalizerConfig())
    track = PoseBuffer(1000.0)
    first = np.array(se3.planar(drive.truth[0]))
    calibrator.restart(drive.odometry(0).stamp_ns, first, np.diag([1.0, 1.0, 0.01]))
    cov = drive.gnss_std**2 * np.eye(2)
    for i in range(drive.n):
        sample = drive.odometry(i)
        track.append(sample.stamp_ns, sample.T_odom_base)
        if i % every == 0:
            xy = (se3.transform(drive.truth[i], drive.arm) + drive.gnss_error[i])[:2]
            if drive.rng.random() < outliers:
                xy = xy + drive.rng.uniform(-60, 60, 2)
            calibrator.add_fix(sample.stamp_ns, xy, cov, drive.arm[:2])
        calibrator.learn(track)
    return calibrator.result


@pytest.mark.parametrize(('scale', 'bias'), [(0.95, 0.001), (1.04, -0.001)])
def test_finds_wheel_scale_and_gyro_bias(scale, bias):
    found = learn(Drive(300.0, scale=scale, bias=bias, yaw_noise=0.001, arm=np.array([1, 0.5, 1])))
    assert found.scale == pytest.approx(scale, abs=3 * found.std_scale)
    assert found.bias == pytest.approx(bias, abs=3 * found.std_bias)
    assert found.std_scale < 0.01
    assert found.distance > 1000


def test_outliers_teach_nothing():
    found = learn(Drive(200.0, scale=0.96, yaw_noise=0.001), outliers=0.2)
    assert found.scale == pytest.approx(0.96, abs=0.02)
    assert abs(found.bias) < 0.001


def test_is_bounded_and_can_be_switched_off():
    drive = Drive(120.0, scale=0.7)
    assert learn(drive).scale >= 0.9
    config = LocalizerConfig()
    off = replace(config, calibration=replace(config.calibration, enabled=False))
    assert learn(drive, off).scale == 1.0


def test_believes_nothing_before_it_has_driven():
    found = learn(Drive(2.0, scale=0.9))
    assert (found.scale, found.bias) == (1.0, 0.0)
    assert found.std_scale == LocalizerConfig().calibration.std_scale
