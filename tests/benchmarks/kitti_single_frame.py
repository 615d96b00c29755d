# SPDX-License-Identifier: Apache-2.0
"""Single frames of a KITTI drive against maps made from the same drive: no fusion at all.

    python -m tests.benchmarks.kitti_single_frame DRIVE [--step 2] [--no-mount]

For even frames, against a mosaic of the odd frames, and of frames at least 5 and 10 away. The
prior is uniform within 10 m and 10 degrees. Prints position (lateral / longitudinal), yaw, recall
and how honest the covariance is (NEES of x, y, yaw: 3 is right; coverage of the 95 % region).
"""

import argparse
import time

import cv2
import numpy as np

from geoloc_core.geometry import angles, se3
from geoloc_core.geometry.cameras import PinholeCamera
from geoloc_core.geometry.geodesy import EnuFrame
from geoloc_core.maps.mosaic import MosaicConfig, OrthoMosaic
from geoloc_core.sources.correlation_matcher import CorrelationConfig, CorrelationMatcher
from geoloc_core.sources.cross_view import CrossViewConfig, CrossViewSource
from geoloc_core.sources.matcher import SearchLimits
from geoloc_core.sources.mount_calibration import calibrate_mount
from geoloc_core.types import GroundView, PosePrior, Status
from geoloc_ros.bags.kitti import KittiDrive

CHI2_95 = 7.815  # three degrees of freedom


def load(folder, mount):
    """(frame, views, poses): the camera's mount corrected on the odd frames if `mount`."""
    drive = KittiDrive(folder)
    first = cv2.imread(str(drive.images[0][2]))
    height, width = first.shape[:2]
    K = drive.K
    camera = PinholeCamera(width, height, K[0, 0], K[1, 1], K[0, 2], K[1, 2])
    # Frame n of a synchronised drive belongs to packet n.
    poses = [drive.truth.poses[number] for number, _, _ in drive.images]
    images = [cv2.cvtColor(cv2.imread(str(f)), cv2.COLOR_BGR2RGB) for _, _, f in drive.images]
    stamps = [stamp for _, stamp, _ in drive.images]

    def views(T_base_camera):
        return [
            GroundView(stamp, image, camera, T_base_camera)
            for stamp, image in zip(stamps, images, strict=True)
        ]

    found = views(drive.T_base_camera)
    if mount:
        result = calibrate_mount(found[1::2], poses[1::2])
        print(
            'mount corrected by roll, pitch, yaw',
            np.degrees(result.roll_pitch_yaw).round(2),
            f'deg: agreement {result.agreement_before:.3f} -> {result.agreement_after:.3f}',
        )
        found = views(result.T_base_camera)
    return EnuFrame(drive.datum), found, poses


def prior_of(pose, rng, half_m, half_deg):
    """A prior that is off by a uniform draw, and says so."""
    x, y, yaw = se3.planar(pose)
    dx, dy = rng.uniform(-half_m, half_m, 2)
    turn = np.radians(rng.uniform(-half_deg, half_deg))
    roll, pitch, _ = se3.rpy_from(pose)
    std = np.array([half_m, half_m, 3, 0.1, 0.1, np.radians(half_deg)]) / np.sqrt(3)
    T = se3.from_planar(x + dx, y + dy, yaw + turn, pose[2, 3], roll, pitch)
    return PosePrior(0, T, np.diag(std**2))


