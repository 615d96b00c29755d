# SPDX-License-Identifier: Apache-2.0
"""geoloc map: look at, check and take along aerial maps."""

import argparse
import importlib.util
from pathlib import Path

from geoloc_ros.cli import map_arguments

_MAX_FAULTS_SHOWN = 20
# A raster without overviews is read whole for a coarse patch; above this it takes seconds.
_LARGE_PX = 25_000_000


def register(subparsers) -> None:
    """Adds `geoloc map`."""
    parser = subparsers.add_parser('map', help='look at, check, prefetch or make an aerial map')
    commands = parser.add_subparsers(dest='map_command', metavar='COMMAND', required=True)
    _register_info(commands)
    _register_prefetch(commands)
    _register_check(commands)
    if importlib.util.find_spec('geoloc_ros.cli.map_from_drive'):
        from geoloc_ros.cli import map_from_drive

        map_from_drive.register(commands)


def _register_info(commands) -> None:
    parser = commands.add_parser(
        'info',
        help='bounds, resolution, reference system, attribution',
        description='Opens a map as the node would (so a map that it refuses is refused here, '
        'with the reason) and prints where it lies, how fine it is, its reference system and who '
        'must be named.',
    )
    map_arguments.add_map(parser)
    parser.add_argument('--picture', type=Path, metavar='FILE', help='write a picture of it too')
    parser.add_argument('--center', metavar='LAT,LON', help='picture of this place only')
    parser.add_argument('--radius', type=float, default=200.0, metavar='M', help='of that picture')
    parser.set_defaults(run=run_info)


def _register_prefetch(commands) -> None:
    parser = commands.add_parser(
        'prefetch',
        help='copy an area into an MBTiles archive for use without a network',
        description='Copies an area of any map into an MBTiles archive. Interrupted, it goes on '
        'where it stopped when called again. Mind the terms of the tile server you name.',
    )
    map_arguments.add_map(parser)
    map_arguments.add_area(parser)
    parser.add_argument('-o', '--output', type=Path, required=True, help='the archive (.mbtiles)')
    parser.add_argument(
        '--zooms', metavar='LOW-HIGH', help='zooms to copy (the finest and four coarser ones)'
    )
    parser.add_argument('--max-tiles', type=int, default=100_000, help='refuse more than these')
    parser.add_argument('--dry-run', action='store_true', help='only say how much it would be')
    parser.set_defaults(run=run_prefetch)


def _register_check(commands) -> None:
    parser = commands.add_parser(
        'check',
        help='read all of a map and name what is torn; exit code 1 if anything is',
        description='Reads every block or tile of a map, or of an area of it, and names what is '
        'damaged or missing. Do this once before a robot depends on the map. Exit code 1 if '
        'anything is.',
    )
    map_arguments.add_map(parser)
    map_arguments.add_area(parser)
    parser.set_defaults(run=run_check)


def run_info(args: argparse.Namespace) -> int:
    """Prints what a map is."""
    from geoloc_core.maps.tile_pyramid import TilePyramid

    source = map_arguments.open_named(args)
    info = source.info
    west, south, east, north = info.bounds_deg
    lines = [
        ('map', info.name),
        ('kind', info.kind),
        ('reference system', info.crs),
        ('bounds', f'{west:.6f},{south:.6f},{east:.6f},{north:.6f} (west,south,east,north)'),
        ('resolution', f'{info.gsd:.4g} m/px at the middle'),
        ('size', f'{info.size_px[0]} x {info.size_px[1]} px'),
        ('attribution', info.attribution or 'none stated'),
    ]
    if isinstance(source.pyramid, TilePyramid):
        zooms = ', '.join(str(z) for z in reversed(source.pyramid.zooms))
        lines.append(('zooms', f'{zooms} (tiles of {source.pyramid.store.tile_px} px)'))
    else:
        coarser = ', '.join(f'{level.factor_u:.3g}' for level in source.pyramid.levels[1:])
        slow = info.size_px[0] * info.size_px[1] > _LARGE_PX
        lines.append(('overviews', coarser or ('none: add some (gdaladdo)' if slow else 'none')))
    if args.picture:
        _write_picture(source, args)
        lines.append(('picture', str(args.picture)))
    lines += [('problem', text) for text in source.problems()]
    for name, text in lines:
        print(f'{name + ":":18}{text}')
    source.close()
    return 0


