# SPDX-License-Identifier: Apache-2.0
"""geoloc evaluate: run the localizer over a bag without ROS, and score it."""

import argparse
from functools import partial
from typing import Any

from geoloc_core.errors import BagError, ConfigError


def register(subparsers) -> None:
    """Adds `geoloc evaluate`."""
    parser = subparsers.add_parser(
        'evaluate',
        help='run the localizer over a bag without ROS, and score it',
        description='Runs the same localizer as the node over a bag: deterministic, without ROS, '
        'as fast as it goes. Writes metrics.json, frames.csv, TUM trajectories, plots and a '
        'report that opens offline.',
    )
    parser.add_argument('bag', help='ROS 1 .bag, rosbag2 folder, .mcap or .db3')
    parser.add_argument('--map', metavar='M', help='GeoTIFF, MBTiles, tile folder or template')
    parser.add_argument('--params', metavar='YAML', help='parameter file of the node')
    parser.add_argument(
        '--set',
        nargs='+',
        default=[],
        metavar='NAME=VALUE',
        help='single parameters, over those of the file',
    )
    parser.add_argument('--out', default='out/evaluate', metavar='DIR', help='results go here')
    parser.add_argument(
        '--topic',
        nargs='+',
        default=[],
        metavar='KIND=/TOPIC',
        help='choose where several fit: image, camera_info, depth, depth_info, fix, odometry, '
        'imu, truth',
    )
    parser.add_argument(
        '--without',
        nargs='+',
        default=[],
        choices=('fix', 'odometry', 'imu', 'image', 'depth'),
        help='leave sensors out, to see what they are worth',
    )
    parser.add_argument(
        '--image-delay', type=float, default=0.0, metavar='S', help='frames arrive so late, s'
    )
    parser.add_argument('--every', type=int, default=1, help='one camera frame of so many')
    parser.add_argument('--offset', type=int, default=0, help='first camera frame')
    parser.add_argument('--pictures', type=int, default=60, help='frames to keep as pictures')
    parser.add_argument('--no-report', action='store_true', help='figures only, no plots')
    parser.set_defaults(run=_evaluate)


def parameters(file: str | None, settings: list[str], map_path: str | None) -> dict[str, Any]:
    """All parameters of a file, single settings over them.

    Raises:
        ConfigError: Unknown names or bad values.
    """
    import yaml

    from geoloc_ros.parameters import defaults, load_params_file, validated

    params = load_params_file(file) if file else defaults()
    for setting in settings:
        name, separator, text = setting.partition('=')
        if not separator:
            raise ConfigError(f'{setting!r}: expected NAME=VALUE')
        try:
            params[name] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ConfigError(f'{setting!r}: the value is not YAML; quote it') from None
    if map_path is not None:
        params['map.path'] = map_path
    return validated(params)


def _evaluate(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from geoloc_core.bags.reader import read_bag
    from geoloc_core.bags.topics import TopicChoice
    from geoloc_ros.assembly import build_localizer, build_map
    from geoloc_ros.bags.offline import OfflineOptions, run_offline, SENSORS
    from geoloc_ros.bags.results import FramePictures, write_results
    from geoloc_ros.bags.run import read_inputs
    from geoloc_ros.bags.scoring import score

    if args.every < 1 or args.offset < 0:
        raise ConfigError('--every must be at least 1 and --offset not negative')
    params = parameters(args.params, args.set, args.map)
    topics = TopicChoice.of(args.topic)
    sensors = tuple(kind for kind in SENSORS if kind not in args.without)
    with read_bag(args.bag) as reader:
        inputs = read_inputs(reader, topics, params['frames.base'])
        inputs = inputs.with_frames(inputs.frame_stamps_ns[args.offset :: args.every])
        if not len(inputs.frame_stamps_ns):
            raise BagError(
                f'{args.bag} has no camera images from number {args.offset} on: nothing to '
                'localize (geoloc bag info shows what it holds)'
            )
        map_source = build_map(params)
        pictures = FramePictures(args.out, len(inputs.frame_stamps_ns), args.pictures)
        total = sum(t.count for t in reader.topics.values())
        run = run_offline(
            reader,
            build_localizer(params, map_source),
            params,
            OfflineOptions(topics, args.image_delay, args.every, args.offset, sensors),
            after_view=pictures,
            progress=partial(tqdm, desc='localizing', unit='msg', total=total, leave=False),
        )
        result = score(run, inputs, name=str(args.bag))
    written = write_results(args.out, result, map_source, report=not args.no_report)
    if map_source is not None:
        map_source.close()
    print_summary(result.metrics)
    print(f'written: {written}')
    return 0


def print_summary(metrics: dict[str, Any]) -> None:
    """Prints what a person wants to see of a run first."""
    from geoloc_core.evaluation.table import systems_table

    if metrics['systems']:
        print(systems_table(metrics['systems']))
    else:
        print('no ground truth in this bag: no errors, only counts')
    pose = metrics.get('pose')
    if pose is not None:
        print(_whole_pose_text(pose))
    by = metrics.get('measured_by')
    if by and 'place' in by:
        print('measured by: ' + ', '.join(f'{k} {v}' for k, v in sorted(by.items())))
    step = (metrics.get('continuity') or {}).get('step_m_max')
    if step is not None:
        print(f'largest step of the pose beyond odometry: {step:.2f} m')
    counts = ', '.join(f'{k} {v}' for k, v in sorted(metrics['frames_by_status'].items()))
    print(
        f'{metrics["frames"]} frames: {metrics["localized"]} localized, '
        f'{metrics["frames_unaccounted"]} unaccounted for ({counts})'
    )
    covered = metrics.get('coverage_95')
    if covered is not None:
        print(f'the 95 % ellipse holds the truth in {100 * covered:.0f} % of the frames')


def _whole_pose_text(pose: dict[str, Any]) -> str:
    """The figures in six degrees of freedom in one line."""

    def figure(name: str, factor: float, digits: int) -> str:
        value = pose[name]
        return 'infinite' if value is None else f'{factor * value:.{digits}f}'

    return (
        f'six degrees of freedom: median {figure("translation_median_m", 100, 1)} cm, '
        f'{figure("rotation_median_deg", 1, 2)} degrees; within 5 cm and 5 degrees '
        f'{figure("recall_5cm_5deg", 100, 0)} %, within 2 cm and 2 degrees '
        f'{figure("recall_2cm_2deg", 100, 0)} %'
    )
