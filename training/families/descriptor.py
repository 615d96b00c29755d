# SPDX-License-Identifier: Apache-2.0
"""Networks that describe a picture by a vector, judged by how well they find its place."""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import torch

from geoloc_core.models.descriptor import DescriptorModel
from training.description import describe, Described, DescriptorPreparation, place_figures
from training.families.base import AbstractFamily
from training.loop.settings import DESCRIPTOR_METRICS


class DescriptorFamily(AbstractFamily):
    """`geoloc_core.models.descriptor.DescriptorModel`."""

    METRICS: ClassVar[tuple[str, ...]] = DESCRIPTOR_METRICS

    def preparation(
        self, model: DescriptorModel, extras: tuple[str, ...]
    ) -> DescriptorPreparation:
        """See `AbstractFamily`."""
        wanted = tuple(dict.fromkeys((*model.EXTRA_INPUTS, *extras)))
        return DescriptorPreparation(model.view, model.patches_a_side, wanted)

    def measure(
        self, model: DescriptorModel, batches: Iterable[Any], device: torch.device
    ) -> list[Described]:
        """See `AbstractFamily`."""
        return [part for part in describe(model, batches, device) if len(part)]

    def figures(self, parts: Sequence[Described]) -> dict[str, float]:
        """See `AbstractFamily`: each picture of the split is looked for among the other ones."""
        figures = place_figures(Described.joined(parts))
        return {name: figures[name] for name in self.METRICS}
