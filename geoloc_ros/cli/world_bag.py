# SPDX-License-Identifier: Apache-2.0
"""geoloc world bag: a rendered drive as a rosbag2, with its aerial map and parameter file."""

import argparse
import importlib.util
from pathlib import Path
from typing import Any

from geoloc_core.errors import ConfigError

_EXAMPLES = """examples:
  geoloc world bag --out out/drive --duration 60
      a car in a made-up city: camera, GNSS, odometry, IMU and the truth
  geoloc world bag --out out/rain --conditions hard --seed 4
      another season above, weather below, satellites behind houses, wheels that slip
  geoloc world bag --out out/robot --robot delivery --depth --rate 5
      a delivery robot on the pavements, with a stereo depth camera
  geoloc world bag --out out/town --osm town.geojson --camera panorama
      a real place, from OpenStreetMap
  geoloc world bag --out out/hall --into-hall
      along a street, through a door into a hall, and out again; a survey to map the hall with

and then, with what it wrote:
  geoloc bag info out/drive/drive
  geoloc evaluate out/drive/drive --params out/drive/params.yaml --out out/drive/results

In the folder: drive/ (the bag), map.tif (the aerial picture), params.yaml (the node's parameters
for this robot), drive.json (what was drawn: the day, the map's registration error, the camera's
tilt, satellites heard). The same options give the same bytes on any number of processors.
With --into-hall also survey/, a bag recorded in the hall, of which `geoloc place build` makes its
map.
"""


