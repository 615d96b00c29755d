# SPDX-License-Identifier: Apache-2.0
"""GNSS outages on a real Husky: how far off is the estimate when the fixes come back?

The bag (rosbags_real/rl_test1.bag) has 395 s of fixes, wheel odometry and gyro. At many moments of
the drive the fixes are hidden; 30 s and 60 s later the Localizer's answer is compared with the
fix that it has not been given. All causal, with the default settings. There is no other truth in
this bag, and its fixes wander by about 2 m themselves.

Run: python -m tests.benchmarks.husky [BAG]
"""

import json
import os
from pathlib import Path
import sys

import numpy as np

from geoloc_core.geometry import se3
from geoloc_core.localizer import Localizer, LocalizerConfig
from geoloc_core.types import GnssFix, ImuSample, OdometrySample
from tests.benchmarks import results

BAG = Path('rosbags_real') / 'rl_test1.bag'
NS = 1_000_000_000
LEARN_S = 60.0
EVERY_S = 5.0
WINDOWS_S = (30.0, 60.0)
AVERAGE_S = 1.0
CHI2_95 = 5.991
# The bag has no transforms; its accelerometer shows that the IMU's y axis points up.
R_BASE_IMU = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])


def stamp_of(message) -> int:
    return message.header.stamp.sec * NS + message.header.stamp.nanosec


def read_events(path: Path) -> list:
    """The bag as our records, in the order in which they were received."""
    from rosbags.highlevel import AnyReader

    events = []
    with AnyReader([path]) as reader:
        for connection, _, raw in reader.messages():
            m = reader.deserialize(raw, connection.msgtype)
            if connection.topic == '/fix':
                cov = np.reshape(m.position_covariance, (3, 3))
                events.append(GnssFix(stamp_of(m), m.latitude, m.longitude, m.altitude, cov))
            elif connection.topic == '/imu/data':
                w = m.angular_velocity
                events.append(ImuSample(stamp_of(m), R_BASE_IMU @ [w.x, w.y, w.z]))
            else:
                p, q = m.pose.pose.position, m.pose.pose.orientation
                T = se3.from_quaternion([p.x, p.y, p.z], [q.x, q.y, q.z, q.w])
                events.append(OdometrySample(stamp_of(m), T))
    return events


def feed(localizer: Localizer, event, fixes: bool = True) -> None:
    if isinstance(event, ImuSample):
        localizer.on_imu(event)
    elif isinstance(event, OdometrySample):
        localizer.on_odometry(event)
    elif fixes:
        localizer.on_gnss(event)


def enu(localizer: Localizer, fix: GnssFix):
    return localizer.frame.enu_from_geodetic(fix.lat_deg, fix.lon_deg, fix.alt_m)[:2]


def outage(localizer: Localizer, events: list, i: int, fixes: list) -> list[dict]:
    """Runs on from event i with the fixes hidden; one record per window length."""
    start = events[i].stamp_ns
    past = [fix for fix in fixes if start - 5 * NS <= fix.stamp_ns < start]
    last = enu(localizer, past[-1])
    t = np.array([(fix.stamp_ns - past[-1].stamp_ns) / NS for fix in past])
    xy = np.array([enu(localizer, fix) for fix in past])
    velocity = np.polyfit(t, xy, 1)[0]
    ends = {}
    for window in WINDOWS_S:
        end = min(fixes, key=lambda fix: abs(fix.stamp_ns - start - window * NS))
        if abs(end.stamp_ns - start - window * NS) < NS:
            ends[end.stamp_ns] = (window, end)
    records, distance = [], 0.0
    before = localizer.estimate().T_map_base[:2, 3]
    for event in events[i:]:
        if not ends:
            break
        feed(localizer, event, fixes=False)
        if isinstance(event, OdometrySample):
            now = localizer.estimate().T_map_base[:2, 3]
            distance += float(np.hypot(*(now - before)))
            before = now
        if event.stamp_ns not in ends or not isinstance(event, GnssFix):
            continue
        window, fix = ends.pop(event.stamp_ns)
        answer = localizer.estimate(fix.stamp_ns)
        truth = enu(localizer, fix)
        near = [f for f in fixes if abs(f.stamp_ns - fix.stamp_ns) <= AVERAGE_S * NS]
        smooth = np.mean([enu(localizer, f) for f in near], axis=0)
        error = answer.T_map_base[:2, 3] - truth
        R = fix.cov_enu[:2, :2] * localizer.config.gnss.std_factor**2
        ahead = (fix.stamp_ns - past[-1].stamp_ns) / NS
        records.append(
            {
                'window_s': window,
                'start_ns': start,
                'status': answer.status.name,
                'error_m': float(np.hypot(*error)),
                'error_to_mean_fix_m': float(np.hypot(*(answer.T_map_base[:2, 3] - smooth))),
                'nees': float(error @ np.linalg.solve(answer.cov[:2, :2] + R, error)),
                'std_m': float(np.sqrt(np.linalg.eigvalsh(answer.cov[:2, :2])[-1])),
                'distance_m': distance,
                'hold_m': float(np.hypot(*(last - truth))),
                'constant_velocity_m': float(np.hypot(*(last + velocity * ahead - truth))),
                'scale': localizer.calibration.scale,
                'bias': localizer.calibration.bias,
            }
        )
    return records


