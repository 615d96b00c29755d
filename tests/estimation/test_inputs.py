# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest

from geoloc_core.errors import ConfigError
from geoloc_core.estimation.config import DatumConfig, GnssConfig, LocalizerConfig
from geoloc_core.estimation.fix_input import checked, DatumFinder
from geoloc_core.estimation.odometry_buffer import NS
from geoloc_core.estimation.stream_clock import StreamClock
from geoloc_core.types import GnssFix, Status

GOOD = GnssFix(NS, 48.0, 11.0, 500.0, np.eye(3))


@pytest.mark.parametrize(
    ('change', 'status'),
    [
        ({'lat_deg': np.nan}, Status.BAD_INPUT),
        ({'lon_deg': np.inf}, Status.BAD_INPUT),
        ({'lat_deg': 91.0}, Status.BAD_INPUT),
        ({'lon_deg': -181.0}, Status.BAD_INPUT),
        ({'lat_deg': 0.0, 'lon_deg': 0.0}, Status.NO_FIX),
        ({'alt_m': 1e9}, Status.BAD_INPUT),
        ({'alt_m': -np.inf}, Status.BAD_INPUT),
        ({'cov_enu': np.zeros((3, 3))}, Status.BAD_INPUT),
        ({'cov_enu': np.full((3, 3), np.nan)}, Status.BAD_INPUT),
        ({'cov_enu': np.diag([1.0, np.inf, 1.0])}, Status.BAD_INPUT),
        ({'cov_enu': np.diag([1e6, 1.0, 1.0])}, Status.BAD_INPUT),
        ({'antenna_in_base': np.array([np.nan, 0.0, 0.0])}, Status.BAD_INPUT),
    ],
)
def test_impossible_fixes_are_refused_with_a_reason(change, status):
    refused = checked(replace(GOOD, **change), GnssConfig())
    assert refused[0] is status
    assert refused[1]


def test_good_fixes_pass_and_overconfident_ones_are_floored():
    assert checked(GOOD, GnssConfig()).lat_deg == 48.0
    sure = checked(replace(GOOD, cov_enu=1e-8 * np.eye(3)), GnssConfig(std_min=0.3))
    assert np.diag(sure.cov_enu)[:2] == pytest.approx([0.09, 0.09])
    assert not isinstance(checked(replace(GOOD, alt_m=np.nan), GnssConfig()), tuple)


def test_the_datum_is_the_median_of_the_first_fixes():
    finder = DatumFinder(DatumConfig(average_fixes=3))
    assert finder.offer(GOOD) == []
    assert finder.offer(replace(GOOD, lat_deg=48.9)) == []
    ready = finder.offer(replace(GOOD, lat_deg=48.0001, alt_m=np.nan))
    assert len(ready) == 3
    assert finder.frame.datum.lat_deg == 48.0001
    assert finder.frame.datum.alt_m == 500.0
    assert finder.offer(GOOD) == [GOOD]


def test_the_datum_is_right_at_the_antimeridian():
    finder = DatumFinder(DatumConfig(average_fixes=3))
    for lon in (179.9999, -179.9999, -179.9997):
        finder.offer(replace(GOOD, lon_deg=lon))
    assert finder.frame.datum.lon_deg == pytest.approx(-179.9999, abs=1e-9)


def test_waits_for_a_datum_when_told():
    finder = DatumFinder(DatumConfig(wait_for_datum=True))
    assert all(finder.offer(GOOD) == [] for _ in range(20))
    assert finder.frame is None
    assert DatumFinder(DatumConfig(lat_deg=1.0, lon_deg=2.0)).frame.datum.lon_deg == 2.0


def test_one_stray_stamp_is_a_fault_two_are_a_jump():
    clock = StreamClock(5.0)
    assert [clock.judge(t * NS) for t in (100, 101, 99)] == ['ok', 'ok', 'ok']
    assert [clock.judge(t * NS) for t in (20, 102, 103)] == ['suspect', 'ok', 'ok']
    assert [clock.judge(t * NS) for t in (20, 21, 22)] == ['suspect', 'jumped', 'ok']
    assert clock.judge(0) == 'suspect'


def test_a_stamp_from_the_future_does_not_blind_the_stream():
    clock = StreamClock(5.0)
    assert [clock.judge(t * NS) for t in (100, 10**6, 101)] == ['ok', 'suspect', 'ok']


@pytest.mark.parametrize(
    ('group', 'change'),
    [
        ('odometry', {'yaw_source': 'compass'}),
        ('smoother', {'keyframe_s': 0.0}),
        ('smoother', {'lag_s': 1.0}),
    ],
)
def test_settings_that_cannot_work_are_refused(group, change):
    config = LocalizerConfig()
    with pytest.raises(ConfigError, match=next(iter(change))):
        replace(config, **{group: replace(getattr(config, group), **change)})