def run_prefetch(args: argparse.Namespace) -> int:
    """Copies an area into an archive."""
    from tqdm import tqdm

    from geoloc_core.errors import ConfigError
    from geoloc_core.maps import prefetch
    from geoloc_core.maps.area import tiles_in_area
    from geoloc_core.maps.mbtiles_writer import MbtilesWriter

    source = map_arguments.open_named(args)
    finest = prefetch.finest_zoom(source)
    low, high = _zooms(args.zooms, finest)
    areas = map_arguments.named_areas(args)
    if not areas:
        if source.info.kind == 'tile url':
            raise ConfigError('name the area to copy: --bounds, --center or --bag')
        areas = [source.info.bounds_deg]
    wanted = tiles_in_area(areas, range(low, high + 1), args.max_tiles)
    size = prefetch.estimate_bytes(source, wanted)
    print(f'{len(wanted)} tiles, zooms {low} to {high}, about {size / 1e6:.1f} MB')
    if args.dry_run:
        source.close()
        return 0
    with MbtilesWriter(args.output, source.info.name, source.info.attribution) as archive:
        lacking = archive.lacking(wanted)
        stored = 0
        with tqdm(
            total=len(wanted), initial=len(wanted) - len(lacking), unit='tile', disable=None
        ) as bar:
            for count, progress in prefetch.copy_tiles(source, lacking, archive):
                stored += count
                bar.update(progress)
        total = archive.count()
    print(f'{args.output}: {stored} tiles added, {total} in all')
    absent = len(lacking) - stored
    if absent:
        print(f'{absent} of the tiles wanted are not on the map')
        for text in source.problems():
            print(f'  {text}')
    if not source.info.attribution:
        print('no attribution is known for this map: name it with --attribution')
    source.close()
    return 0


def run_check(args: argparse.Namespace) -> int:
    """Reads everything."""
    from tqdm import tqdm

    from geoloc_core.errors import ConfigError

    source = map_arguments.open_named(args)
    areas = map_arguments.named_areas(args)
    if source.info.kind == 'tile url' and not areas:
        raise ConfigError('a server has no end: name the area to check (--center, --bounds)')
    faults, parts, total = _faults(source, areas)
    found = []
    checked = 0
    for fault in tqdm(faults, total=total, unit=parts, disable=None):
        checked += 1
        if fault:
            found.append(fault)
    for fault in found[:_MAX_FAULTS_SHOWN]:
        print(fault)
    if len(found) > _MAX_FAULTS_SHOWN:
        print(f'... and {len(found) - _MAX_FAULTS_SHOWN} more')
    for text in source.problems():
        print(f'note: {text}')
    source.close()
    verdict = 'sound' if not found else f'{len(found)} damaged or missing'
    print(f'{source.info.name}: {checked} {parts}s read, {verdict}')
    return 1 if found else 0


def _faults(source, areas):
    """What to go through, what its parts are called, and how many there are."""
    from geoloc_core.errors import ConfigError
    from geoloc_core.maps.area import tiles_in_area
    from geoloc_core.maps.tile_pyramid import TilePyramid

    pyramid = source.pyramid
    if not isinstance(pyramid, TilePyramid):
        if areas:
            raise ConfigError('an area can be named for tiles only; a raster is read as a whole')
        return pyramid.check(), 'block', pyramid.parts()
    if not areas:
        return pyramid.check(), 'tile', pyramid.parts()
    tiles = tiles_in_area(areas, [pyramid.zooms[0]], 1_000_000)
    return pyramid.check_tiles(tiles), 'tile', len(tiles)


def _zooms(text: str | None, finest: int) -> tuple[int, int]:
    from geoloc_core.errors import ConfigError

    if text is None:
        return max(0, finest - 4), finest
    parts = text.split('-')
    if not all(part.isdigit() for part in parts) or not 1 <= len(parts) <= 2:
        raise ConfigError(f'--zooms {text}: expected for example 15-19, or 18')
    low, high = int(parts[0]), int(parts[-1])
    if low > high or high > finest:
        raise ConfigError(f'--zooms {text}: this map has detail up to zoom {finest}')
    return low, high


def _write_picture(source, args: argparse.Namespace) -> None:
    import cv2

    from geoloc_core.errors import ConfigError
    from geoloc_core.geometry.geodesy import Datum, EnuFrame
    from geoloc_core.maps.preview import preview

    if args.center:
        lat, lon = map_arguments.numbers(args.center, 2, '--center LAT,LON')
        side_m = 2 * args.radius
        gsd = max(side_m / 1024, source.info.gsd / 2)
        rgb = source.patch(EnuFrame(Datum(lat, lon)), (0.0, 0.0), side_m, gsd).image
    elif source.info.kind == 'tile url':
        raise ConfigError('a picture of a server needs a place: --center LAT,LON')
    else:
        rgb = preview(source.pyramid)
    try:
        done = cv2.imwrite(str(args.picture), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    except cv2.error:
        done = False
    if not done:
        raise ConfigError(f'{args.picture} cannot be written; expected a .jpg or .png file')
