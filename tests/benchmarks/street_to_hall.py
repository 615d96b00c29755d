# SPDX-License-Identifier: Apache-2.0
"""From the street into a hall and out again: aerial map and GNSS outside, the place map inside.

A robot drives along a rendered street, turns to a door, goes round in the hall and comes out. The
hall was mapped before on another drive; the map is tied to the Earth, the localizer is the node's
own. What counts: errors in the street, at the door and inside, who measured where, and by how
much the published pose ever moved beyond odometry. Beside it the same drive with corrections
published at once, and without the place map.

Run: python -m tests.benchmarks.street_to_hall [--quick] [--keep FOLDER]
"""

import argparse
from dataclasses import replace
from pathlib import Path
import sys
import tempfile
from typing import Any

import numpy as np

from geoloc_core.bags.reader import read_bag
from geoloc_core.evaluation.consistency import chi2_limit, coverage, nees
from geoloc_core.geometry import se3
from geoloc_core.simulation.robots.drive import Drive
from geoloc_core.simulation.robots.hall_drive import HallDrives, make_hall_drives
from geoloc_core.simulation.rooms.hall import Hall
from geoloc_core.simulation.world import make_world
from geoloc_core.types import PoseMeasurement
from geoloc_ros.assembly import build_localizer, build_map
from geoloc_ros.bags.offline import run_offline
from geoloc_ros.bags.results import FramePictures, write_results
from geoloc_ros.bags.run import read_inputs, RunInputs, RunRecord
from geoloc_ros.bags.scoring import corrections_of, Score, score
from geoloc_ros.cli.main import main as geoloc
from geoloc_ros.demo import write_params
from geoloc_ros.demo_drive import HALL_PARAMETERS, write_drive, write_recording
from geoloc_ros.parameters import load_params_file
from tests.benchmarks import results

COMMAND = 'make bench-hall'
# The door is what lies within this distance of its middle, on either side.
DOOR_M = 5.0
ALLOWED_STEP_M = 0.3
PLANE = np.array([0, 1])


def make_drives(seed: int, quick: bool) -> HallDrives:
    """The drives; quick ones have half the pixels along each side and a shorter street."""
    # A small city: all of it is on the aerial map, and the drive passes one street only.
    world = make_world(seed, half_extent=110.0, blocks=2, ground_gsd=0.1 if quick else 0.05)
    if not quick:
        return make_hall_drives(world, seed=seed, rate_hz=2.0)
    both = make_hall_drives(world, seed=seed, rate_hz=2.0, street_s=18.0)
    return replace(both, drive=smaller(both.drive), survey=smaller(both.survey))


def smaller(drive: Drive) -> Drive:
    """The same drive with half the pixels along each side."""
    lens = drive.rig.camera
    size = lens.width // 2, lens.height // 2
    depth = replace(drive.depth, camera=drive.depth.camera.resized(*size))
    return replace(drive, rig=replace(drive.rig, camera=lens.resized(*size)), depth=depth)


def prepare(folder: Path, both: HallDrives, map_gsd: float = 0.15) -> tuple[Path, Path, Path]:
    """Bags, aerial map, place map and parameters; paths of the bag, parameters, place map."""
    bag, aerial = write_drive(folder, both.drive, map_gsd=map_gsd)
    write_recording(folder / 'survey', both.survey)
    params, place = folder / 'params.yaml', folder / 'hall.place'
    write_params(params, both.drive, aerial, HALL_PARAMETERS)
    built = ['place', 'build', folder / 'survey', '-o', place, '--params', params]
    # What its check does not like (few points in a keyframe) it says itself.
    geoloc([str(word) for word in built])
    return bag, params, place


class Remembered:
    """A source that answers a view it has seen with what it said then.

    What is published has no part in what is measured, so that a run with other settings of the
    output may take the measurements of the first one.
    """

    def __init__(self, source: Any) -> None:
        self.source, self.starts = source, getattr(source, 'starts', False)
        self.said: dict[int, PoseMeasurement] = {}

    def measure(self, view, prior, frame, map_source) -> PoseMeasurement:
        if view.stamp_ns in self.said:
            return self.said[view.stamp_ns]
        measured = self.source.measure(view, prior, frame, map_source)
        self.said[view.stamp_ns] = replace(measured, volume=None, patch=None)
        return measured


def evaluate(
    bag: Path,
    params_file: Path,
    settings: dict[str, Any],
    out: Path,
    remembered: Remembered | None = None,
) -> tuple[RunRecord, RunInputs, Score, Remembered]:
    """Runs the localizer over the drive, with some parameters set; the report goes to `out`."""
    params = load_params_file(params_file) | settings
    with read_bag(bag) as reader:
        inputs = read_inputs(reader)
        aerial = build_map(params)
        localizer = build_localizer(params, aerial)
        localizer._source = remembered or Remembered(localizer._source)
        pictures = FramePictures(out, len(inputs.frame_stamps_ns), 40)
        run = run_offline(reader, localizer, params, after_view=pictures)
    scored = score(run, inputs, name='street to hall')
    write_results(out, scored, aerial)
    aerial.close()
    return run, inputs, scored, localizer._source


