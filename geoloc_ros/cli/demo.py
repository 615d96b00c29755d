# SPDX-License-Identifier: Apache-2.0
"""geoloc demo: a rendered drive through the real node, scored and reported."""

import argparse
from pathlib import Path
import signal
import sys
import time

from geoloc_core.errors import ConfigError


def register(subparsers) -> None:
    """Adds `geoloc demo`."""
    parser = subparsers.add_parser(
        'demo',
        help='render a drive, run the real node on it, score it and write a report',
        description='Renders a drive through a made-up city (a bag and its aerial map), starts '
        'the node on a ROS graph of its own, replays the drive to it with /clock, records what '
        'it answers and scores it against the truth.',
    )
    parser.add_argument('--out', default='out/demo', metavar='DIR', help='everything goes here')
    parser.add_argument('--seed', type=int, default=0, help='another city, route and errors')
    parser.add_argument('--duration', type=float, default=160.0, metavar='S', help='of the drive')
    parser.add_argument('--rate', type=float, default=1.0, help='replay speed against real time')
    parser.add_argument(
        '--camera', default='pinhole', choices=('pinhole', 'fisheye', 'panorama'), help='its lens'
    )
    parser.add_argument(
        '--keep', action='store_true', help='take the drive that is there, if it is the same'
    )
    parser.add_argument(
        '--matcher',
        default='learned',
        choices=('learned', 'classical'),
        help='what compares pictures with the map: our network, or correlation without weights',
    )
    parser.set_defaults(run=_demo)


def _demo(args: argparse.Namespace) -> int:
    from geoloc_ros.cli.evaluate import print_summary
    from geoloc_ros.demo import DemoOptions, run_demo

    if args.duration < 20:
        raise ConfigError(f'--duration is {args.duration:g} s: a drive needs at least 20 s')
    if not args.rate > 0:
        raise ConfigError(f'--rate is {args.rate:g}: expected a positive number')
    # `kill` shall end the node as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    begin = time.monotonic()
    out = Path(args.out)
    metrics = run_demo(
        DemoOptions(out, args.seed, args.duration, args.rate, args.camera, args.keep, args.matcher)
    )
    print()
    print_summary(metrics)
    print(f'{metrics["outage_s"]:.0f} s of {metrics["duration_s"]:.0f} s without satellites')
    print(f'report: {out / "report.html"}   figures: {out / "metrics.json"}')
    print(f'done in {time.monotonic() - begin:.0f} s')
    return 0
