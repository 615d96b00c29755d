# SPDX-License-Identifier: Apache-2.0
"""Networks that compare a view with a map and answer with a volume of poses."""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch

from geoloc_core.models.base import CrossViewModel
from training.calibration_fit import Fit
from training.families.base import AbstractFamily
from training.loop.settings import METRICS
from training.preparation import CrossViewPreparation
from training.scoring import scored_batches, Scores

# A yaw that is given is off by nothing but rounding, rad.
_GIVEN_YAW = 1e-4


class CrossViewFamily(AbstractFamily):
    """`geoloc_core.models.base.CrossViewModel`."""

    METRICS: ClassVar[tuple[str, ...]] = METRICS
    # What these networks learn from says all there is to know of a sample.
    INDEXED: ClassVar[bool] = False

    def preparation(self, model: CrossViewModel, extras: tuple[str, ...]) -> CrossViewPreparation:
        """See `AbstractFamily`."""
        further = tuple(dict.fromkeys((*model.EXTRA_INPUTS, *extras)))
        return CrossViewPreparation(
            model.inputs,
            tuple(e for e in further if e != 'others'),
            other_patches='others' in further,
        )

    def measure(
        self, model: CrossViewModel, batches: Iterable[Any], device: torch.device
    ) -> list[Scores]:
        """See `AbstractFamily`."""
        return [part for _, _, part in scored_batches(model, batches, device)]

    def figures(self, parts: Sequence[Scores]) -> dict[str, float]:
        """See `AbstractFamily`. NLL and coverage are those of (x, y) where the yaw is given."""
        scores = Scores.joined(parts)
        given = bool(np.abs(scores.truth[:, 2]).max() < _GIVEN_YAW)
        figures = scores.figures(2 if given else 3)
        return {name: figures[name] for name in METRICS}

    def fit(
        self, model: CrossViewModel, batches: Iterable[Any], device: torch.device, samples: int
    ) -> Fit:
        """See `AbstractFamily`."""
        # Imported here: the command of that name asks this package for a family.
        from training.calibrate import fit_calibration

        return fit_calibration(model, batches, device, max_samples=samples)