def in_child(work) -> list[dict]:
    """Runs `work` in a forked copy of this process and returns what it returns.

    A fork is the one exact way to try many outages from the same moment of the same run: the
    smoother inside gtsam cannot be copied.
    """
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with os.fdopen(write_end, 'w') as pipe:
                json.dump(work(), pipe)
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    if not text:
        raise RuntimeError('an outage ended with an error, see above')
    return json.loads(text)


def run(
    path: Path, config: LocalizerConfig | None = None, first_s: float = LEARN_S
) -> tuple[list[dict], Localizer]:
    """All outages of the drive from `first_s` on, and the localizer that saw all fixes."""
    events = read_events(path)
    fixes = [event for event in events if isinstance(event, GnssFix)]
    localizer = Localizer(config or LocalizerConfig())
    due = events[0].stamp_ns + int(first_s * NS)
    last_start = fixes[-1].stamp_ns - int(WINDOWS_S[0] * NS)
    records = []
    for i, event in enumerate(events):
        if due <= event.stamp_ns <= last_start and localizer.estimate().T_map_base is not None:
            due += int(EVERY_S * NS)
            records += in_child(lambda i=i: outage(localizer, events, i, fixes))
        feed(localizer, event)
    return records, localizer


def summary(records: list[dict], window: float) -> dict:
    rows = [r for r in records if r['window_s'] == window]

    def column(name):
        return np.array([r[name] for r in rows])

    error, nees = column('error_m'), column('nees')
    return {
        'windows': len(rows),
        'distance_median_m': np.median(column('distance_m')),
        'end_error_median_m': np.median(error),
        'end_error_p90_m': np.percentile(error, 90),
        'end_error_max_m': error.max(),
        'end_error_percent': 100.0 * np.median(error / column('distance_m')),
        'end_error_median_to_2s_mean_fix_m': np.median(column('error_to_mean_fix_m')),
        'hold_last_fix_median_m': np.median(column('hold_m')),
        'hold_last_fix_p90_m': np.percentile(column('hold_m'), 90),
        'constant_velocity_median_m': np.median(column('constant_velocity_m')),
        'constant_velocity_p90_m': np.percentile(column('constant_velocity_m'), 90),
        'claimed_std_median_m': np.median(column('std_m')),
        'nees_mean_of_2': nees.mean(),
        'coverage_95': float((nees < CHI2_95).mean()),
        'not_ok': int(sum(r['status'] != 'OK' for r in rows)),
    }


def main() -> int:
    data = os.environ.get('GEOLOC_DATA', str(results.ROOT.parent / 'shared' / 'data'))
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(data) / BAG
    if not path.exists():
        print(f'{path} is absent: set GEOLOC_DATA or name the bag', file=sys.stderr)
        return 1
    records, localizer = run(path)
    found = localizer.calibration
    figures = {}
    for window in WINDOWS_S:
        figures[f'windows_{window:.0f}s'] = summary(records, window)
    # The same with other starts: how much the figures owe to where the windows happen to lie.
    shifted, _ = run(path, first_s=LEARN_S + 0.5 * EVERY_S)
    for window in WINDOWS_S:
        figures[f'shifted_windows_{window:.0f}s'] = summary(shifted, window)
    figures['calibration'] = {
        'wheel_scale': found.scale,
        'wheel_scale_std': found.std_scale,
        'gyro_bias_rad_s': found.bias,
        'gyro_bias_std_rad_s': found.std_bias,
    }
    figures['counters'] = dict(sorted(localizer.counters.items()))
    for key, value in results.flat(results.rounded(figures)):
        print(f'{key:50s} {value}')
    print(results.write('husky', figures, 'make bench-husky'))
    return 0


if __name__ == '__main__':
    sys.exit(main())
