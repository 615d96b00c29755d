# SPDX-License-Identifier: Apache-2.0
"""geoloc world: a rendered city to look at, to train in, and to test with."""

import argparse
import importlib.util
import os
from pathlib import Path

from geoloc_core.errors import ConfigError

_RENDER_EXAMPLES = """examples:
  geoloc world render --layout vigor --out data/vigor --count 2000 --size 256x512
      2,000 panoramas of four cities with their satellite tiles
  geoloc world render --layout kitti --out data/kitti --count 600 --cities 3 --conditions hard
      drives with another season, leaning houses and moved cars in the aerial image
  geoloc world render --layout 7scenes --out data/rooms --count 300 --cities 2
      colour, depth and poses of a hand-held camera in two rooms

Interrupted at any moment, the same command goes on where it stopped. The same seed gives the same
bytes, with any number of workers; world.json in the folder says how it was made.
"""
_PREVIEW_EXAMPLES = """examples:
  geoloc world preview --seed 7                      one place through every camera
  geoloc world preview --conditions hard --out hard.png
  geoloc world preview --osm config/world/helsinki.geojson
      a real place, from OpenStreetMap
"""


def register(subparsers) -> None:
    """Adds `geoloc world`."""
    parser = subparsers.add_parser(
        'world',
        help='a rendered city: look at it, or render a data set from it',
        description='A made-up city from a seed, or a real one from OpenStreetMap, with exact '
        'depth, labels and poses.',
    )
    commands = parser.add_subparsers(dest='world_command', metavar='COMMAND', required=True)
    _register_preview(commands)
    _register_render(commands)
    if importlib.util.find_spec('geoloc_ros.cli.world_bag'):
        from geoloc_ros.cli import world_bag

        world_bag.register(commands)


def _register_preview(commands) -> None:
    parser = commands.add_parser(
        'preview',
        help='a contact sheet: one place through every camera, from above, and in all weathers',
        description='Renders one place as panorama, pinhole, fisheye and aerial picture, with '
        'depth and labels, and under each preset of conditions, onto one sheet.',
        epilog=_PREVIEW_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--seed', type=int, default=0, help='another city and place (0)')
    parser.add_argument('--osm', type=Path, metavar='FILE', help='GeoJSON of a real place')
    _add_conditions(parser, 'of the large pictures')
    parser.add_argument(
        '--out', type=Path, default=Path('world.png'), metavar='FILE', help='sheet (world.png)'
    )
    parser.set_defaults(run=run_preview)


def _register_render(commands) -> None:
    parser = commands.add_parser(
        'render',
        help="a data set in a publisher's layout",
        description='Renders a data set and writes it exactly as a publisher lays his out, so '
        'that whatever reads the real one reads this one.',
        epilog=_RENDER_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--layout', required=True, metavar='NAME', help=f'one of {", ".join(_layouts())}'
    )
    parser.add_argument('--out', type=Path, required=True, metavar='DIR', help='a new folder')
    parser.add_argument('--count', type=int, default=200, metavar='N', help='pictures (200)')
    parser.add_argument(
        '--size', metavar='HxW', help="of a picture, px; the publisher's if not given"
    )
    parser.add_argument(
        '--cities', type=int, default=4, metavar='K', help='cities, or rooms, to share them (4)'
    )
    parser.add_argument('--seed', type=int, default=0, help='of everything (0)')
    parser.add_argument(
        '--osm', type=Path, metavar='FILE', help='GeoJSON of a real town, for layouts outdoors'
    )
    _add_conditions(parser, 'of all pictures')
    parser.add_argument(
        '--workers', type=int, metavar='W', help='threads (as many as there are processors)'
    )
    parser.set_defaults(run=run_render)


def _add_conditions(parser: argparse.ArgumentParser, whose: str) -> None:
    parser.add_argument(
        '--conditions',
        default='none',
        metavar='none|easy|hard|FILE',
        help=f'what makes it hard, {whose}: a preset, or a YAML file of settings (none)',
    )


def run_preview(args: argparse.Namespace) -> int:
    """Renders the contact sheet."""
    _need_renderer()
    from geoloc_core.simulation.conditions.files import parse_conditions
    from geoloc_core.simulation.contact_sheet import contact_sheet, preview_world

    if args.out.suffix.lower() not in ('.png', '.jpg', '.jpeg'):
        raise ConfigError(f'--out {args.out}: expected a .png or .jpg file')
    if args.seed < 0:
        raise ConfigError(f'--seed {args.seed}: expected 0 or a positive whole number')
    conditions = parse_conditions(args.conditions)
    world = preview_world(args.seed, args.osm)
    sheet = contact_sheet(world, args.seed, conditions, str(args.conditions), say=print)
    _write_picture(args.out, sheet)
    print(f'{args.out}: {sheet.shape[1]} x {sheet.shape[0]} px')
    if world.attribution:
        print(f'attribution: {world.attribution}')
    return 0


def run_render(args: argparse.Namespace) -> int:
    """Renders a data set."""
    from geoloc_core.simulation.layouts.registry import layout

    layout(args.layout)
    if args.workers is not None and args.workers < 1:
        raise ConfigError(f'--workers {args.workers}: expected 1 or more')
    size = None if args.size is None else _size(args.size)
    _need_renderer()
    from tqdm import tqdm

    from geoloc_core.simulation.conditions.files import parse_conditions
    from geoloc_core.simulation.layouts.dataset import DatasetOptions, render_dataset

    options = DatasetOptions(
        layout=args.layout,
        count=args.count,
        size=size,
        cities=args.cities,
        seed=args.seed,
        conditions=parse_conditions(args.conditions),
        osm=args.osm,
    )
    with tqdm(total=args.count, unit='picture', disable=None, smoothing=0.1) as bar:

        def say(text: str) -> None:
            bar.set_description(text)

        manifest = render_dataset(
            args.out, options, workers=args.workers, progress=bar.update, say=say
        )
    counts = ', '.join(f'{count} {name}' for name, count in manifest['counts'].items())
    print(f'{args.out}: {counts}; {manifest["files"]} files, {manifest["bytes"] / 1e6:.0f} MB')
    print(f'sha256 of the tree: {manifest["tree_sha256"]}')
    print(f'look at it with: geoloc data check {args.out}')
    return 0


def _layouts() -> tuple[str, ...]:
    from geoloc_core.simulation.layouts.registry import LAYOUTS

    return tuple(LAYOUTS)


def _size(text: str) -> tuple[int, int]:
    """(width, height) of 'HEIGHTxWIDTH', the order in which the field writes sizes."""
    height, _, width = text.lower().partition('x')
    if not (width.isdigit() and height.isdigit()):
        raise ConfigError(f'--size {text}: expected HEIGHTxWIDTH in pixels, for example 256x512')
    return int(width), int(height)


def _need_renderer() -> None:
    """Says what to install where the ray caster is missing.

    Raises:
        ConfigError: embreex or numba is not installed.
    """
    absent = [name for name in ('embreex', 'numba') if importlib.util.find_spec(name) is None]
    if absent:
        raise ConfigError(
            f"rendering needs {' and '.join(absent)}: install it with pip install '.[sim]'"
        )
    os.environ.setdefault('OMP_NUM_THREADS', '1')


def _write_picture(path: Path, rgb) -> None:
    import cv2

    done, data = cv2.imencode(path.suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    if not done:
        raise ConfigError(f'{path}: this kind of picture cannot be written; use .png')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(data))
