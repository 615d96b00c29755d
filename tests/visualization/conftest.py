# SPDX-License-Identifier: Apache-2.0
"""A folder as an evaluation writes it, made of a drawn city and a drawn drive."""

import csv
import json
import math

import cv2
import numpy as np
import pytest

START_NS = 1_700_000_000_000_000_000
NUM_FRAMES = 600
OUTAGE_S = (20.0, 40.0)
NASTY = '</script><img src=x onerror=alert(1)>'
COLUMNS = (
    'stamp_ns,status,reasons,x,y,yaw,std_x,std_y,std_yaw,cov_xx,cov_xy,cov_yy,truth_x,truth_y,'
    'truth_yaw,error_m,lateral_m,longitudinal_m,yaw_error_deg,latency_ms,meas_x,meas_y,meas_yaw'
).split(',')


def draw_city(width, height, rng):
    """(height, width, 3) uint8 RGB: roofs, roads and trees, enough to look like a place."""
    image = np.full((height, width, 3), (118, 128, 92), np.uint8)
    for u in range(40, width, 130):
        cv2.line(image, (u, 0), (u, height), (98, 98, 102), 22)
    for v in range(60, height, 110):
        cv2.line(image, (0, v), (width, v), (98, 98, 102), 22)
    for _ in range(width * height // 9000):
        u, v = rng.integers(0, width), rng.integers(0, height)
        w, h = rng.integers(18, 46, 2)
        tone = tuple(int(c) for c in rng.integers(110, 200, 3))
        cv2.rectangle(image, (int(u), int(v)), (int(u + w), int(v + h)), tone, -1)
    for _ in range(width * height // 5000):
        at = (int(rng.integers(0, width)), int(rng.integers(0, height)))
        cv2.circle(image, at, int(rng.integers(3, 8)), (58, 88, 52), -1)
    noise = rng.normal(0, 6, image.shape[:2])[..., None]
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def drive():
    """Truth (N, 3) of a bent loop, x, y, yaw."""
    phase = np.linspace(0, 2 * np.pi * 0.93, NUM_FRAMES)
    x = 95 * np.cos(phase) + 14 * np.cos(3 * phase) + 20
    y = 60 * np.sin(phase) + 9 * np.sin(2 * phase) - 10
    yaw = np.arctan2(np.gradient(y), np.gradient(x))
    return np.stack([x, y, yaw], axis=1)


def write_tum(path, stamps_ns, poses):
    lines = []
    for stamp, (x, y, yaw) in zip(stamps_ns, poses, strict=True):
        lines.append(
            f'{stamp // 10**9}.{stamp % 10**9:09d} {x:.4f} {y:.4f} 0 0 0 '
            f'{math.sin(yaw / 2):.6f} {math.cos(yaw / 2):.6f}'
        )
    path.write_text('\n'.join(lines) + '\n')


def write_frames(path, stamps, truth, estimate, std, rng):
    rows = []
    for i, stamp in enumerate(stamps):
        ex, ey = estimate[i, :2] - truth[i, :2]
        cos, sin = math.cos(truth[i, 2]), math.sin(truth[i, 2])
        status, reasons = 'OK', ''
        if i % 97 == 50:
            status, reasons = 'DROPPED', 'newest frame wins'
        elif i % 53 == 20:
            status, reasons = 'GATED', 'distance 4.1 > 3.0'
        elif i == 5:
            status, reasons = 'BAD_INPUT', NASTY
        row = {
            'stamp_ns': int(stamp),
            'status': status,
            'reasons': reasons,
            'truth_x': truth[i, 0],
            'truth_y': truth[i, 1],
            'truth_yaw': truth[i, 2],
        }
        if i >= 12 and status != 'DROPPED':
            yaw_error = math.remainder(estimate[i, 2] - truth[i, 2], 2 * math.pi)
            row |= {
                'x': estimate[i, 0],
                'y': estimate[i, 1],
                'yaw': estimate[i, 2],
                'std_x': std[i],
                'std_y': 0.6 * std[i],
                'std_yaw': 0.01,
                'cov_xx': std[i] ** 2,
                'cov_xy': 0.2 * std[i] ** 2,
                'cov_yy': (0.6 * std[i]) ** 2,
                'error_m': math.hypot(ex, ey),
                'lateral_m': -sin * ex + cos * ey,
                'longitudinal_m': cos * ex + sin * ey,
                'yaw_error_deg': math.degrees(yaw_error),
                'latency_ms': 40 + rng.gamma(3, 6),
                'meas_x': estimate[i, 0],
                'meas_y': estimate[i, 1],
                'meas_yaw': estimate[i, 2],
            }
        rows.append(row)
    with path.open('w', newline='') as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return rows


def draw_pictures(folder, city, rows, rng):
    folder.mkdir()
    for i in range(0, NUM_FRAMES, 12):
        u, v = 300 + int(i * 0.8), 260
        patch = cv2.resize(city[v - 80 : v + 80, u - 80 : u + 80], (512, 512))
        cv2.circle(patch, (256 + int(rng.integers(-9, 9)), 250), 22, (255, 160, 40), -1)
        right = np.full_like(patch, 24)
        match = np.hstack([patch, right])
        view = np.full((188, 620, 3), (150, 180, 215), np.uint8)
        view[90:] = (90, 92, 90)
        cv2.putText(view, str(i), (280, 70), cv2.FONT_HERSHEY_SIMPLEX, 1, (20, 20, 20), 2)
        for kind, image in (('match', match), ('view', view)):
            cv2.imwrite(str(folder / f'{i:05d}_{kind}.jpg'), image[..., ::-1])


@pytest.fixture(scope='session')
def fake_run(tmp_path_factory):
    """Folder with every file of an evaluation; its map is wider than high."""
    out = tmp_path_factory.mktemp('run')
    rng = np.random.default_rng(4)
    stamps = START_NS + (np.arange(NUM_FRAMES) * 1e8).astype(np.int64)
    time = (stamps - START_NS) / 1e9
    truth = drive()
    outage = (time > OUTAGE_S[0]) & (time < OUTAGE_S[1])
    std = 0.4 + np.where(outage, 0.05 * (time - OUTAGE_S[0]), 0.0)
    smooth = np.stack(
        [np.convolve(rng.normal(0, 2.2, NUM_FRAMES), np.ones(15) / 15, 'same') for _ in range(2)],
        axis=1,
    )
    estimate = truth.copy()
    estimate[:, :2] += smooth * std[:, None]
    estimate[:, 2] += rng.normal(0, 0.008, NUM_FRAMES)
    gnss = truth[::10] + np.c_[rng.normal(0, 3, (NUM_FRAMES // 10, 2)), np.zeros(NUM_FRAMES // 10)]
    kept = ~outage[::10]
    odometry = truth.copy()
    odometry[:, 0] += 0.0006 * np.arange(NUM_FRAMES) ** 1.6
    write_tum(out / 'trajectory_truth.tum', stamps, truth)
    write_tum(out / 'trajectory_geoloc.tum', stamps[12:], estimate[12:])
    write_tum(out / 'trajectory_gnss.tum', stamps[::10][kept], gnss[kept])
    write_tum(out / 'trajectory_odometry.tum', stamps, odometry)
    rows = write_frames(out / 'frames.csv', stamps, truth, estimate, std, rng)
    city = draw_city(1100, 700, rng)
    cv2.imwrite(str(out / 'map.jpg'), city[..., ::-1])
    (out / 'map.json').write_text(
        json.dumps(
            {
                'bounds': [-145.0, -115.0, 185.0, 95.0],
                'attribution': f'© drawn by the tests {NASTY}',
            }
        )
    )
    draw_pictures(out / 'frames', city, rows, rng)
    errors = np.array([row['error_m'] for row in rows if 'error_m' in row])
    (out / 'metrics.json').write_text(
        json.dumps(
            {
                'systems': {
                    'geoloc': {
                        'position_median_m': float(np.median(errors)),
                        'position_p95_m': 1.6789,
                        'yaw_median_deg': 0.3123,
                        'outage_position_median_m': 0.9876,
                    },
                    'gnss': {
                        'position_median_m': 3.456,
                        'position_p95_m': 7.89,
                        'yaw_median_deg': None,
                        'outage_position_median_m': None,
                    },
                    'odometry': {
                        'position_median_m': 6.789,
                        'position_p95_m': 15.4,
                        'yaw_median_deg': 0.5,
                        'outage_position_median_m': 5.432,
                    },
                },
                'coverage_95': 0.9531,
                'frames': NUM_FRAMES,
                'frames_unaccounted': 0,
                'parameters': {'smoother.lag_s': 10.0, 'map.path': f'city.tif {NASTY}'},
            }
        )
    )
    return out