def report(name, rows, spent):
    """One line of the table."""
    ok = [row for row in rows if row['status'] is Status.OK]
    e = np.array([row['error'] for row in ok])
    cov = np.array([row['cov'] for row in ok])
    nees = np.array([r @ np.linalg.solve(c, r) for r, c in zip(e, cov, strict=True)])
    full = np.array([row['full_error'] for row in ok])
    full_nees = np.array(
        [r @ np.linalg.solve(row['full_cov'], r) for r, row in zip(full, ok, strict=True)]
    )
    d = np.hypot(e[:, 0], e[:, 1])
    std = np.sqrt(cov[:, [0, 1, 2], [0, 1, 2]])
    print(
        f'{name:>8} n {len(rows)} ok {len(ok)} | median {np.median(d):.2f} '
        f'({np.median(abs(e[:, 1])):.2f} / {np.median(abs(e[:, 0])):.2f}) '
        f'p90 {np.percentile(d, 90):.2f} yaw {np.degrees(np.median(abs(e[:, 2]))):.2f} '
        f'| < 0.5 {100 * np.mean(d < 0.5):.0f} % < 1 {100 * np.mean(d < 1):.0f} % '
        f'< 5 {100 * np.mean(d < 5):.0f} % | bias {np.median(e[:, 0]):+.2f} '
        f'{np.median(e[:, 1]):+.2f} {np.degrees(np.median(e[:, 2])):+.2f} '
        f'| std {np.median(std[:, 0]):.2f} {np.median(std[:, 1]):.2f} '
        f'{np.degrees(np.median(std[:, 2])):.2f} nees {np.median(nees):.1f}/{nees.mean():.1f} '
        f'in95 {100 * np.mean(nees < CHI2_95):.0f} % full in95 '
        f'{100 * np.mean(full_nees < CHI2_95):.0f} % | {1e3 * spent:.0f} ms',
        flush=True,
    )


def rotated(error, cov, yaw):
    """Error and covariance along (forward, left, yaw)."""
    R = np.eye(3)
    R[:2, :2] = [[np.cos(yaw), np.sin(yaw)], [-np.sin(yaw), np.cos(yaw)]]
    return R @ error, R @ cov @ R.T


def run(frame, views, poses, kind, args, matcher_config=None, source_config=None):
    """Rows of one map kind."""
    limits = SearchLimits(sigmas=1.8)
    matcher = CorrelationMatcher(matcher_config or CorrelationConfig(search=limits, gsd=args.gsd))
    source = CrossViewSource(matcher, source_config or CrossViewConfig(keep_volume=False))
    mosaic = OrthoMosaic(frame, MosaicConfig())
    for view, pose in zip(views, poses, strict=True):
        mosaic.add(view, pose)
    rng = np.random.default_rng(0)
    rows, spent = [], []
    for i in range(2, len(views) - 2, args.step):
        if kind == 'odd':
            out = range(0, len(views), 2)
        else:
            out = range(max(0, i - int(kind) + 1), min(len(views), i + int(kind)))
        start = time.perf_counter()
        prior = prior_of(poses[i], rng, args.half_m, args.half_deg)
        found = source.measure(views[i], prior, frame, mosaic.excluding(out))
        spent.append(time.perf_counter() - start - found.timings_ms['patch_ms'] * 1e-3)
        row = {'frame': i, 'status': found.status, 'reasons': found.reasons, 'found': found}
        if found.status is Status.OK:
            truth = np.array(se3.planar(poses[i]))
            for key, mean, cov in (
                ('', found.likelihood_mean, found.likelihood_cov),
                (
                    'full_',
                    np.array(se3.planar(found.T_map_base)),
                    found.cov[np.ix_([0, 1, 5], [0, 1, 5])],
                ),
            ):
                error = mean - truth
                error[2] = angles.wrap(error[2])
                row[key + 'error'], row[key + 'cov'] = rotated(error, cov, truth[2])
        rows.append(row)
    report(kind, rows, float(np.median(spent)))
    return rows


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('drive')
    parser.add_argument('--step', type=int, default=2)
    parser.add_argument('--gsd', type=float, default=0.2)
    parser.add_argument('--half-m', type=float, default=10.0)
    parser.add_argument('--half-deg', type=float, default=10.0)
    parser.add_argument('--no-mount', action='store_true', help='keep the mount as given')
    parser.add_argument('--maps', nargs='+', default=['odd', '5', '10'])
    args = parser.parse_args()
    cv2.setNumThreads(1)
    frame, views, poses = load(args.drive, not args.no_mount)
    for kind in args.maps:
        run(frame, views, poses, kind, args)


if __name__ == '__main__':
    main()
