# SPDX-License-Identifier: Apache-2.0
"""A running average of a network's weights (Polyak & Juditsky, 1992)."""

import copy

import torch
from torch import nn


class Ema(nn.Module):
    """A second network whose weights follow those of the first.

    Buffers, such as the statistics of BatchNorm, are averages already: they are copied.

    Attributes:
        model: The average; never trained itself.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Starts at the present weights.

        Args:
            model: To be followed.
            decay: Share of the average that stays in a step. The first steps keep less,
                (1 + n) / (10 + n), so that the average soon forgets where it began.
        """
        super().__init__()
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self._decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Follows one step.

        Args:
            model: After the step.
            step: Steps so far, this one counted.
        """
        keep = min(self._decay, (1 + step) / (10 + step))
        for mean, now in zip(self.model.parameters(), model.parameters(), strict=True):
            mean.lerp_(now.to(mean), 1.0 - keep)
        for mean, now in zip(self.model.buffers(), model.buffers(), strict=True):
            mean.copy_(now)
