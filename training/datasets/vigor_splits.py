# SPDX-License-Identifier: Apache-2.0
"""How VIGOR is divided: the publisher's two ways, and validation taken from training."""

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import DataError
from training.datasets import vigor_labels
from training.datasets.vigor_labels import CITIES, CityLabels

# Which cities and which label file: the publisher's two ways to divide the data.
DIVISIONS = {
    ('same-area', 'train'): (CITIES, 'same_area_balanced_train'),
    ('same-area', 'test'): (CITIES, 'same_area_balanced_test'),
    ('cross-area', 'train'): (CITIES[:2], 'pano_label_balanced'),
    ('cross-area', 'test'): (CITIES[2:], 'pano_label_balanced'),
}
_VALIDATION_FRACTION = 0.2


def read_city(root: Path, city: str, stem: str, label_set: str) -> CityLabels:
    """Finds, reads and checks a city's label file.

    Raises:
        DataError: It is absent, damaged or of the wrong version.
    """
    labels = vigor_labels.read_labels(vigor_labels.find_file(root, city, stem, label_set), city)
    vigor_labels.refuse_wrong_version(labels, label_set)
    return labels


def in_validation(names: Sequence[str]) -> NDArray[np.bool_]:
    """(N,) whether a panorama is kept for validation: the fifth with the smallest hashes."""
    hashes = np.array(
        [int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), 'big') for name in names],
        dtype=np.uint64,
    )
    rank = np.empty(len(names), dtype=np.int64)
    rank[np.argsort(hashes, kind='stable')] = np.arange(len(names))
    return rank < round(_VALIDATION_FRACTION * len(names))


def refuse_leak(root: Path, area: str, labels: CityLabels, label_set: str) -> None:
    """Refuses training panoramas that the same city's test list names too.

    Args:
        root: Of the data set.
        area: 'same-area' or 'cross-area'; the latter's cities are apart anyway.
        labels: Of training.
        label_set: One of `vigor_labels.LABEL_SETS`.

    Raises:
        DataError: The two lists share a panorama.
    """
    if area != 'same-area':
        return
    stem = DIVISIONS[area, 'test'][1]
    try:
        path = vigor_labels.find_file(root, labels.city, stem, label_set)
    except DataError:
        # Whoever trains need not have the test's lists.
        return
    shared = vigor_labels.read_names(path) & set(labels.panoramas)
    if shared:
        raise DataError(
            f'{labels.path} and {path} share {len(shared)} panoramas, e.g. {min(shared)}: '
            'training would see the test; take both from one release'
        )
