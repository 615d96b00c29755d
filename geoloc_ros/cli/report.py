# SPDX-License-Identifier: Apache-2.0
"""`geoloc report`: the HTML page and the plots of an evaluation."""

import argparse
import logging
from pathlib import Path

logger = logging.getLogger(__name__)


def register(subparsers) -> None:
    """Adds `geoloc report`."""
    parser = subparsers.add_parser(
        'report',
        help='make the HTML report of an evaluation',
        description='Makes one HTML file that opens offline, and plots, from the folder that '
        '`geoloc evaluate` or `geoloc demo` wrote.',
    )
    parser.add_argument('out', type=Path, metavar='OUT', help="an evaluation's folder")
    parser.add_argument('--output', type=Path, help='file to write (default: OUT/report.html)')
    parser.add_argument('--pictures', type=int, default=80, help='most frames shown with pictures')
    parser.add_argument(
        '--plots', action=argparse.BooleanOptionalAction, default=True, help='draw OUT/plots too'
    )
    parser.add_argument('--svg', action='store_true', help='plots as SVG beside PNG')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Writes the report, and the plots where matplotlib is installed.

    Args:
        args: What `register` declares.

    Returns:
        0.
    """
    from geoloc_core.visualization.plots import write_plots
    from geoloc_core.visualization.report import write_report

    print(write_report(args.out, args.output, max_pictures=args.pictures))
    if args.plots:
        try:
            for path in write_plots(args.out, formats=('png', 'svg') if args.svg else ('png',)):
                print(path)
        except ImportError:
            logger.warning('no plots: matplotlib is missing (pip install matplotlib)')
    return 0
