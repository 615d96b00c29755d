# SPDX-License-Identifier: Apache-2.0
"""Figures of the kitchen's queries: every query counts, and both halves are told apart."""

import numpy as np
import pytest

from geoloc_core.geometry import se3
from geoloc_core.types import PoseMeasurement, Status
from tests.benchmarks.redkitchen import figures_of
from tests.benchmarks.redkitchen_frames import Frame
from training.datasets.hand_held import T_BASE_CAMERA

COV = np.diag([0.03] * 3 + [0.02] * 3) ** 2


def answered(frame, off_m):
    """An answer so far beside the truth along y of the place; None where none was given."""
    if off_m is None:
        return PoseMeasurement(frame.number, Status.NO_MAP, ('nothing agrees',))
    T = frame.T_world_colour @ se3.inverse(T_BASE_CAMERA)
    T[1, 3] += off_m
    return PoseMeasurement(frame.number, Status.OK, T_map_base=T, cov=COV)


def test_a_query_without_an_answer_is_infinitely_wrong():
    asked = {760: 0.01, 800: 0.03, 940: None, 990: 0.2}
    nothing = np.zeros((1, 1))
    frames = [
        Frame(number, nothing, nothing, se3.from_xyz_rpy(0.01 * number, 1.0, 2.0, 0.3, 0.2, 0.1))
        for number in asked
    ]
    answers = [(answered(frame, asked[frame.number]), 0.1 * k) for k, frame in enumerate(frames)]
    found = figures_of(answers, frames)
    assert found['queries'] == 4 and found['answered'] == 0.75
    assert found['translation_median_cm'] == pytest.approx(11.5)
    assert found['recall_5cm_5deg'] == 0.5 and found['recall_2cm_2deg'] == 0.25
    assert found['seconds_per_query'] == pytest.approx(0.15)
    # Of the three answers, only 0.2 m is beyond what a deviation of 3 cm covers.
    assert found['coverage_95'] == pytest.approx(2 / 3)
    early, late = found['before_930'], found['from_930']
    assert early['queries'] == late['queries'] == 2
    assert early['translation_median_cm'] == pytest.approx(2.0)
    assert early['rotation_median_deg'] == pytest.approx(0.0, abs=1e-6)
    assert early['recall_5cm_5deg'] == 1.0 and late['recall_5cm_5deg'] == 0.0
    assert late['translation_median_cm'] == late['rotation_median_deg'] == np.inf