def register(commands) -> None:
    """Adds `geoloc world bag`."""
    parser = commands.add_parser(
        'bag',
        help='a drive as rosbag2, with its map',
        description='Renders a drive and writes it as the bag a real robot would record, with the '
        'truth on topics of its own (/ground_truth/odometry, /ground_truth/datum), an aerial map '
        'and a parameter file.',
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--out', type=Path, required=True, metavar='DIR', help='folder to write')
    parser.add_argument(
        '--seed', type=int, default=0, help='of the city, the route, the day and every error (0)'
    )
    parser.add_argument(
        '--duration',
        type=float,
        metavar='S',
        help='of the drive, s (60); with --into-hall of its part before the hall, as far as the '
        'street goes (45)',
    )
    parser.add_argument(
        '--robot',
        choices=('car', 'delivery', 'pedestrian'),
        help='a car in the lanes, a delivery robot or somebody on foot on the pavements (car; '
        'delivery with --into-hall)',
    )
    parser.add_argument(
        '--into-hall',
        action='store_true',
        help='build a hall at a street, drive into it and out again, with depth; satellites are '
        'weak at its walls and silent in it',
    )
    parser.add_argument(
        '--camera',
        default='pinhole',
        choices=('pinhole', 'fisheye', 'panorama'),
        help='95 degrees, 180 degrees, or all around (pinhole)',
    )
    parser.add_argument(
        '--rate', type=float, default=4.0, metavar='HZ', help='pictures a second (4)'
    )
    parser.add_argument(
        '--depth',
        nargs='?',
        const='16UC1',
        choices=('16UC1', '32FC1'),
        help='with a stereo depth camera, registered to the pinhole camera: 16UC1 (mm, 0 for '
        'unknown) or 32FC1 (m, NaN for unknown)',
    )
    parser.add_argument(
        '--conditions',
        default='none',
        metavar='none|easy|hard|FILE',
        help='weather, traffic, lens and the age of the aerial picture: a preset, or a YAML file '
        'of settings (none)',
    )
    parser.add_argument(
        '--sensors',
        choices=('none', 'easy', 'hard'),
        help='faults of GNSS, wheels and IMU: none (noise, scale, drift), easy or hard '
        '(reflections, lost satellites, slip); as the conditions if not given, and easy with '
        '--into-hall',
    )
    parser.add_argument(
        '--outage',
        nargs=2,
        type=float,
        metavar=('START', 'END'),
        help='a span without satellites, s since the start',
    )
    parser.add_argument('--osm', type=Path, metavar='FILE', help='GeoJSON of a real place')
    parser.add_argument(
        '--map-gsd', type=float, default=0.15, metavar='M', help='of map.tif, m/px (0.15)'
    )
    parser.add_argument('--storage', default='mcap', choices=('mcap', 'sqlite3'), help='(mcap)')
    parser.add_argument(
        '--workers', type=int, metavar='W', help='threads (as many as there are processors)'
    )
    parser.set_defaults(run=_bag)


def _bag(args: argparse.Namespace) -> int:
    _check(args)
    from tqdm import tqdm

    from geoloc_ros.demo import write_params
    from geoloc_ros.demo_drive import HALL_PARAMETERS, write_drive, write_recording

    print('building the city ...', flush=True)
    drive, survey = _drives(args)
    count = len(drive.frame_times())
    encoding = args.depth or '16UC1'
    total = count + (len(survey.frame_times()) if survey is not None else 0)
    with tqdm(total=total, desc='rendering', unit='picture', disable=None) as bar:
        bag_path, map_path = write_drive(
            args.out,
            drive,
            map_gsd=args.map_gsd,
            storage=args.storage,
            depth_encoding=encoding,
            workers=args.workers,
            progress=bar.update,
        )
        if survey is not None:
            write_recording(
                args.out / 'survey', survey, args.storage, encoding, args.workers, bar.update
            )
    params = args.out / 'params.yaml'
    write_params(params, drive, map_path, HALL_PARAMETERS if survey is not None else None)
    record = drive.gnss_record
    size = sum(file.stat().st_size for file in bag_path.iterdir())
    print(f'{bag_path}: {count} pictures, {size / 1e6:.0f} MB')
    print(f'fixes: {len(record.fixes)}, without reception: {len(record.lost_ns)}')
    if drive.world.attribution:
        print(f'attribution: {drive.world.attribution}')
    evaluate = f'geoloc evaluate {bag_path} --params {params} --out {args.out / "results"}'
    if survey is not None:
        place = args.out / 'hall.place'
        print(f'try: geoloc place build {args.out / "survey"} -o {place} --params {params}')
        evaluate += f' --set place_map={place}'
    print(f'try: {evaluate}')
    return 0


def _check(args: argparse.Namespace) -> None:
    """Refuses what cannot work before anything is built.

    Raises:
        ConfigError: An option has no sensible value, or the renderer is not installed.
    """
    for name in ('duration', 'rate', 'map_gsd'):
        if getattr(args, name) is not None and not getattr(args, name) > 0:
            option = name.replace('_', '-')
            raise ConfigError(f'--{option} is {getattr(args, name):g}: expected a positive number')
    if args.seed < 0:
        raise ConfigError(f'--seed is {args.seed}: expected 0 or a positive whole number')
    if args.workers is not None and args.workers < 1:
        raise ConfigError(f'--workers is {args.workers}: expected 1 or more')
    if args.depth and args.camera != 'pinhole':
        raise ConfigError(f'--depth goes with --camera pinhole, not with {args.camera}')
    if args.into_hall and (args.camera != 'pinhole' or args.robot == 'car'):
        raise ConfigError(
            '--into-hall needs the pinhole camera, beside which depth is measured, and a robot '
            'that goes on pavements: delivery or pedestrian'
        )
    if args.outage and not 0 <= args.outage[0] < args.outage[1]:
        start, end = args.outage
        raise ConfigError(f'--outage {start:g} {end:g}: expected START before END, in seconds')
    absent = [name for name in ('embreex', 'numba') if importlib.util.find_spec(name) is None]
    if absent:
        raise ConfigError(
            f"rendering needs {' and '.join(absent)}: install it with pip install '.[sim]'"
        )


def _drives(args: argparse.Namespace) -> tuple[Any, Any]:
    """The drive and, with --into-hall, the survey of the hall; else None."""
    from geoloc_core.simulation.conditions.files import parse_conditions
    from geoloc_core.simulation.robots.drive import make_drive
    from geoloc_core.simulation.robots.hall_drive import make_hall_drives

    conditions = parse_conditions(args.conditions)
    if args.osm is None:
        from geoloc_core.simulation.world import make_world

        world = make_world(args.seed)
    else:
        from geoloc_core.simulation.footprints.world import world_from_footprints

        world = world_from_footprints(args.osm, args.seed)
    usual = 'easy' if args.into_hall else 'none'
    level = args.sensors or (args.conditions if args.conditions in ('easy', 'hard') else usual)
    outage = tuple(args.outage) if args.outage else None
    shared: dict[str, Any] = {
        'seed': args.seed,
        'rate_hz': args.rate,
        'outage': outage,
        'conditions': conditions,
        'sensors': level,
    }
    if args.into_hall:
        robot, street_s = args.robot or 'delivery', args.duration or 45.0
        both = make_hall_drives(world, robot=robot, street_s=street_s, **shared)
        return both.drive, both.survey
    drive = make_drive(
        world,
        duration=args.duration or 60.0,
        camera=args.camera,
        robot=args.robot or 'car',
        depth=bool(args.depth),
        **shared,
    )
    return drive, None
