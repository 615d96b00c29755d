# SPDX-License-Identifier: Apache-2.0
"""Makes bundles of networks, and lets none out that answers otherwise than its network."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
import hashlib
import math
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from geoloc_core.errors import BundleError, ConfigError, DataError
from geoloc_core.models.base import CrossViewModel, normalise
from geoloc_core.models.belief import evenly_spaced_yaws
from geoloc_core.runtime.bundle import load_bundle, ModelBundle, SPEC
from geoloc_core.runtime.bundle_files import WEIGHTS
from geoloc_core.runtime.descriptor_bundle import SPEC as DESCRIPTOR_SPEC
from geoloc_core.runtime.engine import AbstractEngine
from geoloc_core.runtime.pose_bundle import SPEC as POSE_SPEC
from geoloc_core.spec import FORMAT, ModelSpec, OutputSpec
from training.onnx_graph import (
    eager_logits,
    OPSET,
    OUTPUT,
    own_yaws,
    predicting,
    random_inputs,
    relative_difference,
    takes_yaws,
    to_onnx,
    YAWS,
)

# What a folder of a bundle may hold, of whatever family.
_OF_BUNDLES = (WEIGHTS, SPEC, POSE_SPEC, DESCRIPTOR_SPEC)
# Bins that a graph which takes them was not traced with.
_OTHER_YAWS = (7, 17.0)


@dataclass(frozen=True)
class Tolerances:
    """How far a graph may be from its network.

    Attributes:
        logits: Largest difference, as a share of the logits' range.
        probability: Total variation: the largest difference of the probabilities of any event.
    """

    logits: float = 1e-3
    probability: float = 0.01


@dataclass(frozen=True)
class Parity:
    """How far a graph was from its network, at worst, on some samples.

    Attributes:
        samples: Number of comparisons.
        logits: See `Tolerances`.
        probability: See `Tolerances`.
    """

    samples: int
    logits: float
    probability: float

    def __str__(self) -> str:
        """One line."""
        return (
            f'compared on {self.samples} answers: logits differ by {self.logits:.1e} of their '
            f'range at most, probabilities by {self.probability:.1e}'
        )


def make_bundle(
    model: CrossViewModel,
    samples: Iterable[dict[str, Tensor]],
    licence: str = 'Apache-2.0',
    tolerances: Tolerances | None = None,
) -> tuple[ModelBundle, Parity]:
    """A bundle in memory, compared with its network.

    Args:
        model: Trained and calibrated; brought to the CPU.
        samples: What to compare on: normalised (1, ...) inputs by name.
        licence: SPDX name of the weights' licence.
        tolerances: Of the comparison.

    Raises:
        BundleError: It cannot be a graph, its answer cannot be described by a `ModelSpec`, or the
            graph differs from the network by more than the tolerances.
        DataError: There are no samples.
    """
    model = model.to('cpu')
    if model.EXTRA_INPUTS:
        raise BundleError(
            f'{model.NAME} as it was set up asks for {", ".join(model.EXTRA_INPUTS)}, which a '
            'robot does not have: train it with settings that do without'
        )
    arrays = random_inputs(model)
    output = output_spec(model, arrays)
    graph = to_onnx(model, arrays)
    digest = hashlib.sha256(graph).hexdigest()
    spec = ModelSpec(FORMAT, model.NAME, licence, digest, OPSET, model.inputs, output)
    bundle = ModelBundle(Path(f'the bundle of {model.NAME}'), spec, graph)
    parity = compare(model, bundle.open_engine(threads=1), samples)
    limits = tolerances or Tolerances()
    if parity.logits > limits.logits or parity.probability > limits.probability:
        raise BundleError(
            f'the graph of {model.NAME} does not answer like the network ({parity}); allowed are '
            f'{limits.logits:.1e} and {limits.probability:.1e}: nothing is written'
        )
    return bundle, parity


def output_spec(model: CrossViewModel, arrays: dict[str, Tensor]) -> OutputSpec:
    """Describes a network's answer.

    Args:
        model: Any.
        arrays: Inputs of one sample.

    Raises:
        BundleError: Its bins of yaw are not ones that a `ModelSpec` can name.
    """
    with predicting(model):
        names = model.inputs.view.name, model.inputs.patch.name
        belief = model.belief(model(*(arrays[name] for name in names)))
    bins, height, width = belief.logits.shape[1:]
    yaws = belief.yaws.double().cpu()
    half = 180.0 if belief.closed else round(math.degrees(float(yaws[..., -1].max())), 4)
    described = evenly_spaced_yaws(bins, half).double()
    if yaws.dim() != 1 or not torch.allclose(yaws, described, atol=1e-4):
        raise BundleError(
            f'{model.NAME} answers on yaws from {float(yaws.min()):.4f} to '
            f'{float(yaws.max()):.4f} rad that are not spread evenly over +-{half:g} degrees: '
            'a specification cannot describe them (`evenly_spaced_yaws` gives ones that it can)'
        )
    # Calibration is inside the graph: nothing is left to divide by.
    yaw_input = YAWS if takes_yaws(model) else ''
    return OutputSpec(
        OUTPUT, 'log_likelihood', bins, half, yaw_input, width, height, belief.cell_m, 1.0
    )


def compare(
    model: CrossViewModel, engine: AbstractEngine, samples: Iterable[dict[str, Tensor]]
) -> Parity:
    """Gives network and graph the same inputs.

    Raises:
        BundleError: Other shapes, or numbers that are not finite.
        DataError: There are no samples.
    """
    count, worst_logits, worst_probability = 0, 0.0, 0.0
    for sample in samples:
        for arrays in _with_yaws(model, sample):
            wanted = eager_logits(model, arrays)
            found = engine.run({name: value.numpy() for name, value in arrays.items()})[OUTPUT]
            worst_logits = max(worst_logits, relative_difference(wanted, found))
            difference = np.abs(_probabilities(wanted) - _probabilities(found)).sum() / 2
            worst_probability = max(worst_probability, float(difference))
            count += 1
    if count == 0:
        raise DataError('there are no samples to compare the graph with its network on')
    return Parity(count, worst_logits, worst_probability)


def _with_yaws(model: CrossViewModel, sample: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """A sample as it is; for a network that takes yaws, with its own and with other ones."""
    if not takes_yaws(model):
        return [sample]
    names = model.inputs.view.name, model.inputs.patch.name
    own = own_yaws(model, *(sample[name] for name in names))
    return [{**sample, YAWS: own}, {**sample, YAWS: evenly_spaced_yaws(*_OTHER_YAWS)}]


def _probabilities(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits.astype(np.float64) - logits.max())
    return np.asarray(weights / weights.sum())


# ---- what to compare on ----


def noise(model: CrossViewModel, count: int) -> Iterator[dict[str, Tensor]]:
    """Inputs without any picture in them."""
    names = model.inputs.view.name, model.inputs.patch.name
    for seed in range(1, count + 1):
        arrays = random_inputs(model, seed=seed)
        yield {name: arrays[name] for name in names}


def from_data(
    model: CrossViewModel, reader: str, root: Path, split: str | None, count: int
) -> Iterator[dict[str, Tensor]]:
    """Samples of a data set, evenly spread.

    Raises:
        ConfigError: No such reader or option.
        DataError: It cannot be read, is empty, or is of another camera.
    """
    from training.evaluation.opening import open_samples
    from training.evaluation.protocols import opening, protocol

    how = opening(protocol('aligned'), reader, 'same', split)
    opened = open_samples(reader, Path(root).expanduser(), how, count, model.EXTRA_INPUTS)
    return _inputs(model, opened.batches(model, 1))


def from_run(model: CrossViewModel, config: Path, count: int) -> Iterator[dict[str, Tensor]]:
    """Samples of the validation split that a run was judged by.

    Raises:
        ConfigError: The run had none, or its settings cannot be read.
        DataError: Its data is not there any more.
    """
    from training.loop.data import validation_batches, Wanted
    from training.loop.settings import read_config

    data = read_config(config).data
    if data.validation is None:
        raise ConfigError(
            f'{config}: the run had no validation split to compare on: say --data DIR, or --noise'
        )
    short = replace(data, validation=replace(data.validation, limit=count), workers=0)
    return _inputs(model, validation_batches(short, Wanted(model), 1, root=None))


def _inputs(model: CrossViewModel, batches: Iterable) -> Iterator[dict[str, Tensor]]:
    inputs = model.inputs
    for batch in batches:
        if len(batch) == 0:  # it could not be read
            continue
        tensors = batch.tensors
        yield {
            inputs.view.name: normalise(tensors['view'], tensors['view_mask'], inputs.view),
            inputs.patch.name: normalise(tensors['patch'], tensors['patch_mask'], inputs.patch),
        }


# ---- files ----


def require_place(folder: Path, overwrite: bool) -> None:
    """Refuses a folder that holds anything but a bundle that may be replaced.

    Raises:
        ConfigError: Says what is in the way.
    """
    if folder.is_file():
        raise ConfigError(f'--out {folder}: is a file, expected a folder to make')
    if not folder.is_dir():
        return
    others = sorted(path.name for path in folder.iterdir() if path.name not in _OF_BUNDLES)
    if others:
        raise ConfigError(f'--out {folder}: holds {others[0]!r} and is no bundle: name another')
    if not overwrite and any(folder.iterdir()):
        raise ConfigError(f'--out {folder}: holds a bundle: say --overwrite, or name another')


def write_bundle(bundle: ModelBundle, folder: Path) -> ModelBundle:
    """Writes a bundle and reads it back; it is whole or its reading is refused.

    Args:
        bundle: From `make_bundle`.
        folder: Made if absent.

    Raises:
        OSError: The disk is full or may not be written.
        BundleError: What was written cannot be read.
    """
    write_files(folder, {WEIGHTS: bundle.weights, SPEC: bundle.spec.to_json().encode()})
    return load_bundle(folder)


def write_files(folder: Path, contents: dict[str, bytes]) -> None:
    """Writes files into a folder, each of them whole or not at all.

    Args:
        folder: Made if absent.
        contents: Name -> content, in the order in which they are to appear.

    Raises:
        OSError: The disk is full or may not be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        unfinished = folder / f'.{name}.{os.getpid()}.part'
        try:
            unfinished.write_bytes(content)
            unfinished.replace(folder / name)
        finally:
            unfinished.unlink(missing_ok=True)
