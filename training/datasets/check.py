# SPDX-License-Identifier: Apache-2.0
"""Is a data set on disk whole and what it claims to be? Behind `geoloc data check`."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from geoloc_core.errors import DataError
from training.datasets.base import AbstractDataset, read_raw, UnreadableError
from training.datasets.sample import Sample

# A label that lies farther than this from its GPS tag is shown to the user, m.
SUSPICIOUS_M = 5.0
# Frames between a shown sample and the one it is compared with.
_NEIGHBOUR_STEPS = (5, -5, 1, -1)
_PICTURES = frozenset(('.png', '.jpg', '.jpeg', '.tif', '.tiff', '.bmp', '.pgm', '.ppm', '.webp'))

# As many as the decoder takes.
_MAX_PIXELS = 1 << 30

# Told how many files were opened since the last call, and how many there are.
Progress = Callable[[int, int], Any]


@dataclass
class SplitReport:
    """What was found in one split.

    Attributes:
        split: Its name.
        samples: How many it lists.
        looked_at: Of so many the files were opened and the labels compared.
        files: Different files that were opened.
        bad: (file, what was expected) of those that could not be.
        errors: Problems of labels and of single samples, one sentence each.
        label_errors_m: (key, metres) between label and independent position.
        shown: Some of its samples.
        neighbours: Key of a shown sample with depth -> a sample taken shortly after or before.
    """

    split: str
    samples: int = 0
    looked_at: int = 0
    files: int = 0
    bad: list[tuple[Path, str]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    label_errors_m: list[tuple[str, float]] = field(default_factory=list)
    shown: list[Sample] = field(default_factory=list)
    neighbours: dict[str, Sample] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        """Nothing was found to be wrong."""
        return not (self.bad or self.errors)

    def label_summary(self) -> str:
        """Labels against GPS in one line, '' where there is nothing to compare with."""
        if not self.label_errors_m:
            return ''
        metres = np.array([value for _, value in self.label_errors_m])
        far = int((metres > SUSPICIOUS_M).sum())
        text = (
            f'labels against GPS: median {np.median(metres):.2f} m, '
            f'p95 {np.percentile(metres, 95):.2f} m, max {metres.max():.2f} m'
        )
        return text + (f', {far} beyond {SUSPICIOUS_M:g} m' if far else '')


def check_split(
    dataset: AbstractDataset,
    *,
    show: int = 10,
    limit: int | None = None,
    workers: int = 8,
    progress: Progress | None = None,
) -> SplitReport:
    """Opens every file of a split once and compares its labels with what else is known.

    Args:
        dataset: An open split.
        show: Samples to keep for pictures, spread over the split.
        limit: Samples to look at, spread over the split; all if None.
        workers: Files opened at a time.
        progress: Told of the files opened.

    Returns:
        What was found; problems are in it, not raised.
    """
    count = len(dataset)
    indices = spread(count, limit if limit is not None else count)
    report = SplitReport(dataset.split, count, len(indices))
    files: dict[Path, None] = {}
    for index in indices:
        files.update(dict.fromkeys(dataset.files(index)))
    report.files = len(files)
    with ThreadPoolExecutor(workers) as pool:
        for trouble in pool.map(_trouble_with, files):
            if trouble is not None:
                report.bad.append(trouble)
            if progress is not None:
                progress(1, len(files))
    for index in indices:
        try:
            error = dataset.label_error_m(index)
        except DataError as problem:
            report.errors.append(str(problem))
            continue
        if error is not None:
            report.label_errors_m.append((dataset.keys[index], error))
    named = {path for path, _ in report.bad}
    for index in spread(count, show):
        try:
            sample = dataset.read(index)
            report.shown.append(sample)
            if (near := _neighbour(dataset, index, sample)) is not None:
                report.neighbours[sample.key] = near
        except UnreadableError as problem:
            if problem.path not in named:
                report.bad.append((problem.path, str(problem)))
        except DataError as problem:
            report.errors.append(f'{dataset.keys[index]}: {problem}')
    return report


def _neighbour(dataset: AbstractDataset, index: int, sample: Sample) -> Sample | None:
    """A sample that shows the same things from a little further, for one that has depth."""
    if sample.view.depth is None or sample.patch is not None or sample.T_map_base is None:
        return None
    for step in _NEIGHBOUR_STEPS:
        if not 0 <= index + step < len(dataset):
            continue
        try:
            other = dataset.sample(index + step)
        except DataError:
            # Counted, where it is looked at for itself.
            continue
        if other.sequence == sample.sequence and other.T_map_base is not None:
            return other
    return None


def spread(count: int, wanted: int) -> list[int]:
    """At most `wanted` of 0 .. count - 1, evenly spaced, first and last among them."""
    if wanted >= count:
        return list(range(count))
    return np.unique(np.linspace(0, count - 1, max(wanted, 0)).round().astype(int)).tolist()


def _trouble_with(path: Path) -> tuple[Path, str] | None:
    """Decodes a picture, or reads another file's bytes; what is wrong with it, if anything."""
    try:
        if path.suffix.lower() in _PICTURES:
            # One aerial picture of a whole city is larger than any camera's.
            read_raw(path, max_pixels=_MAX_PIXELS)
        elif not path.is_dir():
            with path.open('rb') as file:
                while file.read(1 << 24):
                    pass
            if path.stat().st_size == 0:
                return path, f'{path}: is empty'
    except UnreadableError as error:
        return path, str(error)
    except OSError as error:
        return path, f'{path}: {error.strerror}'
    return None
