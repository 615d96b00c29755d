# SPDX-License-Identifier: Apache-2.0
"""Opens what an evaluation needs: weights, samples in batches, a device."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
import time
from typing import Any

import numpy as np
import torch
import yaml

from geoloc_core.errors import BundleError, ConfigError, DataError
from geoloc_core.models.base import CrossViewModel, normalise
from geoloc_core.models.weights import load_weights, read_header
from training.datasets.base import AbstractDataset
from training.datasets.registry import open_dataset
from training.datasets.sample import Sample
from training.evaluation.protocols import asked_yaws, EvaluationProtocol, Opening
from training.loading import Batch, batches_once, make_loader, Preparation
from training.preparation import CrossViewPreparation

# In a run's folder, the first of these that is there.
WEIGHTS_IN_RUN = ('model.safetensors', 'best.safetensors')
_WARM_UP, _TIMED = 2, 9


def weights_path(path: Path) -> Path:
    """The file of weights that a path means: itself, or that of a run's folder.

    Raises:
        BundleError: No such file, or a folder without weights.
    """
    if path.is_dir():
        for name in WEIGHTS_IN_RUN:
            if (path / name).is_file():
                return path / name
        raise BundleError(
            f'{path} holds neither {" nor ".join(WEIGHTS_IN_RUN)}: expected the folder of a '
            'finished run, or a file of weights'
        )
    if not path.is_file():
        raise BundleError(f'{path}: no such file; expected a run or its weights (.safetensors)')
    return path


def open_model(path: Path, device: torch.device | str) -> tuple[CrossViewModel, dict[str, Any]]:
    """A network with its weights, and the facts noted with them (the run's seed, if known).

    Raises:
        BundleError: No weights, damaged ones, or of an unknown system or version.
    """
    file = weights_path(path)
    facts = dict(read_header(file).facts)
    settings = file.with_name('config.yaml')
    if settings.is_file():
        said = yaml.safe_load(settings.read_text(encoding='utf-8'))
        if isinstance(said, dict) and 'seed' in said:
            facts.setdefault('seed', said['seed'])
    return load_weights(file, device=device), facts


def ask_within(model: CrossViewModel, rules: EvaluationProtocol) -> None:
    """From now on a network that takes yaws is asked for those that the protocol allows."""
    yaws = asked_yaws(model, rules)
    if yaws is None:
        return

    def add(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, {'yaws': torch.tensor(yaws, device=args[0].device), **kwargs}

    model.register_forward_pre_hook(add, with_kwargs=True)


def chosen_device(name: str) -> torch.device:
    """'auto' takes an accelerator where there is one.

    Raises:
        ConfigError: No such device here.
    """
    if name == 'auto':
        if torch.cuda.is_available():
            return torch.device('cuda')
        return torch.device('mps' if torch.backends.mps.is_available() else 'cpu')
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f'--device {name}: not here ({error}); try auto or cpu') from error
    return device


def reader_options(pairs: Sequence[str]) -> dict[str, Any]:
    """`NAME=VALUE` arguments, values read as YAML.

    Raises:
        ConfigError: Not of that form.
    """
    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition('=')
        if not equals or not name.isidentifier():
            raise ConfigError(f'--set {pair}: expected NAME=VALUE, e.g. --set labels=gps')
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(f'--set {pair}: the value is not YAML: {error}') from error
        options[name] = tuple(parsed) if isinstance(parsed, list) else parsed
    return options


@dataclass
class Samples:
    """One or more splits of a data set, each sample once.

    Attributes:
        datasets: The splits.
        opening: How they were opened.
        indices: Of each split, those in use.
    """

    datasets: list[AbstractDataset]
    opening: Opening
    indices: list[np.ndarray]

    def __len__(self) -> int:
        """Number of samples."""
        return sum(len(part) for part in self.indices)

    def sample(self, key: str) -> Sample:
        """One sample, changed as in the batches.

        Raises:
            DataError: No such key, or its files cannot be read.
        """
        for dataset, chosen in zip(self.datasets, self.indices, strict=True):
            keys = dataset.keys
            for index in chosen:
                if keys[index] == key:
                    sample = dataset.sample(int(index))
                    augment = self.opening.augment
                    return sample if augment is None else augment(sample, int(index), 0)
        raise DataError(f'no sample is called {key!r}')

    def batches(
        self, model: CrossViewModel, size: int, workers: int = 0, others: bool = False
    ) -> Iterator[Batch]:
        """All samples as a network is fed them.

        Args:
            model: Says what it is fed.
            size: Samples a batch.
            workers: Processes that read.
            others: Also give the further patches.
        """
        prepare = CrossViewPreparation(model.inputs, model.EXTRA_INPUTS, other_patches=others)
        preparation = Preparation(augment=self.opening.augment, prepare=prepare)
        for dataset, chosen in zip(self.datasets, self.indices, strict=True):
            batches = batches_once(chosen, size)
            yield from make_loader(dataset, batches, preparation, workers=workers)


def open_samples(
    reader: str, root: Path, opening: Opening, limit: int | None, needs: Sequence[str] = ()
) -> Samples:
    """Opens the split, or several joined by '+', e.g. 'train+validation+test'.

    Args:
        reader: Name of the reader.
        root: Folder of the data set.
        opening: From `protocols.opening`.
        limit: So many samples, evenly spread; None for all.
        needs: Extra inputs of the network.

    Raises:
        ConfigError: An option that the reader does not take.
        DataError: The split is absent or empty.
    """
    options = dict(opening.options)
    if 'patch_classes' in needs and reader == 'vigor':
        options.setdefault('masks', True)
    splits = opening.split.split('+')
    try:
        datasets = [open_dataset(reader, root, split, **options) for split in splits]
    except TypeError as error:
        raise ConfigError(
            f'{options} do not suit the reader {reader!r} ({error}): `geoloc data list {reader}` '
            'shows its options'
        ) from error
    counts = [len(dataset) for dataset in datasets]
    if not all(counts):
        empty = splits[counts.index(0)]
        raise DataError(
            f'the split {empty!r} of {root} has no samples: `geoloc data check {root}` shows what '
            'is there'
        )
    total = sum(counts)
    if limit is not None and limit < 1:
        raise ConfigError(f'--limit {limit}: expected 1 or more')
    wanted = np.arange(total)
    if limit is not None and limit < total:
        wanted = np.arange(limit) * total // limit
    ends = np.cumsum(counts)
    indices = [
        wanted[(wanted >= end - count) & (wanted < end)] - (end - count)
        for end, count in zip(ends, counts, strict=True)
    ]
    return Samples(datasets, opening, indices)


def milliseconds(model: CrossViewModel, batch: Batch) -> float:
    """Median time of one frame on the CPU, ms: normalised pictures in, volume out.

    A network elsewhere is moved to the CPU for it, and back. As good as the machine is idle:
    figures to be compared come from one run of the benchmark of all systems.
    """
    first = {name: tensor[:1] for name, tensor in batch.tensors.items()}
    view = normalise(first['view'], first['view_mask'], model.inputs.view)
    patch = normalise(first['patch'], first['patch_mask'], model.inputs.patch)
    extra = {name: first[name].to(view.dtype) for name in model.EXTRA_INPUTS}
    device = next((p.device for p in model.parameters()), torch.device('cpu'))
    was_training = model.training
    model.to('cpu').eval()
    took = []
    try:
        with torch.no_grad():
            for _ in range(_WARM_UP + _TIMED):
                start = time.perf_counter()
                _ = model.belief(model(view, patch, **extra)).logits
                took.append(time.perf_counter() - start)
    finally:
        model.to(device).train(was_training)
    return float(np.median(took[_WARM_UP:]) * 1e3)
