# SPDX-License-Identifier: Apache-2.0
"""Localization in a real kitchen: the map from frames 0-745 of 7-Scenes, the queries 750-995.

Every query counts: one without an answer has an infinite error. The poses given with the data are
those of depth tracking and wander by centimetres before frame 930, so both halves are shown, and
beside the errors how well the depth of the queries lies on that of the map at the estimated and
at the given pose, which asks no pose for its opinion.

The colour camera is calibrated from the map frames first (`colour_calibration`).

Beside the figures: those with the other solver of perspective-n-point (`--solver` names the first
one), those by another ground truth (`--poses`, a list as of structure from motion, which takes the
place of the given poses in map and queries), and, with `--features xfeat --matcher nearest`, what
the matching network is worth.

`--regressors` judges trained pose networks on the same queries instead (`redkitchen_regressors`),
and adds their rows to the figures that are there.

Run: python -m tests.benchmarks.redkitchen [--features xfeat] [--solver poselib] [FOLDER]
     python -m tests.benchmarks.redkitchen --regressors out/train/vmloc_redkitchen ...
"""

import argparse
from dataclasses import replace
import importlib.util
import os
from pathlib import Path
import sys
import time

import numpy as np

from geoloc_core.errors import GeolocError
from geoloc_core.evaluation.consistency import chi2_limit, coverage, nees
from geoloc_core.formats.pose_list import write_pose_list
from geoloc_core.geometry import se3
from geoloc_core.maps.place.records import PlaceMap
from geoloc_core.sources.rgbd.config import PlaceLocalizerConfig
from geoloc_core.sources.rgbd.localization import PlaceLocalizer
from geoloc_core.sources.rgbd.retrieval import Overlaps
from geoloc_core.sources.rgbd.solver import SolverConfig
from geoloc_core.sources.rgbd.surface import MapSurfaces, view_surface
from geoloc_core.types import PosePrior, Status
from tests.benchmarks import results
from tests.benchmarks.redkitchen_frames import (
    calibrated,
    FIRST_QUERY,
    FOLDER,
    Frame,
    GOOD_TRUTH,
    LAST_MAP,
    make_map,
    name_of,
    read,
    with_poses,
)
from tests.benchmarks.redkitchen_regressors import command_of, judged, Queries, shown
from training.datasets.hand_held import T_BASE_CAMERA

# A tracker's own belief from one query to the next, a sixth of a second later.
TRACK_STD = np.array([0.08] * 3 + [np.radians(3.0)] * 3)
NEAR_M = 0.1


def error(measured, frame: Frame) -> np.ndarray:
    """(6,) of the camera: m and rad, place axes; infinite without an answer."""
    if measured.status is not Status.OK:
        return np.full(6, np.inf)
    T = measured.T_map_base @ T_BASE_CAMERA
    truth = frame.T_world_colour
    return np.concatenate([T[:3, 3] - truth[:3, 3], se3.log_rotation(T[:3, :3] @ truth[:3, :3].T)])


def run(localizer: PlaceLocalizer, queries, camera, with_depth: bool, track: bool = False):
    """Localizes all queries; (measured, seconds) of each."""
    answers, prior = [], None
    for frame in queries:
        view = frame.view(camera, with_depth)
        start = time.perf_counter()
        measured = localizer.localize(view, prior)
        answers.append((measured, time.perf_counter() - start))
        prior = None
        if track and measured.status is Status.OK:
            prior = PosePrior(view.stamp_ns, measured.T_map_base, np.diag(TRACK_STD**2))
    return answers


def figures_of(answers, queries) -> dict:
    errors = np.array([error(m, f) for (m, _), f in zip(answers, queries, strict=True)])
    metres, degrees = np.linalg.norm(errors[:, :3], axis=1), np.linalg.norm(errors[:, 3:], axis=1)
    degrees = np.degrees(degrees)
    # base_link of these data is the camera's centre, so that its covariance is the camera's.
    covs = np.array([m.cov if m.cov is not None else np.full((6, 6), np.nan) for m, _ in answers])
    numbers = np.array([frame.number for frame in queries])
    figures = {}
    for name, part in (
        ('', numbers > 0),
        ('before_930', numbers < GOOD_TRUTH),
        ('from_930', numbers >= GOOD_TRUTH),
    ):
        if not part.any():
            continue
        m, d = metres[part], degrees[part]
        known = np.isfinite(m)
        e = nees(errors[part][known], covs[part][known])
        found = {
            'queries': int(part.sum()),
            'translation_median_cm': 100 * float(np.median(m)),
            'rotation_median_deg': float(np.median(d)),
            'recall_5cm_5deg': float(np.mean((m < 0.05) & (d < 5.0))),
            'recall_2cm_2deg': float(np.mean((m < 0.02) & (d < 2.0))),
            'answered': float(known.mean()),
            'nees_mean': float(e.mean()) if len(e) else float('nan'),
            'coverage_95': coverage(e, chi2_limit(0.95, 6)),
            'std_median_cm': 100
            * float(np.median([np.sqrt(np.trace(c[:3, :3]) / 3) for c in covs[part][known]])),
        }
        if name:
            figures[name] = found
        else:
            figures.update(found)
    figures['seconds_per_query'] = float(np.median([seconds for _, seconds in answers]))
    return figures


