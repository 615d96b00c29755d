# SPDX-License-Identifier: Apache-2.0
"""A student's distances learned from a teacher's: the relaxed contrastive loss.

Reference: Kim et al., "Embedding Transfer with Label Relaxation for Improved Metric Learning"
(CVPR 2021, arXiv 2103.14908), eq. 2-5. The multi-modal CrossViT says of its distillation that it
transfers embeddings by a Gaussian kernel, which is this; its constants are not known, those here
are the ones of Kim et al.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from geoloc_core.errors import ConfigError
from geoloc_core.models.descriptor import DescriptorModel
from geoloc_core.models.weights import load_weights
from training.datasets.overlaps import Overlaps
from training.description import run_descriptor, SPATIAL
from training.objectives.base import LOSS, Progress
from training.objectives.pairs import PairObjective, root, squared_distances
from training.objectives.spatial_contrastive import contrastive_losses, pairs_of


@dataclass(frozen=True)
class RelaxedContrastiveSettings:
    """Settings of `RelaxedContrastive`.

    Attributes:
        teacher: File of its weights (a run's model.safetensors).
        sigma: Of the kernel: the teacher's squared distance at which a pair counts 1/e.
        delta: Distance from which a pair that counts nothing is far enough.
        relative: Whether the student's distances are measured by the mean of each row, so that
            their scale is free.
        contrastive: Weight of the spatial contrastive loss beside it, on all decided pairs.
        margin: Of that one.
        normalised: Of that one, see `SpatialContrastiveSettings`.
    """

    teacher: str = ''
    sigma: float = 1.0
    delta: float = 1.0
    relative: bool = True
    contrastive: float = 0.0
    margin: float = 0.5
    normalised: bool = True

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            ConfigError: One that cannot be.
        """
        for name in ('sigma', 'delta', 'margin'):
            if not getattr(self, name) > 0:
                raise ConfigError(f'{name} is {getattr(self, name)}: expected more than 0')
        if self.contrastive < 0:
            raise ConfigError(f'contrastive is {self.contrastive}: expected 0 or more')


def kernel(squares: Tensor, sigma: float) -> Tensor:
    """How alike the teacher finds pairs, 0..1: exp(-d^2 / sigma)."""
    return (-squares / sigma).exp()


def relaxed_contrastive(student: Tensor, weights: Tensor, delta: float, relative: bool) -> Tensor:
    """The loss of a batch.

    Args:
        student: (B, B) squared distances of its descriptors.
        weights: (B, B) `kernel` of the teacher's.
        delta: See `RelaxedContrastiveSettings`.
        relative: The same.

    Returns:
        Scalar: the sum over pairs, divided by the pictures.
    """
    distances = root(student)
    if relative:
        distances = distances / distances.mean(dim=1, keepdim=True).clamp_min(1e-6)
    apart = (delta - distances).clamp_min(0.0)
    pairs = weights * distances.square() + (1.0 - weights) * apart.square()
    return pairs.sum() / len(student)


class RelaxedContrastive(PairObjective):
    """A student beside a teacher that does not learn any more.

    Attributes:
        teacher: Any descriptor network, of as many patches as the student.
    """

    Settings = RelaxedContrastiveSettings
    EXTRAS = SPATIAL

    def __init__(self, model: DescriptorModel, settings: RelaxedContrastiveSettings) -> None:
        """Opens the teacher.

        Raises:
            ConfigError: None is named, or it does not fit the student.
            BundleError: Its weights cannot be read.
        """
        super().__init__(model, settings)
        if not settings.teacher:
            raise ConfigError(
                'objective.settings.teacher: is not given: name the model.safetensors of a teacher'
            )
        self.teacher = open_teacher(settings.teacher, model)

    def weighted(self, overlaps: Overlaps) -> Overlaps:
        """See `PairObjective`."""
        return overlaps.normalised() if self.settings.normalised else overlaps

    def forward(self, batch: Mapping[str, Tensor], progress: Progress) -> dict[str, Tensor]:
        """See `Objective`."""
        settings = self.settings
        squares = squared_distances(run_descriptor(self.model, batch))
        with torch.no_grad():
            taught = squared_distances(run_descriptor(self.teacher, batch))
        weights = kernel(taught, settings.sigma)
        transfer = relaxed_contrastive(squares, weights, settings.delta, settings.relative)
        losses = {LOSS: transfer, 'transfer': transfer}
        if settings.contrastive:
            overlap, decided = self.between_rows(batch['index'])
            used = decided & pairs_of(len(squares), 'batch', decided.device)
            parts = contrastive_losses(squares, overlap, used, settings.margin)
            losses[LOSS] = transfer + settings.contrastive * parts[LOSS]
            losses['contrastive'] = parts[LOSS]
        return losses


def open_teacher(path: str, student: DescriptorModel) -> DescriptorModel:
    """The teacher, frozen.

    Raises:
        ConfigError: It is no descriptor network, or does not fit the student.
        BundleError: Its weights cannot be read.
    """
    teacher = load_weights(path)
    if not isinstance(teacher, DescriptorModel):
        raise ConfigError(f'{path} holds a {teacher.NAME}, expected a network of descriptors')
    if (teacher.view, teacher.patches_a_side) != (student.view, student.patches_a_side):
        raise ConfigError(
            f'{path} is fed {teacher.view} in {teacher.patches_a_side} patches a side, the '
            f'student {student.view} in {student.patches_a_side}: both see the same batch, so '
            'give them the same branches'
        )
    return teacher.requires_grad_(False)
