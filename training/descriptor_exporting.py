# SPDX-License-Identifier: Apache-2.0
"""Bundles of networks that describe a picture, to find its place by."""

from collections.abc import Mapping, Sequence
import math
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from geoloc_core.descriptor_spec import DescriptorSpec, FORMAT
from geoloc_core.errors import BundleError
from geoloc_core.export_record import ExportRecord, TensorRecord
from geoloc_core.models.base import normalise
from geoloc_core.models.descriptor import DescriptorModel
from geoloc_core.runtime.descriptor_bundle import DescriptorBundle
from geoloc_core.runtime.parity import DESCRIPTOR, descriptor_difference, Figures
from training.cross_view_exporting import picture
from training.description import Described, place_figures, world_names
from training.export_subject import AbstractSubject, Answers, Arrays, digest, Limits, TRUTH
from training.onnx_graph import batched, graph_of, open_batch, OPSET, predicting

OUTPUT = 'descriptor'
# Of a batch: what its pictures see, and where.
_KNOWN = ('observed', 'world')


class DescriptorSubject(AbstractSubject):
    """A `DescriptorModel` on its way into a bundle."""

    UNITS: ClassVar[Mapping[str, str]] = DESCRIPTOR
    # Unit vectors are 0 to 2 apart; those of places that differ, a good part of one.
    LIMITS: ClassVar[Mapping[str, Limits]] = {
        'fp32': Limits({'distance': 1e-3}, 'worst'),
        'fp16': Limits({'distance': 0.03}, 'worst'),
        'int8': Limits({'distance': 0.3}, 'median'),
    }
    # A descriptor is right if it finds another one of its place.
    JUDGED_TOGETHER: ClassVar[bool] = True

    def __init__(self, model: DescriptorModel) -> None:
        """See `AbstractSubject`."""
        super().__init__(model)
        if model.EXTRA_INPUTS:
            raise BundleError(
                f'{model.NAME} asks for {", ".join(model.EXTRA_INPUTS)}, which a robot does not '
                'have before it knows where it is: train a student by it, and export that'
            )

    @property
    def text(self) -> str:
        """See `AbstractSubject`."""
        return f'{self.model.size} numbers that describe a picture'

    def graph(self, batch: int) -> bytes:
        """See `AbstractSubject`."""
        name = self.model.view.name
        free = open_batch(batch)
        shapes: dict[str, object] | None = None if free is None else {'view': free}
        many = batched(self.noise(0), batch)
        return graph_of(self.model, (many[name],), [name], [OUTPUT], self.model.NAME, shapes)

    def noise(self, seed: int) -> Arrays:
        """See `AbstractSubject`."""
        view = self.model.view
        generator = torch.Generator().manual_seed(seed)
        return {view.name: torch.randn(1, 3, view.height, view.width, generator=generator)}

    def sample(self, tensors: Mapping[str, Tensor]) -> Arrays:
        """See `AbstractSubject`."""
        image = tensors['view']
        made = {
            self.model.view.name: normalise(image, image.new_ones(1, 1, 1, 1), self.model.view)
        }
        known = {f'{TRUTH}{name}': tensors[name] for name in _KNOWN if name in tensors}
        return {**made, **known}

    def answers(self, arrays: Arrays) -> Answers:
        """See `AbstractSubject`."""
        with predicting(self.model):
            return {OUTPUT: self.model(arrays[self.model.view.name]).float().numpy()}

    def difference(self, wanted: Answers, found: Answers, arrays: Arrays) -> Figures:
        """See `AbstractSubject`."""
        return descriptor_difference(wanted[OUTPUT], found[OUTPUT])

    def joint_errors(
        self, answers: Sequence[Answers], samples: Sequence[Arrays]
    ) -> dict[tuple[str, str], float]:
        """How often the most similar other picture is of another place.

        Of the pictures that have another one of their place among the samples; nothing if none
        has, or if it is not known what they see.
        """
        if not all(f'{TRUTH}{name}' in sample for sample in samples for name in _KNOWN):
            return {}
        observed, worlds = (
            torch.cat([sample[f'{TRUTH}{name}'] for sample in samples]).numpy() for name in _KNOWN
        )
        vectors = np.concatenate([answer[OUTPUT] for answer in answers])
        keys = tuple(str(number) for number in range(len(samples)))
        rule = self.model.same_place
        found = place_figures(Described(keys, world_names(worlds), vectors, observed, rule))
        recall = found['recall_at_1']
        if math.isnan(recall):
            return {}
        return {('places not found at first try', '%'): 100.0 * (1.0 - recall)}

    def tensors(self, batch: int) -> tuple[TensorRecord, ...]:
        """See `AbstractSubject`."""
        view, rows = self.model.view, batch or -1
        return (
            TensorRecord(view.name, (rows, 3, view.height, view.width), picture(view)),
            TensorRecord(OUTPUT, (rows, self.model.size), 'a vector of length one'),
        )

    def bundle(
        self, graph: bytes, licence: str, record: ExportRecord, sample: bytes
    ) -> DescriptorBundle:
        """See `AbstractSubject`."""
        model = self.model
        spec = DescriptorSpec(
            FORMAT, model.NAME, licence, digest(graph), OPSET, model.view, OUTPUT, model.size,
            record,
        )  # fmt: skip
        return DescriptorBundle(Path(f'the bundle of {model.NAME}'), spec, graph, sample)
