# SPDX-License-Identifier: Apache-2.0
"""A localizer on a simulated drive, and a source of measurements that can be told what to say."""

from dataclasses import replace

import numpy as np

from geoloc_core.estimation.config import LocalizerConfig
from geoloc_core.localizer import Localizer
from geoloc_core.types import GroundView, PosePrior, Status
from tests.estimation.drive import FRAME, NS, ns


def run(drive, localizer, until=None, gnss=5, since=0):
    """Feeds odometry at 10 Hz and a fix every `gnss` samples (0: none)."""
    for i in range(since, until or drive.n):
        localizer.on_odometry(drive.odometry(i))
        if gnss and i % gnss == 0:
            localizer.on_gnss(drive.fix(i))
    return localizer


def known(drive, i=0, **changes):
    """A localizer that has been told where the robot is at sample i."""
    localizer = Localizer(replace(LocalizerConfig(), **changes), frame=FRAME)
    cov = np.diag([0.1, 0.1, 0.1, 0.01, 0.01, 0.01]) ** 2
    localizer.on_odometry(drive.odometry(i))
    assert localizer.on_initial_pose(ns(drive.times[i]), drive.truth[i], cov) is Status.OK
    return localizer


class FakeSource:
    """Measures the truth; keeps what it was asked."""

    def __init__(self, drive, result=None, error=None):
        self.drive, self.result, self.error = drive, result, error
        self.priors: list[PosePrior] = []
        self.during = lambda: None

    def measure(self, view, prior, frame, map_source):
        self.priors.append(prior)
        self.during()
        if self.error is not None:
            raise self.error
        if self.result is not None:
            return replace(self.result, stamp_ns=view.stamp_ns)
        return self.drive.view(round((view.stamp_ns - ns(0)) / NS / 0.1))


def view(t):
    return GroundView(ns(t), np.zeros((4, 6, 3), np.uint8), None, np.eye(4))
