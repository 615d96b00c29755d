# SPDX-License-Identifier: Apache-2.0
"""The `geoloc` command: one door to everything that is not the node."""

import argparse
import importlib
import logging
import os
import sys

from geoloc_core import __version__
from geoloc_core.errors import GeolocError

# Each names a module of this package with `register(subparsers)`; a command that needs something
# heavy imports it when it runs, so that `geoloc --help` stays quick.
COMMANDS = ('map', 'bag', 'replay', 'evaluate', 'report', 'model', 'demo')


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog='geoloc',
        description='Localize a robot against aerial imagery: maps, bags, replay, evaluation.',
    )
    parser.add_argument('--version', action='version', version=f'geoloc {__version__}')
    parser.add_argument('-v', '--verbose', action='store_true', help='say more while working')
    subparsers = parser.add_subparsers(dest='command', metavar='COMMAND', required=True)
    for name in COMMANDS:
        importlib.import_module(f'geoloc_ros.cli.{name}').register(subparsers)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: Arguments without the program's name; `sys.argv[1:]` if None.

    Returns:
        0 on success, 1 on an error that was explained, 130 after Ctrl-C.
    """
    if not sys.stderr.isatty():
        # In a log file a progress bar that redraws ten times a second is noise.
        os.environ.setdefault('TQDM_MININTERVAL', '15')
    args = build_parser().parse_args(argv)
    logging.basicConfig(
        level=logging.DEBUG if args.verbose else logging.INFO,
        format='%(levelname)s %(name)s: %(message)s',
    )
    try:
        return int(args.run(args) or 0)
    except GeolocError as error:
        print(f'geoloc: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('geoloc: interrupted', file=sys.stderr)
        return 130


if __name__ == '__main__':
    sys.exit(main())
