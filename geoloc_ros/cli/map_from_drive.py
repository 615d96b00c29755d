# SPDX-License-Identifier: Apache-2.0
"""geoloc map from-drive: an aerial map out of a drive's own camera."""

import argparse
from pathlib import Path

from geoloc_core.errors import BagError, ConfigError


def register(subparsers) -> None:
    """Adds `geoloc map from-drive`."""
    parser = subparsers.add_parser(
        'from-drive',
        help='make an orthomosaic GeoTIFF from a posed drive',
        description='Projects the frames of a posed drive to the ground and blends them to a '
        'georeferenced GeoTIFF that geoloc can localize against. Poses come from the ground truth '
        'in the bag, from a TUM file, or from geoloc itself.',
    )
    parser.add_argument('bag', help='ROS 1 .bag, rosbag2 folder, .mcap or .db3')
    parser.add_argument('--out', required=True, metavar='TIF', help='the map to write')
    parser.add_argument(
        '--poses',
        default='truth',
        metavar='SOURCE',
        help='"truth" (default), "estimate" (geoloc with GNSS and odometry), or a TUM file of '
        'base_link in the ENU frame at --datum',
    )
    parser.add_argument(
        '--datum',
        nargs=3,
        type=float,
        metavar=('LAT', 'LON', 'ALT'),
        help='origin of the poses, degrees and m; read from the bag if it says',
    )
    parser.add_argument('--params', metavar='YAML', help='parameter file of the node')
    parser.add_argument(
        '--topic', nargs='+', default=[], metavar='KIND=/TOPIC', help='see geoloc evaluate'
    )
    parser.add_argument('--every', type=int, default=1, help='one frame of so many')
    parser.add_argument('--offset', type=int, default=0, help='first frame')
    parser.add_argument('--gsd', type=float, default=0.1, metavar='M', help='m per pixel')
    parser.add_argument(
        '--range', type=float, default=30.0, metavar='M', help='ground used around the camera, m'
    )
    parser.set_defaults(run=_from_drive)


def _from_drive(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from geoloc_core.bags.reader import read_bag
    from geoloc_core.bags.topics import TopicChoice
    from geoloc_core.geometry.geodesy import Datum
    from geoloc_core.maps.mosaic import MosaicConfig
    from geoloc_ros.bags.drive_map import drive_poses, mosaic_of_drive
    from geoloc_ros.cli.evaluate import parameters

    if args.every < 1 or args.offset < 0:
        raise ConfigError('--every must be at least 1 and --offset not negative')
    if not args.gsd > 0 or not args.range > 0:
        raise ConfigError('--gsd and --range must be positive')
    folder = Path(args.out).resolve().parent
    if not folder.is_dir():
        raise ConfigError(f'there is no folder {folder} to write {args.out} to')
    params = parameters(args.params, [], None)
    topics = TopicChoice.of(args.topic)
    datum = None if args.datum is None else Datum(*args.datum)
    with read_bag(args.bag) as reader:
        poses, frame = drive_poses(reader, args.poses, params, topics, datum)
        image = reader.require('image', topics.image)
        total = -(-max(0, reader.topics[image].count - args.offset) // args.every)
        mosaic, used = mosaic_of_drive(
            reader,
            poses,
            frame,
            params,
            MosaicConfig(
                gsd=args.gsd,
                range_m=args.range,
                base_height_m=params['matcher.base_height_m'],
            ),
            topics,
            args.every,
            args.offset,
            progress=lambda views: tqdm(views, desc='projecting', unit='frame', total=total),
        )
    if not used:
        raise BagError(f'no frame of {args.bag} has a pose: nothing to map')
    mosaic.write_geotiff(args.out)
    info = mosaic.info
    print(
        f'{args.out}: {len(used)} frames, {info.size_px[0]} x {info.size_px[1]} px of '
        f'{info.gsd:g} m, {info.crs}'
    )
    return 0
