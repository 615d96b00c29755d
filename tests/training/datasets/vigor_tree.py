# SPDX-License-Identifier: Apache-2.0
"""A VIGOR of a few small pictures, whose labels agree with their names."""

import cv2
import numpy as np

from geoloc_core.geometry import tiles

# Near the real cities; a tile's name is its middle.
CENTRES = {
    'NewYork': (40.7501, -73.9905),
    'Seattle': (47.6102, -122.3301),
    'SanFrancisco': (37.7803, -122.4201),
    'Chicago': (41.8801, -87.6302),
}
PANO_HEIGHT, TILE_SIDE = 16, 80


def tile_name(lat, lon):
    return f'satellite_{lat!r}_{lon!r}.png'


def label(city, number, d_row, d_col):
    """(panorama's name, line): a positive at the given offset and three neighbours."""
    lat, lon = CENTRES[city]
    lat += 0.002 * number
    x, y = tiles.pixel_from_lonlat(lon, lat, 20)
    names, deltas = [], []
    # Half a tile further east, south, both: the same place seen off-centre.
    for right, down in ((0, 0), (320, 0), (0, 320), (320, 320)):
        lon_k, lat_k = tiles.lonlat_from_pixel(x + right, y + down, 20)
        names.append(tile_name(float(lat_k), float(lon_k)))
        deltas.append((d_row - down, d_col + right))
    lon_p, lat_p = tiles.lonlat_from_pixel(x - d_col, y + d_row, 20)
    pano = f'{city[:2]}id{number:04d},{lat_p:.6f},{lon_p:.6f},.jpg'
    parts = [f'{name} {dr:.1f} {dc:.1f}' for name, (dr, dc) in zip(names, deltas, strict=True)]
    return pano, ' '.join((pano, *parts)), names


def picture(height, width, seed):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 255, (height, width, 3), dtype=np.uint8)


def write_city(
    root, city, stem, count=5, *, folder='splits__corrected', suffix='__corrected', first=0
):
    """Writes label file and pictures; returns the lines."""
    lines = []
    for number in range(first, first + count):
        d_row, d_col = 40.0 + 10 * number, -60.0 + 7 * number
        pano, line, names = label(city, number, d_row, d_col)
        lines.append(line)
        _write(root / city / 'panorama' / pano, picture(PANO_HEIGHT, 2 * PANO_HEIGHT, number))
        for k, name in enumerate(names):
            path = root / city / 'satellite' / name
            _write(path, picture(TILE_SIDE, TILE_SIDE, 10 * number + k))
    path = root / folder / city / f'{stem}{suffix}.txt'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join(lines) + '\n')
    return lines


def write_all(root, **options):
    """All four cities, with the files of both divisions."""
    for city in CENTRES:
        write_city(root, city, 'same_area_balanced_train', 5, **options)
        write_city(root, city, 'same_area_balanced_test', 3, first=5, **options)
        write_city(root, city, 'pano_label_balanced', 8, **options)
    return root


def _write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        _, data = cv2.imencode('.png', image)
        path.write_bytes(data.tobytes())