def consistency(place: PlaceMap, queries, camera, poses) -> dict:
    """How the depth of queries lies on the map's at some poses (4, 4): no pose is asked."""
    surfaces, shares, distances = MapSurfaces(place), [], []
    overlaps = Overlaps(place)
    for frame, T in zip(queries, poses, strict=True):
        if T is None:
            continue
        points, normals = view_surface(frame.view(camera).depth, camera).sample(600)
        ids = overlaps.seeing(T, points[::4], 20)
        placed, turned = se3.transform(T, points), normals @ T[:3, :3].T
        nearest = np.full(len(points), np.inf)
        index, _, target, normal = surfaces.pairs(ids, placed, turned, NEAR_M)
        off = np.abs(np.einsum('ni,ni->n', placed[index] - target, normal))
        np.minimum.at(nearest, index, off)
        shares.append(np.isfinite(nearest).mean())
        distances.append(np.median(nearest[np.isfinite(nearest)]))
    return {
        'on_surface': float(np.median(shares)),
        'median_distance_cm': 100 * float(np.median(distances)),
    }


def without_neighbours(place: PlaceMap, number: int, apart: int = 50) -> PlaceMap:
    """The map as if nothing had been filmed shortly before and after a frame."""
    far = [k for k in place.keyframes if abs(int(k.name[-6:]) - number) > apart]
    return replace(place, keyframes=tuple(far))


def belief(place: PlaceMap, frames: list[Frame], camera, with_depth: bool) -> dict:
    """What the covariances of map frames are worth, each against a map without its neighbours.

    The factors of the configuration come from here and not from the queries.
    """
    errors, covs = [], []
    for frame in frames:
        localizer = PlaceLocalizer(without_neighbours(place, frame.number))
        measured = localizer.localize(frame.view(camera, with_depth))
        if measured.status is Status.OK:
            errors.append(error(measured, frame))
            covs.append(measured.cov)
    if not errors:
        return {'frames': len(frames), 'answered': 0}
    values = nees(np.array(errors), np.array(covs))
    metres = np.linalg.norm(np.array(errors)[:, :3], axis=1)
    return {
        'frames': len(frames),
        'answered': len(errors),
        'translation_median_cm': 100 * float(np.median(metres)),
        'nees_mean': float(values.mean()),
        'nees_90': float(np.percentile(values, 90)),
        'coverage_95': coverage(values, chi2_limit(0.95, 6)),
    }


def with_other_solver(place: PlaceMap, config, pnp: str, queries, camera) -> dict | str:
    """Figures of colour alone, which all rests on the solver, with another one."""
    if pnp == 'poselib' and importlib.util.find_spec('poselib') is None:
        return 'poselib is not installed'
    localizer = PlaceLocalizer(place, replace(config, solver=SolverConfig(pnp=pnp)))
    return figures_of(run(localizer, queries, camera, False), queries)


def store(name: str, figures: dict, options: str = '') -> None:
    """Writes figures beside those that the other half of this benchmark has stored."""
    command = (
        f"make bench-redkitchen BENCH_ARGS='{options}'" if options else 'make bench-redkitchen'
    )
    together = results.stored(name) | results.rounded(figures)
    print(results.write(name, together, command, *shown(together)))


