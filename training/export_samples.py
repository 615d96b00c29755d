# SPDX-License-Identifier: Apache-2.0
"""Where the pictures come from that a bundle is compared and quantized with."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from geoloc_core.models.weights import read_header
from training.export_subject import AbstractSubject, Arrays

CONFIG = 'config.yaml'
# Fact beside weights whose calibration is that of another run: its name.
CALIBRATED_LIKE = 'calibrated_like'
# Facts that only calibrated weights have.
CALIBRATION_FACTS = frozenset(('nll_before_calibration', 'nll_after_calibration'))


def noise(subject: AbstractSubject, count: int) -> Iterator[Arrays]:
    """Inputs without any picture in them."""
    return (subject.noise(seed) for seed in range(1, count + 1))


def from_data(
    subject: AbstractSubject, reader: str, root: Path, split: str | None, count: int
) -> Iterator[Arrays]:
    """Samples of a data set of views over maps, evenly spread.

    Raises:
        ConfigError: No such reader or option.
        DataError: It cannot be read, is empty, or is of another camera.
    """
    from training.evaluation.opening import open_samples
    from training.evaluation.protocols import opening, protocol

    model = subject.model
    how = opening(protocol('aligned'), reader, 'same', split)
    opened = open_samples(reader, Path(root).expanduser(), how, count, model.EXTRA_INPUTS)
    return _samples(subject, opened.batches(model, 1))


def from_run(subject: AbstractSubject, config: Path, part: str, count: int) -> Iterator[Arrays]:
    """Samples that a run learned from, or was judged by; as they are, without augmentation.

    A run that kept nothing back is compared on what it learned: a graph must answer like its
    network on any picture.

    Args:
        subject: Of any family.
        config: The run's config.yaml.
        part: 'train' or 'validation'.
        count: How many, evenly spread.

    Raises:
        ConfigError: Its settings cannot be read.
        DataError: Its data is not there any more.
    """
    from training.loop.data import validation_batches, Wanted
    from training.loop.settings import read_config

    data = read_config(config).data
    judged = None if part == 'train' else data.validation
    steps = None if judged is None else judged.augment
    shown = replace(judged or data.train, limit=count, augment=steps, novel_views=None)
    short = replace(data, validation=shown, workers=0)
    return _samples(subject, validation_batches(short, Wanted(subject.model), 1, root=None))


def _samples(subject: AbstractSubject, batches: Iterable) -> Iterator[Arrays]:
    for batch in batches:
        if len(batch):  # else it could not be read
            yield subject.sample(batch.tensors)


# ---- in words ----


def provenance(weights: Path) -> tuple[str, str]:
    """What weights were trained on, and how their confidence was calibrated; '' if not known.

    Only names of data sets are told, nothing of where they lie.

    Raises:
        BundleError: Not a file of weights.
    """
    facts = read_header(weights).facts
    config = weights.with_name(CONFIG)
    trained = judged = ''
    if config.is_file():
        trained, judged = (told(config, part) for part in ('train', 'validation'))
    return trained, _calibration(facts, judged)


def told(config: Path, part: str) -> str:
    """A split of a run in words, e.g. 'vigor: train of rendered_town'; '' for none.

    Raises:
        ConfigError: The settings cannot be read.
    """
    from training.loop.settings import read_config

    data = read_config(config).data
    split = data.train if part == 'train' else data.validation
    if split is None:
        return ''
    root = split.root or data.root
    place = f' of {Path(root).name}' if root else ''
    return f'{split.reader or data.reader}: {split.split}{place}'


def _calibration(facts: Mapping[str, Any], judged: str) -> str:
    """What was noted of the fit, see `loop.run` and `python -m training.calibrate`."""
    if CALIBRATED_LIKE in facts:
        return f'taken from its twin {facts[CALIBRATED_LIKE]}'
    before, after = (facts.get(f'nll_{when}_calibration') for when in ('before', 'after'))
    if before is not None and after is not None:
        return f'fitted on {judged or "held-out data"}: NLL {before:.4g} -> {after:.4g}'
    return f'fitted on held-out data: NLL {facts["nll"]:.4g}' if 'nll' in facts else ''
