# SPDX-License-Identifier: Apache-2.0
"""The `geoloc` command: one door to everything that is not the node."""

import argparse
import importlib
from importlib.metadata import entry_points
import logging
import os
import sys

from geoloc_core import __version__
from geoloc_core.errors import GeolocError

# Each names a module of this package with `register(subparsers)`; a command that needs something
# heavy imports it when it runs, so that `geoloc --help` stays quick.
COMMANDS = ('map', 'place', 'bag', 'replay', 'evaluate', 'report', 'model', 'world', 'demo')

FIRST_STEPS = """first steps:
  geoloc demo                                 see it work, on a drive it renders itself
  geoloc bag info DRIVE                       what a bag holds, and what geoloc can use of it
  geoloc map info MAP                         where a map lies, and whether it can be believed
  geoloc place build FRAMES -o ROOM.place     map a place, to localize by RGB-D in it
  geoloc evaluate DRIVE --map MAP --out OUT   localize a recorded drive, score it, report it
  geoloc COMMAND --help                       more on a command

The node itself is started with ros2 launch geoloc_ros geoloc.launch.py."""


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog='geoloc',
        description='Localize a robot against aerial imagery: maps, bags, replay, evaluation.',
        epilog=FIRST_STEPS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--version', action='version', version=f'geoloc {__version__}')
    parser.add_argument('-v', '--verbose', action='store_true', help='say more while working')
    subparsers = parser.add_subparsers(dest='command', metavar='COMMAND', required=True)
    for name in COMMANDS:
        importlib.import_module(f'geoloc_ros.cli.{name}').register(subparsers)
    # Offline parts bring their own commands (setup.py, `geoloc.commands`): the robot's package
    # does not know them, and works without them.
    for entry in entry_points(group='geoloc.commands'):
        try:
            entry.load().register(subparsers)
        except ImportError as error:
            logging.getLogger(__name__).debug('no command %s: %s', entry.name, error)
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
    if not args.verbose:
        # What GDAL says of a file on the way is in our own error, once.
        logging.getLogger('rasterio').setLevel(logging.ERROR)
    try:
        return int(args.run(args) or 0)
    except GeolocError as error:
        print(f'geoloc: {error}', file=sys.stderr)
        return 1
    except OSError as error:
        # A full disk, a folder that may not be written: theirs to mend, not ours.
        if args.verbose:
            raise
        text = f'{error.filename}: {error.strerror}' if error.filename else str(error)
        print(f'geoloc: {text}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('geoloc: interrupted', file=sys.stderr)
        return 130


if __name__ == '__main__':
    sys.exit(main())
