# SPDX-License-Identifier: Apache-2.0
"""Makes bundles of descriptor networks, and lets none out that describes otherwise."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from geoloc_core.descriptor_spec import DescriptorSpec, FORMAT
from geoloc_core.errors import BundleError, ConfigError, DataError
from geoloc_core.models.base import normalise
from geoloc_core.models.descriptor import DescriptorModel
from geoloc_core.runtime.descriptor_bundle import DescriptorBundle, load_descriptor_bundle, SPEC
from geoloc_core.runtime.engine import AbstractEngine
from training.exporting import write_files
from training.onnx_graph import graph_of, OPSET, predicting

OUTPUT = 'descriptor'
# Unit vectors are 0 to 2 apart; places that differ, a good part of one.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class DescriptorParity:
    """How far a graph was from its network, at worst.

    Attributes:
        samples: Number of comparisons.
        distance: Euclidean, of the two unit vectors.
    """

    samples: int
    distance: float

    def __str__(self) -> str:
        """One line."""
        return (
            f'compared on {self.samples} pictures: descriptors lie {self.distance:.1e} apart at '
            'most'
        )


def make_descriptor_bundle(
    model: DescriptorModel,
    pictures: Iterable[Tensor],
    licence: str = 'Apache-2.0',
    tolerance: float = TOLERANCE,
) -> tuple[DescriptorBundle, DescriptorParity]:
    """A bundle in memory, compared with its network.

    Args:
        model: Trained; brought to the CPU.
        pictures: What to compare on, normalised (1, 3, H, W).
        licence: SPDX name of the weights' licence.
        tolerance: Of the distance between descriptors of one picture.

    Raises:
        BundleError: It needs what a robot does not have, cannot be a graph, or the graph differs
            from the network by more than the tolerance.
        DataError: There are no pictures.
    """
    if model.EXTRA_INPUTS:
        raise BundleError(
            f'{model.NAME} asks for {", ".join(model.EXTRA_INPUTS)}, which a robot does not have '
            'before it knows where it is: train a student by it, and export that'
        )
    model = model.to('cpu')
    first = next(noise(model, 1))
    graph = graph_of(model, (first,), [model.view.name], [OUTPUT], model.NAME)
    digest = hashlib.sha256(graph).hexdigest()
    spec = DescriptorSpec(
        FORMAT, model.NAME, licence, digest, OPSET, model.view, OUTPUT, model.size
    )
    bundle = DescriptorBundle(Path(f'the bundle of {model.NAME}'), spec, graph)
    parity = compare(model, bundle.open_engine(threads=1), pictures)
    # Asked so that what is no number is refused as well.
    if not parity.distance <= tolerance:
        raise BundleError(
            f'the graph of {model.NAME} does not answer like the network ({parity}); allowed is '
            f'{tolerance:.1e}: nothing is written'
        )
    return bundle, parity


def compare(
    model: DescriptorModel, engine: AbstractEngine, pictures: Iterable[Tensor]
) -> DescriptorParity:
    """Gives network and graph the same pictures.

    Raises:
        DataError: There are none.
    """
    worst, count = 0.0, 0
    for picture in pictures:
        with predicting(model):
            wanted = model(picture).numpy()
        found = engine.run({model.view.name: picture.numpy()})[OUTPUT]
        distance = float(np.linalg.norm(wanted.astype(np.float64) - found))
        # No number is the worst of all, wherever it comes.
        worst = distance if not distance <= worst else worst
        count += 1
        if not np.isfinite(distance):
            break
    if count == 0:
        raise DataError('there are no pictures to compare the graph with its network on')
    return DescriptorParity(count, worst)


def noise(model: DescriptorModel, count: int) -> Iterator[Tensor]:
    """Inputs without any picture in them."""
    for seed in range(1, count + 1):
        generator = torch.Generator().manual_seed(seed)
        yield torch.randn(1, 3, model.view.height, model.view.width, generator=generator)


def from_run(model: DescriptorModel, config: Path, count: int) -> Iterator[Tensor]:
    """Pictures of the validation split that a run was judged by.

    Raises:
        ConfigError: The run had none, or its settings cannot be read.
        DataError: Its data is not there any more.
    """
    from training.loop.data import validation_batches, Wanted
    from training.loop.settings import read_config

    data = read_config(config).data
    if data.validation is None:
        raise ConfigError(f'{config}: the run had no validation split to compare on: say --noise')
    short = replace(data, validation=replace(data.validation, limit=count), workers=0)
    for batch in validation_batches(short, Wanted(model), 1, root=None):
        if len(batch):
            image = batch.tensors['view']
            yield normalise(image, image.new_ones(1, 1, 1, 1), model.view)


def write_descriptor_bundle(bundle: DescriptorBundle, folder: Path) -> DescriptorBundle:
    """Writes a bundle and reads it back; it is whole or its reading is refused.

    Args:
        bundle: From `make_descriptor_bundle`.
        folder: Made if absent.

    Raises:
        OSError: The disk is full or may not be written.
        BundleError: What was written cannot be read.
    """
    write_files(folder, {'model.onnx': bundle.weights, SPEC: bundle.spec.to_json().encode()})
    return load_descriptor_bundle(folder)
