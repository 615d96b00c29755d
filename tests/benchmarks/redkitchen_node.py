# SPDX-License-Identifier: Apache-2.0
"""The kitchen of `redkitchen` as a bag: through the localizer offline, and through the live node.

The map, the calibration of the colour camera and the split are those of `redkitchen`. The queries
become a bag as the Kinect would record it (depth in a frame of its own, not registered), and the
node does all the rest: registration, synchronisation, search, smoothing. Every query counts; one
that was dropped, or that the node does not answer, has an infinite error. The bag is played once
at each of `--rates`: a sixth of a second lies between queries at 1.0, twice that at 0.5.

Run: python -m tests.benchmarks.redkitchen_node [--rates 0.5 1.0] [--dry] [--no-live]
"""

import argparse
import os
from pathlib import Path
import sys
import tempfile
from typing import Any

import yaml

from geoloc_core.bags import topics
from geoloc_core.bags.reader import read_bag
from geoloc_core.formats.rgbd_folder import open_rgbd_folder
from geoloc_core.maps.place.file import save_place
from geoloc_ros.assembly import build_localizer
from geoloc_ros.bags.offline import OfflineOptions, run_offline, SENSORS
from geoloc_ros.bags.rgbd import convert, node_parameters, RgbdOptions
from geoloc_ros.bags.run import read_inputs
from geoloc_ros.bags.scoring import Score, score
from geoloc_ros.parameters import load_params_file
from tests.benchmarks import redkitchen, results

COMMAND = 'make bench-redkitchen-node'
LAST_QUERY = 995
REMAP = {
    'image/compressed': topics.COMPRESSED,
    'camera_info': topics.CAMERA_INFO,
    'depth/image/compressedDepth': topics.COMPRESSED_DEPTH,
    'depth/camera_info': topics.DEPTH_INFO,
}


def prepare(data: Path, folder: Path, coverage: float) -> tuple[Path, Path]:
    """Map, bag and parameter file in a folder; (bag, parameters)."""
    mapped = [f for f in redkitchen.read(data) if f.number <= redkitchen.LAST_MAP]
    camera, _ = redkitchen.calibrated(mapped)
    place = redkitchen.make_map(mapped, camera, 'sift', coverage)
    save_place(place, folder / 'kitchen.place')
    distortion = [*camera.distortion, 0.0, 0.0, 0.0, 0.0][:4]
    opened = open_rgbd_folder(
        data,
        calibration='redkitchen',
        intrinsics=[camera.fx, camera.fy, camera.cx, camera.cy, *distortion],
    )
    options = RgbdOptions(first=redkitchen.FIRST_QUERY, last=LAST_QUERY)
    convert(opened, folder / 'queries', options)
    settings = yaml.safe_load(node_parameters(opened, options))
    ours = settings['/**']['ros__parameters']
    ours['place_map'] = str(folder / 'kitchen.place')
    file = folder / 'params.yaml'
    file.write_text(yaml.safe_dump(settings))
    return folder / 'queries', file


def offline(bag: Path, params_file: Path, with_depth: bool) -> Score:
    """The same localizer without ROS."""
    params = load_params_file(params_file)
    sensors = tuple(kind for kind in SENSORS if with_depth or kind != 'depth')
    with read_bag(bag) as reader:
        inputs = read_inputs(reader)
        options = OfflineOptions(sensors=sensors)
        run = run_offline(reader, build_localizer(params), params, options)
    return score(run, inputs, name='RedKitchen, offline')


def live(bag: Path, params_file: Path, folder: Path, rate: float) -> Score:
    """The real node on the ROS graph, fed by the player."""
    from geoloc_ros.demo_node import free_domain, NodeProcess, ros_environment

    environment = ros_environment(free_domain())
    os.environ.update(environment)
    settings = yaml.safe_load(params_file.read_text())
    settings['/**']['ros__parameters'] |= {'use_sim_time': True, 'autostart': True}
    file = folder / 'live.yaml'
    file.write_text(yaml.safe_dump(settings))
    with NodeProcess(file, folder / 'node.log', remap=REMAP, environment=environment):
        return play_and_record(bag, load_params_file(params_file), rate)


def play_and_record(bag: Path, params: dict[str, Any], rate: float) -> Score:
    """Plays a bag to the node that is up, and scores what it says."""
    from geoloc_ros.bags.player import BagPlayer, PlayOptions
    from geoloc_ros.bags.recorder import Recorder
    from geoloc_ros.demo_live import graph_node

    wanted = set(REMAP.values())
    with graph_node('bench_redkitchen') as node, read_bag(bag) as reader:
        recorder = Recorder(node)
        inputs = read_inputs(reader)
        options = PlayOptions(rate=rate, topics=wanted, wait_for=wanted, wait_timeout_s=60.0)
        BagPlayer(reader, node, options).play()
        recorder.wait_for_frames(inputs.frame_stamps_ns, 20.0)
        run = recorder.record(params, {'rate': rate})
    return score(run, inputs, name='RedKitchen, through the live node')


def figures(scored: Score) -> dict[str, Any]:
    """What the tables show of a run."""
    metrics = scored.metrics
    pose = metrics['pose']
    return {
        'queries': metrics['frames'],
        'frames_by_status': ' '.join(f'{k}:{n}' for k, n in metrics['frames_by_status'].items()),
        'translation_median_cm': _times(pose['translation_median_m'], 100),
        'rotation_median_deg': pose['rotation_median_deg'],
        'recall_5cm_5deg': pose['recall_5cm_5deg'],
        'recall_2cm_2deg': pose['recall_2cm_2deg'],
        'coverage_95': pose['coverage_95'],
        'latency_median_ms': metrics['latency_ms']['median'],
    }


def live_row(rate: float) -> str:
    """Name of the figures at a speed of the bag; without dots, which separate levels."""
    return f'live_rgbd_at_{100 * rate:.0f}_percent'


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else factor * value


def main() -> int:
    parser = argparse.ArgumentParser(description='RedKitchen through the node')
    parser.add_argument(
        '--rates',
        type=float,
        nargs='+',
        default=[0.5, 1.0],
        metavar='RATE',
        help='speeds of the bag, live (0.5 1.0)',
    )
    parser.add_argument('--coverage', type=float, default=1.0, help='of the map, as redkitchen')
    parser.add_argument('--dry', action='store_true', help='write no results')
    parser.add_argument('--no-live', action='store_true', help='offline only')
    args = parser.parse_args()
    if min(args.rates) <= 0:
        parser.error(f'--rates {min(args.rates):g}: expected speeds above 0, such as 0.5 1.0')
    root = Path(os.environ.get('GEOLOC_DATA', results.ROOT.parent / 'shared' / 'data'))
    data = root / redkitchen.FOLDER
    if not data.is_dir():
        print(f'{data} is absent: set GEOLOC_DATA', file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bag, params_file = prepare(data, folder, args.coverage)
        measured = {
            'offline_rgbd': figures(offline(bag, params_file, True)),
            'offline_rgb': figures(offline(bag, params_file, False)),
        }
        if not args.no_live:
            for rate in args.rates:
                measured[live_row(rate)] = figures(live(bag, params_file, folder, rate))
    for key, value in results.flat(results.rounded(measured)):
        print(f'{key:40s} {value}')
    if not args.dry:
        print(results.write('redkitchen-node', measured, COMMAND))
    return 0


if __name__ == '__main__':
    sys.exit(main())
