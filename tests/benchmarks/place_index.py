# SPDX-License-Identifier: Apache-2.0
"""From how many keyframes on FAISS finds the most similar ones sooner than a plain product.

Both are exact: what they find must be the same. `KeyframeIndex` takes FAISS, where it is
installed, from `retrieval._LARGE` keyframes on.

Run: python -m tests.benchmarks.place_index
"""

import sys
import time

import numpy as np

from geoloc_core.sources.rgbd import retrieval
from tests.benchmarks import results

SIZES = (100, 1000, 5000, 20_000, 60_000)
# Of a vocabulary of 64 words in 64 numbers each, as places have.
NUMBERS = 4096
QUERIES, FOUND = 30, 60


def best_ms(search, queries) -> tuple[float, list]:
    """Milliseconds of a query, the median of them, and what was found."""
    times, found = [], []
    for query in queries:
        start = time.perf_counter()
        found.append(search(query))
        times.append(1e3 * (time.perf_counter() - start))
    return float(np.median(times)), found


def exact(descriptors):
    def search(query):
        similarity = descriptors @ query
        return np.argsort(-similarity, kind='stable')[:FOUND]

    return search


def by_faiss(descriptors):
    import faiss

    index = faiss.IndexFlatIP(descriptors.shape[1])
    index.add(descriptors)
    return lambda query: index.search(query[None], FOUND)[1][0]


def main() -> int:
    rng = np.random.default_rng(0)
    figures: dict = {'numbers': NUMBERS, 'faiss_from_keyframes': retrieval._LARGE}
    for size in SIZES:
        rows = rng.normal(size=(size, NUMBERS)).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        queries = rows[rng.integers(size, size=QUERIES)]
        row = {}
        row['exact_ms'], plain = best_ms(exact(rows), queries)
        try:
            row['faiss_ms'], indexed = best_ms(by_faiss(rows), queries)
        except ImportError:
            row['faiss_ms'] = 'faiss-cpu is not installed'
        else:
            count = min(FOUND, size)
            same = [
                len(np.intersect1d(a[:count], b[:count])) / count
                for a, b in zip(plain, indexed, strict=True)
            ]
            row['same'] = float(np.mean(same))
        figures[f'keyframes_{size}'] = row
    for key, value in results.flat(results.rounded(figures)):
        print(f'{key:40s} {value}')
    print(results.write('place_index', figures, 'make bench-place-index'))
    return 0


if __name__ == '__main__':
    sys.exit(main())
