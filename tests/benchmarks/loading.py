# SPDX-License-Identifier: Apache-2.0
"""How many samples a second the loader gives: from the publisher's sizes, reduced, and cached.

    python -m tests.benchmarks.loading [--count 48] [--repeat 3]

Renders a small VIGOR of the publisher's sizes (panoramas 2048 x 1024, tiles 640 x 640) and reads
it through `make_loader`, each sample reduced to 512 x 256 with its tile at 512 x 512: with no, one
and two worker processes, from the files and from the cache. Medians over `--repeat` rounds of
400 samples at least, the first (workers starting) left out.
"""

import argparse
from pathlib import Path
from statistics import median
import tempfile
import time

import cv2
from tqdm import tqdm

from geoloc_core.simulation.layouts.dataset import DatasetOptions, render_dataset
from tests.benchmarks.results import write
from training.datasets.registry import open_dataset
from training.datasets.storage import load_sample, save_sample
from training.loading import make_loader, Preparation, ShardedSampler
from training.reduction import Reduction

BATCH = 8
SAMPLES = 400


def rate(dataset, preparation, workers, repeat):
    """Samples a second, median over rounds."""
    order = ShardedSampler(len(dataset), min(BATCH, len(dataset)), seed=0)
    # A pass over so few samples would measure how a loader starts and drains.
    rounds = -(-SAMPLES // (len(order) * order.batch_size))
    batches = [batch for _ in range(rounds) for batch in order]
    loader = make_loader(dataset, batches, preparation, workers=workers)
    rates = []
    for _ in range(repeat + 1):
        start = time.perf_counter()
        samples = sum(len(batch) for batch in loader)
        rates.append(samples / (time.perf_counter() - start))
    return median(rates[1:])


def stages(dataset, reduce, repeat):
    """Milliseconds of each step of one sample, in this process."""
    samples = [dataset.sample(i) for i in range(min(10, len(dataset)))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'sample.npz'

        def each(work):
            times = []
            for _ in range(repeat):
                for i, sample in enumerate(samples):
                    start = time.perf_counter()
                    work(i, sample)
                    times.append((time.perf_counter() - start) * 1e3)
            return median(times)

        figures = {
            'read_ms': each(lambda i, _: dataset.sample(i)),
            'reduce_ms': each(lambda _, sample: reduce(sample)),
        }
        save_sample(path, reduce(samples[0]))
        figures['from_cache_ms'] = each(lambda *_: load_sample(path))
        figures['cache_file_mb'] = path.stat().st_size / 1e6
    return figures


def main():
    """Renders, reads, prints and stores the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--count', type=int, default=48, help='samples rendered')
    parser.add_argument('--repeat', type=int, default=3, help='rounds measured')
    args = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / 'vigor'
        options = DatasetOptions('vigor', args.count, size=(2048, 1024), cities=1)
        with tqdm(total=args.count, unit='pair', desc='rendering') as bar:
            render_dataset(root, options, progress=bar.update)
        dataset = open_dataset('vigor', root, 'test', cities=['NewYork'])
        reduce = Reduction(view_size=(512, 256), patch_size=(512, 512))
        plain = Preparation(reduce=reduce)
        figures = {'samples': len(dataset), **stages(dataset, reduce, args.repeat)}
        for workers in (0, 1, 2):
            figures[f'files_{workers}_workers_per_s'] = rate(dataset, plain, workers, args.repeat)
        cached = Preparation(reduce=reduce, cache=Path(folder) / 'cache')
        for workers in (0, 1, 2):
            figures[f'cache_{workers}_workers_per_s'] = rate(dataset, cached, workers, args.repeat)
    for name, value in figures.items():
        print(f'{name:>28}  {value:.4g}')
    print(write('loading', figures, 'make bench-loading'))


if __name__ == '__main__':
    main()