def add_regressors(runs: list[Path], queries: Queries, name: str, options: str = '') -> int:
    """Judges trained networks, and adds their rows to the figures of this benchmark.

    Args:
        runs: Their folders.
        queries: What all of them are asked; rows of some of the frames are shown, not stored.
        name: Of the section of results.
        options: Those of the command that made it.

    Returns:
        The exit code.
    """
    whole = queries.limit is None
    if whole and not results.stored(name):
        print(f'out/bench/{name}.json is absent: run make bench-redkitchen first', file=sys.stderr)
        return 1
    try:
        rows = judged(runs, queries)
    except GeolocError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    for key, value in results.flat(results.rounded(rows)):
        print(f'{key:60s} {value}')
    if whole:
        store(name, {**rows, 'regressors_by': command_of(rows)}, options)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description='RedKitchen benchmark')
    parser.add_argument('folder', nargs='?', type=Path)
    parser.add_argument('--features', default='sift', choices=('sift', 'xfeat'))
    parser.add_argument('--matcher', default='auto', choices=('auto', 'nearest'))
    parser.add_argument('--solver', default='opencv', choices=('opencv', 'poselib'))
    parser.add_argument('--poses', type=Path, metavar='FILE', help='other poses of the frames')
    parser.add_argument('--estimates', type=Path, metavar='FILE', help='write the poses found')
    parser.add_argument('--coverage', type=float, default=1.0)
    parser.add_argument(
        '--regressors', type=Path, nargs='+', metavar='RUN', help='judge trained networks instead'
    )
    parser.add_argument('--quick', action='store_true', help='some of the frames, nothing written')
    args = parser.parse_args()
    data = os.environ.get('GEOLOC_DATA', str(results.ROOT.parent / 'shared' / 'data'))
    folder = args.folder or Path(data) / FOLDER
    if not folder.is_dir():
        print(f'{folder} is absent: set GEOLOC_DATA or name the folder', file=sys.stderr)
        return 1
    asked = (args.features, args.matcher, args.solver, args.poses and args.poses.stem)
    usual = ('sift', 'auto', 'opencv', None)
    differs = {
        option: a
        for option, a, b in zip(
            ('features', 'matcher', 'solver', 'poses'), asked, usual, strict=True
        )
        if a != b
    }
    name = '-'.join(['redkitchen', *differs.values()])
    options = ' '.join(f'--{option} {value}' for option, value in differs.items())
    if args.regressors:
        asked_of_all = Queries(folder, args.poses, limit=3 if args.quick else None)
        return add_regressors(args.regressors, asked_of_all, name, options)
    frames = read(folder)
    if args.poses:
        frames = with_poses(frames, args.poses)
    mapped = [frame for frame in frames if frame.number <= LAST_MAP]
    queries = [frame for frame in frames if frame.number >= FIRST_QUERY]
    if args.quick:
        mapped, queries = mapped[::6], queries[::17]
    camera, calibration = calibrated(mapped)
    place = make_map(mapped, camera, args.features, args.coverage)
    figures: dict = {'features': args.features, 'keyframes': len(place.keyframes)}
    figures['colour_calibration'] = calibration
    config = PlaceLocalizerConfig(matcher=args.matcher, solver=SolverConfig(pnp=args.solver))
    localizer = PlaceLocalizer(place, config)
    both = run(localizer, queries, camera, True)
    figures['keyframe_rgbd'] = figures_of(both, queries)
    figures['keyframe_rgb'] = figures_of(run(localizer, queries, camera, False), queries)
    figures['tracking_rgbd'] = figures_of(run(localizer, queries, camera, True, True), queries)
    other = 'opencv' if args.solver == 'poselib' else 'poselib'
    figures[f'keyframe_rgb_{other}'] = with_other_solver(place, config, other, queries, camera)
    estimated = [None if m.T_map_base is None else m.T_map_base @ T_BASE_CAMERA for m, _ in both]
    figures['depth_on_map'] = {
        'at_estimated_poses': consistency(place, queries, camera, estimated),
        'at_given_poses': consistency(place, queries, camera, [f.T_world_colour for f in queries]),
    }
    some = mapped[5::15]
    figures['map_frames'] = {
        'rgbd': belief(place, some, camera, True),
        'rgb': belief(place, some, camera, False),
    }
    for key, value in results.flat(results.rounded(figures)):
        print(f'{key:60s} {value}')
    for frame, (measured, _) in zip(queries, both, strict=True):
        e = error(measured, frame)
        centimetres, degrees = 100 * np.linalg.norm(e[:3]), np.degrees(np.linalg.norm(e[3:]))
        print(f'{frame.number} {centimetres:6.2f} cm {degrees:5.2f} deg  {measured.reasons}')
    if args.estimates:
        found = {
            name_of(frame.number): T
            for frame, T in zip(queries, estimated, strict=True)
            if T is not None
        }
        write_pose_list(args.estimates, found)
    if not args.quick:
        store(name, figures, options)
    return 0


if __name__ == '__main__':
    sys.exit(main())
