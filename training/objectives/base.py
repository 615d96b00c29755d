# SPDX-License-Identifier: Apache-2.0
"""What the training loop knows of a method: batches in, named losses out."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
from torch import nn, Tensor

from geoloc_core.models.base import CrossViewModel, normalise, Outputs
from training.datasets.base import AbstractDataset
from training.loop.companions import Companions

# The name of the term that is minimised; the others are shown beside it.
LOSS = 'loss'


@dataclass(frozen=True)
class Progress:
    """How far training is, for losses and masks that depend on it.

    Attributes:
        step: Steps of the optimizer so far.
        steps: In all.
        epoch: Passes begun before this one.
    """

    step: int = 0
    steps: int = 1
    epoch: int = 0


class Objective(nn.Module, ABC):
    """A model with the loss it learns by; the loop calls it, and nothing else of a method.

    It is one module, so that wrappers for many GPUs see every forward pass. Random draws use the
    generator of torch, which the loop seeds and restores.

    Attributes:
        Settings: Frozen dataclass; its defaults are the published ones.
        EXTRAS: Arrays wanted of the preparation beside the model's own, e.g. 'others'.
        model: The network that learns.
    """

    Settings: ClassVar[type]
    EXTRAS: ClassVar[tuple[str, ...]] = ()

    def __init__(self, model: Any, settings: Any) -> None:
        """Takes a model of the family that it is made for."""
        super().__init__()
        self.model = model
        self.settings = settings

    @abstractmethod
    def forward(self, batch: Mapping[str, Tensor], progress: Progress) -> dict[str, Tensor]:
        """Losses of a batch (the preparation of the model's family says what is in it).

        Returns:
            Name -> scalar; `LOSS` is the one to minimise, weights applied, the others its parts.
        """

    def companions(self, dataset: AbstractDataset, indices: np.ndarray) -> Companions | None:
        """Which samples must share a batch; None, as usual, for any.

        Called once, before training, so an objective may look into the data set here.

        Args:
            dataset: The training split.
            indices: (N,) of its samples that are used.
        """
        return None

    def after_step(self, progress: Progress) -> None:
        """Called after each step of the optimizer; e.g. moves a teacher."""

    def after_epoch(self, progress: Progress) -> None:
        """Called after each pass over the data, before validation."""

    @property
    def deployed(self) -> Any:
        """The network to validate, save and run: a student's teacher may be better than it."""
        return self.model

    @property
    def settings_dict(self) -> dict[str, Any]:
        """The settings as plain values, for files."""
        return asdict(self.settings)


def model_inputs(
    model: CrossViewModel, batch: Mapping[str, Tensor], patch: Tensor | None = None
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """View, patch and what a model's `forward` takes besides; arguments of `run_model`."""
    inputs = model.inputs
    view = normalise(batch['view'], batch['view_mask'], inputs.view)
    if patch is None:
        aerial = normalise(batch['patch'], batch['patch_mask'], inputs.patch)
    else:
        aerial = normalise(patch, batch['patch_mask'].new_ones(1), inputs.patch)
    return view, aerial, {name: batch[name].to(view.dtype) for name in model.EXTRA_INPUTS}


def run_model(
    model: CrossViewModel, batch: Mapping[str, Tensor], patch: Tensor | None = None
) -> Outputs:
    """A model's tensors for a batch.

    Args:
        model: Any.
        batch: As `CrossViewPreparation` gives it.
        patch: (B, 3, h, w) uint8 to use instead of the batch's own, all of it known.
    """
    view, aerial, extra = model_inputs(model, batch, patch)
    return model(view, aerial, **extra)
