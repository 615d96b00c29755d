# SPDX-License-Identifier: Apache-2.0
"""How long a warm 512 x 512 crop takes out of a 20000 x 20000 GeoTIFF while driving.

Run: python -m tests.benchmarks.map_crop
"""

import argparse
import json
from pathlib import Path
import time

import cv2
import numpy as np
import rasterio
from rasterio.enums import Resampling
from rasterio.transform import from_origin
from rasterio.windows import Window

from geoloc_core.geometry.geodesy import Datum, EnuFrame
from geoloc_core.maps.opening import open_map

OUT = Path('out/bench')
SIDE_PX, GSD = 20000, 0.25
CROP_PX = 512
# Faster than any car on purpose: the blocks around it must change several times in the run.
SPEED_M_S, RATE_HZ, SECONDS = 50.0, 30.0, 30.0


def write_map(path: Path) -> None:
    """A tiled JPEG GeoTIFF with overviews, 5 km a side, in UTM; textured so that it costs."""
    rng = np.random.default_rng(1)
    part = SIDE_PX // 10
    noise = cv2.GaussianBlur(rng.integers(0, 256, (part, part, 3)).astype(np.uint8), (0, 0), 2)
    profile = {
        'driver': 'GTiff',
        'width': SIDE_PX,
        'height': SIDE_PX,
        'count': 3,
        'dtype': 'uint8',
        'crs': 'EPSG:32632',
        'transform': from_origin(455000.0, 5432000.0, GSD, GSD),
        'tiled': True,
        'blockxsize': 512,
        'blockysize': 512,
        'compress': 'jpeg',
        'photometric': 'ycbcr',
    }
    unfinished = path.with_suffix('.part.tif')
    with rasterio.open(unfinished, 'w', **profile) as dataset:
        for row in range(0, SIDE_PX, part):
            for col in range(0, SIDE_PX, part):
                shade = int(rng.integers(-40, 40))
                pixels = np.clip(noise.astype(np.int16) + shade, 0, 255).astype(np.uint8)
                window = Window(col, row, part, part)
                dataset.write(pixels.transpose(2, 0, 1), window=window)
        dataset.build_overviews([2, 4, 8, 16, 32], Resampling.average)
    unfinished.rename(path)


def run(out: Path = OUT, gsd: float = GSD, seconds: float = SECONDS) -> dict[str, float]:
    """Drives across the map and times every crop.

    Args:
        out: Where the map is made once and kept, and the figures are written.
        gsd: Ground sampling distance asked for, m/px.
        seconds: Length of the drive.

    Returns:
        crop_ms_p50, crop_ms_p99, crop_ms_max: warm crops, changes of block included;
        crop_ms_first: the very first, cold one.
    """
    out.mkdir(parents=True, exist_ok=True)
    path = out / f'map_{SIDE_PX}.tif'
    if not path.exists():
        write_map(path)
    source = open_map(path)
    frame = EnuFrame(Datum(49.02, 8.42, 110.0))
    west, south, east, north = source.info.bounds_deg
    middle = frame.enu_from_geodetic((south + north) / 2, (west + east) / 2, 110.0)

    def crop(distance: float) -> float:
        # A gentle S across the map, so that blocks change at all sides.
        x = middle[0] - 1000.0 + distance
        y = middle[1] + 400.0 * np.sin(distance / 400.0)
        start = time.perf_counter()
        patch = source.patch(frame, (float(x), float(y)), CROP_PX * gsd, gsd)
        elapsed_ms = (time.perf_counter() - start) * 1e3
        assert patch.mask.all() and patch.image.shape == (CROP_PX, CROP_PX, 3)
        return elapsed_ms

    first = crop(0.0)
    source.wait()
    crop(0.0)
    times = []
    start = time.perf_counter()
    for number in range(1, int(seconds * RATE_HZ) + 1):
        # A camera's pace: between crops the next block has the time it has on a robot.
        time.sleep(max(0.0, start + number / RATE_HZ - time.perf_counter()))
        times.append(crop(number * SPEED_M_S / RATE_HZ))
    source.close()
    return {
        'crop_ms_p50': float(np.percentile(times, 50)),
        'crop_ms_p99': float(np.percentile(times, 99)),
        'crop_ms_max': float(np.max(times)),
        'crop_ms_first': first,
    }


def main() -> None:
    """Prints and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', type=Path, default=OUT)
    parser.add_argument('--gsd', type=float, default=GSD, help='m/px asked for')
    parser.add_argument('--seconds', type=float, default=SECONDS)
    args = parser.parse_args()
    figures = run(args.out, args.gsd, args.seconds)
    (args.out / 'map_crop.json').write_text(json.dumps(figures, indent=2) + '\n')
    for name, value in figures.items():
        print(f'{name} {value:.2f}')


if __name__ == '__main__':
    main()