def zones(hall: Hall, inputs: RunInputs, stamps: list[int]) -> dict[str, np.ndarray]:
    """Which frames were taken in the street, at the door (both sides of it) and inside."""
    T, known = inputs.truth.at(stamps)
    xy = T[:, :2, 3]
    inside = hall.is_inside(xy) & known
    door = (np.linalg.norm(hall.own(xy), axis=1) < DOOR_M) & known
    return {'street': known & ~inside, 'door': door, 'inside': inside}


def figures_of(hall: Hall, run: RunRecord, inputs: RunInputs, scored: Score) -> dict[str, Any]:
    """What the drive shows, zone by zone."""
    frames = run.frames
    stamps = [frame.stamp_ns for frame in frames]
    truth, _ = scored.trajectories['truth'].at(stamps)
    nowhere = np.full((4, 4), np.nan)
    T = np.array([f.T_map_base if f.T_map_base is not None else nowhere for f in frames])
    cov = np.array([f.cov if f.cov is not None else np.full((3, 3), np.nan) for f in frames])
    error = T[:, :3, 3] - truth[:, :3, 3]
    yaw = np.array(
        [np.degrees(se3.yaw_of(a[:3, :3] @ b[:3, :3].T)) if np.isfinite(a).all() else np.nan
         for a, b in zip(T[:, :3, :3], truth[:, :3, :3], strict=True)]
    )  # fmt: skip
    moved = corrections_of(list(frames), inputs)
    source = np.array([frame.source for frame in frames])
    figures: dict[str, Any] = {}
    for name, part in zones(hall, inputs, stamps).items():
        there = part & np.isfinite(error).all(axis=1)
        off = np.linalg.norm(error[there][:, PLANE], axis=1)
        # A step belongs to the frame that it leads to.
        step = moved.horizontal_m[part[1:]]
        height = np.abs(moved.xyz[part[1:], 2])
        figures[name] = {
            'frames': int(part.sum()),
            'with_pose': int(there.sum()),
            'by_aerial': int((source[part] == 'aerial').sum()),
            'by_place': int((source[part] == 'place').sum()),
            'position_median_m': _of(off, 50),
            'position_p95_m': _of(off, 95),
            'position_max_m': _of(off, 100),
            'height_median_m': _of(np.abs(error[there][:, 2]), 50),
            'yaw_median_deg': _of(np.abs(yaw[there]), 50),
            'coverage_95': coverage(
                nees(error[there][:, PLANE], cov[there][:, :2, :2]), chi2_limit(0.95, 2)
            ),
            'largest_step_m': _of(step, 100),
            'largest_step_up_or_down_m': _of(height, 100),
        }
    first = np.flatnonzero(source == 'place')
    if len(first):
        begun = hall.own(inputs.truth.at([stamps[first[0]]])[0][0, :2, 3][None])[0]
        figures['first_by_place_before_door_m'] = float(-begun[1])
        figures['step_to_first_by_place_m'] = float(moved.horizontal_m[max(first[0] - 1, 0)])
    figures['frames_by_status'] = ' '.join(
        f'{name}:{n}' for name, n in sorted(scored.metrics['frames_by_status'].items())
    )
    return figures


def _of(values: np.ndarray, percentile: float) -> float:
    values = values[np.isfinite(values)]
    return float(np.percentile(values, percentile)) if len(values) else float('nan')


def measure(folder: Path, seed: int, quick: bool) -> dict[str, Any]:
    """Everything in a folder; figures with the place map, and without."""
    both = make_drives(seed, quick)
    bag, params, place = prepare(folder, both, 0.3 if quick else 0.15)
    figures: dict[str, Any] = {'seed': seed, 'seconds': both.drive.trajectory.duration}
    remembered = None
    for name, settings in (
        ('with_place', {'place_map': str(place)}),
        ('corrected_at_once', {'place_map': str(place), 'continuity.max_speed': 0.0}),
        ('without_place', {}),
    ):
        known = remembered if name == 'corrected_at_once' else None
        run, inputs, scored, remembered = evaluate(bag, params, settings, folder / name, known)
        figures[name] = figures_of(both.hall, run, inputs, scored)
    return figures


def main() -> int:
    """Runs it."""
    parser = argparse.ArgumentParser(description='From the street into a hall')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--quick', action='store_true', help='pictures of 240 x 150, 28 m of street'
    )
    parser.add_argument('--keep', type=Path, help='folder for bags, maps and reports')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = args.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        figures = measure(folder, args.seed, args.quick)
    for key, value in results.flat(results.rounded(figures)):
        print(f'{key:60s} {value}')
    step = figures['with_place']['door']['largest_step_m']
    print(f'largest step at the door: {step:.3f} m; allowed: {ALLOWED_STEP_M} m')
    if args.quick:
        print(results.write('street-to-hall-quick', figures, f"{COMMAND} BENCH_ARGS='--quick'"))
    else:
        print(results.write('street-to-hall', figures, COMMAND))
    return 0 if step < ALLOWED_STEP_M else 1


if __name__ == '__main__':
    sys.exit(main())
