# SPDX-License-Identifier: Apache-2.0
"""Bundles of networks that answer with a camera's pose in a place they learned."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn, Tensor

from geoloc_core.export_record import ExportRecord, TensorRecord
from geoloc_core.models.pose_model import network_inputs, PoseModel
from geoloc_core.pose_spec import FORMAT, PoseModelSpec, PoseOutputSpec
from geoloc_core.runtime.parity import Figures, POSE, pose_difference
from geoloc_core.runtime.pose_bundle import PoseBundle
from training.cross_view_exporting import picture
from training.export_subject import AbstractSubject, Answers, Arrays, digest, Limits, TRUTH
from training.onnx_graph import batched, graph_of, open_batch, OPSET, predicting

OUTPUT = PoseOutputSpec('position', 'rotation', 'cov')
_OUTPUTS = (OUTPUT.position, OUTPUT.rotation, OUTPUT.cov)
# With colour and depth, and with either.
_PATTERNS = ((1.0, 1.0), (1.0, 0.0), (0.0, 1.0))


class PoseGraph(nn.Module):
    """A network as robots run it: `forward` and `belief` in one."""

    def __init__(self, model: PoseModel) -> None:
        """Takes the network."""
        super().__init__()
        self.model = model

    def forward(
        self, colour: Tensor, depth: Tensor, present: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Position (B, 3), rotation (B, 3, 3), covariance (B, 6, 6)."""
        belief = self.model.belief(self.model(colour, depth, present))
        return belief.position, belief.rotation, belief.cov


class PoseSubject(AbstractSubject):
    """A `PoseModel` on its way into a bundle."""

    UNITS: ClassVar[Mapping[str, str]] = POSE
    LIMITS: ClassVar[Mapping[str, Limits]] = {
        'fp32': Limits({'position': 1e-3, 'rotation': 0.05, 'covariance': 0.01}, 'worst'),
        'fp16': Limits({'position': 0.02, 'rotation': 0.5, 'covariance': 0.1}, 'worst'),
        'int8': Limits({'position': 0.1, 'rotation': 2.0, 'covariance': 0.5}, 'median'),
    }

    def __init__(self, model: PoseModel, place: str) -> None:
        """Takes the network and the name of the place whose frame its poses are in."""
        super().__init__(model)
        self.place = place
        inputs = model.inputs
        self.names = (inputs.colour.name, inputs.depth.name, inputs.present)

    @property
    def text(self) -> str:
        """See `AbstractSubject`."""
        return f'a pose in {self.place!r} from {" or ".join(self.model.inputs.uses)}'

    def graph(self, batch: int) -> bytes:
        """See `AbstractSubject`."""
        many = batched(self.noise(0), batch)
        free = open_batch(batch)
        shapes: dict[str, object] | None = None
        if free is not None:
            shapes = {'colour': free, 'depth': free, 'present': free}
        arguments = tuple(many[name] for name in self.names)
        module = PoseGraph(self.model)
        return graph_of(
            module, arguments, list(self.names), list(_OUTPUTS), self.model.NAME, shapes
        )

    def noise(self, seed: int) -> Arrays:
        """See `AbstractSubject`."""
        spec = self.model.inputs.colour
        generator = torch.Generator().manual_seed(seed)
        colour = torch.randn(1, spec.channels, spec.height, spec.width, generator=generator)
        if spec.with_mask:
            colour[:, 3] = 1.0
        depth = torch.randn(1, 2, spec.height, spec.width, generator=generator)
        depth[:, 1] = 1.0
        return dict(zip(self.names, (colour, depth, torch.ones(1, 2)), strict=True))

    def sample(self, tensors: Mapping[str, Tensor]) -> Arrays:
        """See `AbstractSubject`."""
        made = dict(zip(self.names, network_inputs(self.model, dict(tensors)), strict=True))
        if 'position' in tensors:
            made[f'{TRUTH}position'] = tensors['position']
            made[f'{TRUTH}rotation'] = tensors['rotation']
        return made

    def cases(self, sample: Arrays) -> Iterator[Arrays]:
        """With all that there is of a sample, and with either modality alone."""
        available = sample[self.names[2]]
        for pattern in _PATTERNS:
            present = available * torch.tensor([pattern])
            if bool(self.model.answers(present).all()):
                yield {**sample, self.names[2]: present}

    def answers(self, arrays: Arrays) -> Answers:
        """See `AbstractSubject`."""
        with predicting(self.model):
            found = PoseGraph(self.model)(*(arrays[name] for name in self.names))
        return {name: t.float().numpy() for name, t in zip(_OUTPUTS, found, strict=True)}

    def difference(self, wanted: Answers, found: Answers, arrays: Arrays) -> Figures:
        """See `AbstractSubject`."""
        return pose_difference(*(_parts(each) for each in (wanted, found)))

    def errors(self, answers: Answers, sample: Arrays) -> dict[tuple[str, str], float]:
        """See `AbstractSubject`."""
        if f'{TRUTH}position' not in sample:
            return {}
        position, rotation, cov = _parts(answers)
        truth = [sample[f'{TRUTH}{name}'][0].numpy() for name in ('position', 'rotation')]
        apart = pose_difference((truth[0], truth[1], cov), (position, rotation, cov))
        return {
            ('median position error', 'm'): apart['position'],
            ('median rotation error', 'degrees'): apart['rotation'],
        }

    def tensors(self, batch: int) -> tuple[TensorRecord, ...]:
        """See `AbstractSubject`."""
        inputs, rows = self.model.inputs, batch or -1
        colour, depth = inputs.colour, inputs.depth
        sides = (colour.height, colour.width)
        metres = f'(m - {depth.mean_m:g}) / {depth.std_m:g} up to {depth.max_m:g} m, else 0'
        contents = (
            TensorRecord(self.names[0], (rows, colour.channels, *sides), picture(colour)),
            TensorRecord(self.names[1], (rows, 2, *sides), f'{metres}; then 1 where it is known'),
            TensorRecord(self.names[2], (rows, 2), '1 where there is a picture, depth; else 0'),
            TensorRecord(OUTPUT.position, (rows, 3), "m from the place's centre"),
            TensorRecord(OUTPUT.rotation, (rows, 3, 3), "camera's optical axes -> place"),
            TensorRecord(OUTPUT.cov, (rows, 6, 6), 'm^2 and rad^2, x y z, turns about x y z'),
        )
        return contents

    def bundle(
        self, graph: bytes, licence: str, record: ExportRecord, sample: bytes
    ) -> PoseBundle:
        """See `AbstractSubject`."""
        name, inputs = self.model.NAME, self.model.inputs
        spec = PoseModelSpec(
            FORMAT, name, licence, digest(graph), OPSET, self.place, inputs, OUTPUT, record
        )
        return PoseBundle(Path(f'the bundle of {name}'), spec, graph, sample)


def _parts(answers: Answers) -> Any:
    """Position, rotation and covariance of one sample."""
    return tuple(answers[name][0] for name in _OUTPUTS)
