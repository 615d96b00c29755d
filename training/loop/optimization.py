# SPDX-License-Identifier: Apache-2.0
"""Optimizers and learning rates by name. A rate depends on the step alone: nothing to restore."""

from collections.abc import Iterable
import math

import torch
from torch import nn

from geoloc_core.errors import ConfigError
from training.loop.settings import Optimizer, Schedule

# As in Smith & Topin, "Super-Convergence" (2018), and in torch's OneCycleLR: the first rate is
# the highest / 25, the last one is the first / 10,000.
_FIRST_DIVISOR = 25.0
_LAST_DIVISOR = 1e4


def make_optimizer(
    settings: Optimizer, parameters: Iterable[nn.Parameter]
) -> torch.optim.Optimizer:
    """The optimizer of a run.

    Args:
        settings: Its name and numbers.
        parameters: Those that learn.

    Raises:
        ConfigError: There are none.
    """
    learning = list(parameters)
    if not learning:
        raise ConfigError('nothing is left to learn: system and objective freeze all weights')
    if settings.name == 'sgd':
        return torch.optim.SGD(
            learning, settings.lr, settings.momentum, weight_decay=settings.weight_decay
        )
    kind = torch.optim.AdamW if settings.name == 'adamw' else torch.optim.Adam
    return kind(
        learning, settings.lr, settings.betas, settings.eps, weight_decay=settings.weight_decay
    )


def learning_rate(optimizer: Optimizer, schedule: Schedule, step: int, steps: int) -> float:
    """The rate of one step.

    Args:
        optimizer: Says the highest rate.
        schedule: How it rises and falls.
        step: 0 .. steps - 1.
        steps: Of the whole run.
    """
    top = optimizer.lr
    rising = schedule.warmup * steps
    first = top / _FIRST_DIVISOR if schedule.name == 'one_cycle' else 0.0
    if step < rising:
        # Not `first` itself where that is 0: a step that changes nothing.
        return min(top, first + (top - first) * (step + (first == 0.0)) / max(rising, 1.0))
    share = (step - rising) / max(steps - 1 - rising, 1.0)
    if schedule.name == 'one_cycle':
        return top + (first / _LAST_DIVISOR - top) * share
    if schedule.name == 'cosine':
        return schedule.final + (top - schedule.final) * 0.5 * (1.0 + math.cos(math.pi * share))
    return top
