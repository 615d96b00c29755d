# SPDX-License-Identifier: Apache-2.0
"""geoloc replay: play a bag into the live ROS graph, with /clock."""

import argparse

from geoloc_core.errors import BagError, ConfigError


def register(subparsers) -> None:
    """Adds `geoloc replay`."""
    parser = subparsers.add_parser(
        'replay',
        help='play a bag into the live ROS graph, with /clock',
        description='Plays a ROS 1 or ROS 2 bag into the live graph with /clock (start the node '
        'with use_sim_time). Types whose packages are not installed are skipped.',
    )
    parser.add_argument('bag', help='ROS 1 .bag, rosbag2 folder, .mcap or .db3')
    parser.add_argument('--rate', type=float, default=1.0, help='speed against real time')
    parser.add_argument(
        '--topics', nargs='+', metavar='TOPIC', help='only these; /from:=/to renames one'
    )
    parser.add_argument(
        '--remap', nargs='+', default=[], metavar='FROM:=TO', help='publish on another topic'
    )
    parser.add_argument(
        '--exclude', nargs='+', default=[], metavar='TOPIC', help='leave these out'
    )
    parser.add_argument('--start', type=float, default=0.0, metavar='S', help='begin here, s')
    parser.add_argument('--duration', type=float, metavar='S', help='play this much, s')
    parser.add_argument('--loop', action='store_true', help='start again at the end')
    parser.add_argument(
        '--wait-for',
        nargs='+',
        default=[],
        metavar='TOPIC',
        help='do not begin before somebody subscribes to these topics of the bag',
    )
    parser.add_argument(
        '--wait-timeout',
        type=float,
        default=30.0,
        metavar='S',
        help='give up on --wait-for after this, s',
    )
    parser.set_defaults(run=_replay)


def _renames(pairs: list[str]) -> dict[str, str]:
    renames = {}
    for pair in pairs:
        source, separator, target = pair.partition(':=')
        if not (separator and source and target):
            raise BagError(f'{pair!r}: expected /from:=/to')
        renames[source] = target
    return renames


def _replay(args: argparse.Namespace) -> int:
    try:
        import rclpy
    except ImportError as error:
        raise ConfigError(
            'geoloc replay needs rclpy: source a ROS 2 setup, or install the "ros" extra'
        ) from error
    from tqdm import tqdm

    from geoloc_core.bags.reader import read_bag
    from geoloc_ros.bags.player import BagPlayer, PlayOptions

    renames = _renames([t for t in args.topics or () if ':=' in t] + args.remap)
    chosen = None if args.topics is None else [t.partition(':=')[0] for t in args.topics]
    options = PlayOptions(
        rate=args.rate,
        remap=renames,
        topics=chosen,
        exclude=args.exclude,
        start_s=args.start,
        duration_s=args.duration,
        loop=args.loop,
        wait_for=args.wait_for,
        wait_timeout_s=args.wait_timeout,
    )
    with read_bag(args.bag) as reader:
        rclpy.init()
        node = rclpy.create_node('geoloc_replay')
        try:
            player = BagPlayer(reader, node, options)
            total = args.duration or max(0.0, reader.duration_s - args.start)
            form = '{desc} {percentage:3.0f}%|{bar}| {n:.1f}/{total:.1f} s [{elapsed}]'
            with tqdm(total=total, desc='replaying', bar_format=form) as bar:
                published = player.play(bar.update)
        finally:
            node.destroy_node()
            rclpy.try_shutdown()
    print(f'{published} messages played')
    return 0
