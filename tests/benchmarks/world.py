# SPDX-License-Identifier: Apache-2.0
"""How fast the world renders: panoramas a second, and a data set of 2,000 pairs.

`pairs_2000_minutes` is the time of a whole `geoloc world render --layout vigor --count 2000
--size 256x512`: cities, aerial pictures, panoramas, tiles, labels and checksums.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
import os
from pathlib import Path
import shutil
import statistics
import tempfile
import time

import numpy as np
from tqdm import tqdm

from geoloc_core.geometry.cameras import EquirectangularCamera
from geoloc_core.simulation.layouts.dataset import DatasetOptions, render_dataset
from geoloc_core.simulation.layouts.plan import street_place
from geoloc_core.simulation.render.renderer import render
from geoloc_core.simulation.robots.drive import mounted
from geoloc_core.simulation.world import make_world
from tests.benchmarks import results

COMMAND = 'make bench-world'
PAIRS = 2000
SIZES = {'512x1024': (1024, 512), '256x512': (512, 256)}
_PLACES = 24


def panoramas(seconds: float, workers: int) -> dict[str, float]:
    """Panoramas with depth and labels a second, for each size.

    Args:
        seconds: How long to measure each size.
        workers: Panoramas rendered at the same time, one thread each, as data sets are.

    Returns:
        fps from the median round through all places, and processor time of a panorama in ms.
    """
    world = make_world(0)
    scene = world.scene()
    rng = np.random.default_rng(0)
    mount = mounted(0.0, 0.0, 2.0, 0.0)
    poses = [street_place(rng, world.city) @ mount for _ in range(_PLACES)]
    figures = {}
    for name, (width, height) in SIZES.items():
        camera = EquirectangularCamera(width, height)

        def shoot(T: np.ndarray, camera: EquirectangularCamera = camera) -> None:
            picture = render(scene, camera, T)
            assert picture.depth_m.shape == (camera.height, camera.width)

        # The first compiles kernels and makes the rays of the camera.
        shoot(poses[0])
        rounds, begin, cpu = [], time.perf_counter(), time.process_time()
        with ThreadPoolExecutor(workers) as pool:
            while len(rounds) < 3 or time.perf_counter() - begin < seconds:
                start = time.perf_counter()
                list(pool.map(shoot, poses))
                rounds.append(time.perf_counter() - start)
        figures[f'pano_{name}_fps'] = _PLACES / statistics.median(rounds)
        spent = time.process_time() - cpu
        figures[f'pano_{name}_cpu_ms'] = 1e3 * spent / (len(rounds) * _PLACES)
    return figures


def pairs(count: int, workers: int, conditions: str = 'none') -> dict[str, float]:
    """Minutes and processor minutes of a data set of so many pairs, and its size."""
    from geoloc_core.simulation.conditions.settings import PRESETS

    options = DatasetOptions('vigor', count, SIZES['256x512'], conditions=PRESETS[conditions])
    folder = Path(tempfile.mkdtemp(prefix='geoloc_world_'))
    try:
        begin, cpu = time.perf_counter(), time.process_time()
        with tqdm(total=count, unit='pair', disable=None) as bar:
            manifest = render_dataset(
                folder / 'vigor', options, workers=workers, progress=bar.update,
                say=bar.set_description,
            )  # fmt: skip
        return {
            f'pairs_{count}_minutes': (time.perf_counter() - begin) / 60,
            f'pairs_{count}_cpu_minutes': (time.process_time() - cpu) / 60,
            f'pairs_{count}_megabytes': manifest['bytes'] / 1e6,
        }
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Measures, prints and stores the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seconds', type=float, default=20.0, help='for each size of panorama')
    parser.add_argument('--pairs', type=int, default=PAIRS, help='in the data set; 0 for none')
    parser.add_argument('--workers', type=int, default=os.cpu_count() or 1)
    parser.add_argument('--dry', action='store_true', help='print only, store nothing')
    args = parser.parse_args()
    figures: dict = panoramas(args.seconds, args.workers)
    figures['one_thread'] = panoramas(args.seconds, 1)
    if args.pairs:
        figures.update(pairs(args.pairs, args.workers))
    figures['workers'] = args.workers
    figures['processors'] = os.cpu_count()
    for name, value in results.flat(results.rounded(figures)):
        print(f'{name} {value}')
    if not args.dry:
        print(results.write('world', figures, COMMAND))


if __name__ == '__main__':
    main()
