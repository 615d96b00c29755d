# SPDX-License-Identifier: Apache-2.0
"""Makes bundles of pose networks, and lets none out that answers otherwise than its network."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn, Tensor

from geoloc_core.errors import BundleError, ConfigError, DataError
from geoloc_core.models.pose_model import network_inputs, PoseModel
from geoloc_core.pose_spec import FORMAT, PoseModelSpec, PoseOutputSpec
from geoloc_core.runtime.engine import AbstractEngine
from geoloc_core.runtime.pose_bundle import load_pose_bundle, PoseBundle, SPEC
from training.exporting import write_files
from training.onnx_graph import graph_of, OPSET, predicting

OUTPUT = PoseOutputSpec('position', 'rotation', 'cov')
Arrays = tuple[Tensor, Tensor, Tensor]
_PATTERNS = ((1.0, 1.0), (1.0, 0.0), (0.0, 1.0))


@dataclass(frozen=True)
class PoseTolerances:
    """How far a graph may be from its network.

    Attributes:
        position: Share of a metre, or of the distance from the centre if that is longer.
        rotation: Of a matrix's entries.
        cov: Share of the largest entry of each block.
    """

    position: float = 1e-3
    rotation: float = 1e-3
    cov: float = 1e-2


@dataclass(frozen=True)
class PoseParity:
    """How far a graph was from its network, at worst; see `PoseTolerances`."""

    answers: int
    position: float
    rotation: float
    cov: float

    def __str__(self) -> str:
        """One line."""
        return (
            f'compared on {self.answers} answers: positions differ by {self.position:.1e} at '
            f'most, rotations by {self.rotation:.1e}, covariances by {self.cov:.1e} of their size'
        )


class PoseGraph(nn.Module):
    """A network as robots run it: `forward` and `belief` in one."""

    def __init__(self, model: PoseModel) -> None:
        """Takes the network."""
        super().__init__()
        self.model = model

    def forward(self, colour: Tensor, depth: Tensor, present: Tensor) -> Arrays:
        """Position (B, 3), rotation (B, 3, 3), covariance (B, 6, 6)."""
        belief = self.model.belief(self.model(colour, depth, present))
        return belief.position, belief.rotation, belief.cov


def make_pose_bundle(
    model: PoseModel,
    samples: Iterable[Arrays],
    place: str,
    licence: str = 'Apache-2.0',
    tolerances: PoseTolerances | None = None,
) -> tuple[PoseBundle, PoseParity]:
    """A bundle in memory, compared with its network from both modalities and from either.

    Args:
        model: Trained and calibrated; brought to the CPU.
        samples: What to compare on: arguments of `forward` for one sample each.
        place: Name of the place whose frame the poses are in.
        licence: SPDX name of the weights' licence.
        tolerances: Of the comparison.

    Raises:
        BundleError: It cannot be a graph, or the graph differs from the network by more than the
            tolerances.
        DataError: There are no samples.
    """
    model = model.to('cpu')
    inputs = model.inputs
    names = [inputs.colour.name, inputs.depth.name, inputs.present]
    outputs = [OUTPUT.position, OUTPUT.rotation, OUTPUT.cov]
    first = next(noise(model, 1))
    graph = graph_of(PoseGraph(model), first, names, outputs, model.NAME)
    digest = hashlib.sha256(graph).hexdigest()
    spec = PoseModelSpec(FORMAT, model.NAME, licence, digest, OPSET, place, inputs, OUTPUT)
    bundle = PoseBundle(Path(f'the bundle of {model.NAME}'), spec, graph)
    parity = compare(model, bundle.open_engine(threads=1), samples)
    limits = tolerances or PoseTolerances()
    for name in ('position', 'rotation', 'cov'):
        # Asked so that what is no number is refused as well.
        if not getattr(parity, name) <= getattr(limits, name):
            raise BundleError(
                f'the graph of {model.NAME} does not answer like the network ({parity}); allowed '
                f'are {limits.position:.1e}, {limits.rotation:.1e} and {limits.cov:.1e}: nothing '
                'is written'
            )
    return bundle, parity


def compare(model: PoseModel, engine: AbstractEngine, samples: Iterable[Arrays]) -> PoseParity:
    """Gives network and graph the same inputs.

    Raises:
        DataError: There are no samples.
    """
    inputs, graph = model.inputs, PoseGraph(model)
    worst, count = np.zeros(3), 0
    for colour, depth, available in samples:
        for pattern in _PATTERNS:
            present = available * torch.tensor([pattern])
            if not bool(model.answers(present).all()):
                continue
            with predicting(model):
                wanted = [t.double().numpy()[0] for t in graph(colour, depth, present)]
            arrays = {inputs.colour.name: colour, inputs.depth.name: depth}
            said = engine.run(
                {n: t.numpy() for n, t in {**arrays, inputs.present: present}.items()}
            )
            found = [said[n][0] for n in (OUTPUT.position, OUTPUT.rotation, OUTPUT.cov)]
            worst = np.maximum(worst, _differences(wanted, found))
            count += 1
    if count == 0:
        raise DataError('there are no samples to compare the graph with its network on')
    return PoseParity(count, *(float(v) for v in worst))


def _differences(wanted: list[Any], found: list[Any]) -> np.ndarray:
    position = np.abs(wanted[0] - found[0]).max() / max(1.0, np.linalg.norm(wanted[0]))
    rotation = np.abs(wanted[1] - found[1]).max()
    # By deviations, so that metres and radians count alike.
    std = np.sqrt(np.diagonal(wanted[2]))
    cov = (np.abs(wanted[2] - found[2]) / np.outer(std, std)).max()
    return np.array([position, rotation, cov])


def noise(model: PoseModel, count: int) -> Iterator[Arrays]:
    """Inputs without any picture in them."""
    spec = model.inputs.colour
    for seed in range(1, count + 1):
        generator = torch.Generator().manual_seed(seed)
        colour = torch.randn(1, spec.channels, spec.height, spec.width, generator=generator)
        if spec.with_mask:
            colour[:, 3] = 1.0
        depth = torch.randn(1, 2, spec.height, spec.width, generator=generator)
        depth[:, 1] = 1.0
        yield colour, depth, torch.ones(1, 2)


def from_run(model: PoseModel, config: Path, count: int) -> Iterator[Arrays]:
    """Samples of the validation split that a run was judged by.

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
            yield network_inputs(model, batch.tensors)


def write_pose_bundle(bundle: PoseBundle, folder: Path) -> PoseBundle:
    """Writes a bundle and reads it back; it is whole or its reading is refused.

    Args:
        bundle: From `make_pose_bundle`.
        folder: Made if absent.

    Raises:
        OSError: The disk is full or may not be written.
        BundleError: What was written cannot be read.
    """
    write_files(folder, {'model.onnx': bundle.weights, SPEC: bundle.spec.to_json().encode()})
    return load_pose_bundle(folder)
