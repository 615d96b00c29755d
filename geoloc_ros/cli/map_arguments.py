# SPDX-License-Identifier: Apache-2.0
"""Arguments that the `geoloc map` commands share."""

import argparse
from pathlib import Path

from geoloc_core.errors import ConfigError
from geoloc_core.maps.area import along_track, Bounds, square_bounds
from geoloc_core.maps.opening import open_map
from geoloc_core.maps.raster_source import RasterMapSource

DEFAULT_RADIUS_M = 200.0


def add_map(parser: argparse.ArgumentParser) -> None:
    """Which map, and how to open it."""
    parser.add_argument(
        'map',
        help='GeoTIFF, .mbtiles, folder of tiles, or a path or URL with {z}, {x} and {y} or {-y}',
    )
    parser.add_argument('--attribution', default='', help='who must be named where it is shown')
    parser.add_argument(
        '--crs', help='GeoTIFF: use this reference system instead of the one it states'
    )
    group = parser.add_argument_group('tile servers')
    group.add_argument('--min-zoom', type=int, default=0, help='coarsest zoom the server has')
    group.add_argument('--max-zoom', type=int, default=19, help='finest zoom the server has')
    group.add_argument(
        '--tile-px', type=int, default=0, help='side of its tiles (256; 512 if @2x)'
    )
    group.add_argument('--cache-dir', type=Path, help='disk cache (~/.cache/geoloc)')
    group.add_argument('--cache-size-mb', type=float, default=1024.0, help='limit of the cache')
    group.add_argument('--cache-days', type=float, default=30.0, help='age to ask again at')
    group.add_argument('--timeout', type=float, default=5.0, help='longest wait for a tile, s')


def add_area(parser: argparse.ArgumentParser) -> None:
    """Which part of the map."""
    area = parser.add_mutually_exclusive_group()
    area.add_argument('--bounds', metavar='W,S,E,N', help='rectangle, degrees')
    area.add_argument('--center', metavar='LAT,LON', help='middle of a square, degrees')
    area.add_argument('--bag', type=Path, help='a strip along the track of this bag')
    parser.add_argument(
        '--radius',
        type=float,
        default=DEFAULT_RADIUS_M,
        metavar='M',
        help=f'around --center or the track of --bag ({DEFAULT_RADIUS_M:g} m)',
    )


def open_named(args: argparse.Namespace) -> RasterMapSource:
    """Opens the map of `add_map`; nothing is read ahead, as a command knows what it wants."""
    return open_map(
        args.map,
        attribution=args.attribution,
        crs=args.crs,
        block_m=0.0,
        cache_dir=args.cache_dir,
        cache_size_mb=args.cache_size_mb,
        cache_days=args.cache_days,
        min_zoom=args.min_zoom,
        max_zoom=args.max_zoom,
        tile_px=args.tile_px,
        timeout_s=args.timeout,
    )


def named_areas(args: argparse.Namespace) -> list[Bounds]:
    """The rectangles of `add_area`; empty if none was named.

    Raises:
        ConfigError: The numbers are not understood.
        BagError: The bag tells no track.
    """
    if args.bounds:
        west, south, east, north = numbers(args.bounds, 4, '--bounds W,S,E,N')
        if not (-90 <= south < north <= 90 and abs(west) <= 180 and abs(east) <= 180):
            raise ConfigError(f'--bounds {args.bounds}: expected degrees as west,south,east,north')
        return [(west, south, east, north)]
    if args.center:
        lat, lon = numbers(args.center, 2, '--center LAT,LON')
        return [square_bounds(lat, lon, args.radius)]
    if args.bag:
        return along_track(*_track(args.bag), args.radius)
    return []


def numbers(text: str, count: int, what: str) -> list[float]:
    """Comma-separated numbers.

    Raises:
        ConfigError: There are not `count` numbers.
    """
    try:
        values = [float(part) for part in text.split(',')]
    except ValueError:
        values = []
    if len(values) != count:
        raise ConfigError(f'{what}: expected {count} numbers with commas between, got {text!r}')
    return values


def _track(bag: Path) -> tuple[list[float], list[float]]:
    """Latitudes and longitudes along a bag: its ground truth if it has one, else its fixes."""
    from geoloc_core.bags.reader import read_bag
    from geoloc_core.errors import BagError
    from geoloc_core.geometry.geodesy import EnuFrame

    with read_bag(bag) as reader:
        datum = reader.truth_datum()
        truth = reader.truth() if datum is not None else None
        if datum is not None and truth is not None:
            frame = EnuFrame(datum)
            lats, lons, _ = frame.geodetic_from_enu([T[:3, 3] for T in truth.poses])
            return list(lats), list(lons)
        topics = reader.candidates('fix')
        fixes = [item.message for item in reader.messages(topics)] if topics else []
        places = [
            (float(fix.latitude), float(fix.longitude))
            for fix in fixes
            if fix.status.status >= 0
            and abs(fix.latitude) <= 90
            and abs(fix.longitude) <= 180
            and (fix.latitude, fix.longitude) != (0.0, 0.0)
        ]
        if not places:
            raise BagError(f'{bag} has no valid NavSatFix: its track is not known')
        return [lat for lat, _ in places], [lon for _, lon in places]
