# SPDX-License-Identifier: Apache-2.0
"""Scalars of stated doubt, fitted by maximum likelihood, whatever a network answers."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from geoloc_core.models.network import Network

_MAX_ITERATIONS = 30
# Weight of (scalar - its start)^2, nats: holds what the data say nothing about, such as the width
# of a yaw that is always right.
_PRIOR = 1e-3


@dataclass(frozen=True)
class Fit:
    """What calibration did.

    Attributes:
        samples: It was fitted on.
        before: Mean negative log-likelihood with the scalars as they were, nats.
        after: With the fitted ones.
        scalars: Name -> (before, after).
    """

    samples: int
    before: float
    after: float
    scalars: dict[str, tuple[Any, Any]] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """One line for people."""
        if not self.scalars:
            return 'calibration: this network has nothing to calibrate'
        changes = ', '.join(
            f'{n} {_shown(a)} -> {_shown(b)}' for n, (a, b) in self.scalars.items()
        )
        return (
            f'calibration on {self.samples} validation samples: nll {self.before:.4f} -> '
            f'{self.after:.4f} ({changes})'
        )


def _shown(value: Any) -> str:
    return f'{value:.4g}' if isinstance(value, float) else str(value)


def fit_scalars(model: Network, losses: Callable[[], Iterable[Tensor]], samples: int) -> Fit:
    """Minimises the mean of losses over `model.calibration`, in place.

    Args:
        model: Trained; its weights stay as they are.
        losses: Gives, batch by batch, negative log-likelihoods (B,) with the scalars as they are.
        samples: In all.

    Returns:
        What it did. The scalars are as before if no better ones were found.
    """
    scalars = dict(model.calibration.items())
    start = {name: p.detach().clone() for name, p in scalars.items()}
    learning = {id(p): p.requires_grad for p in model.parameters()}
    model.requires_grad_(False)
    for p in scalars.values():
        p.requires_grad_(True)
    optimizer = torch.optim.LBFGS(
        list(scalars.values()),
        max_iter=_MAX_ITERATIONS,
        # Nats; a finer answer would be about these samples only.
        tolerance_grad=1e-4,
        tolerance_change=1e-5,
        line_search_fn='strong_wolfe',
    )
    before = _mean(losses)

    def closure() -> Tensor:
        optimizer.zero_grad()
        held = sum(((p - start[n]) ** 2).sum() for n, p in scalars.items())
        total = torch.as_tensor(held * _PRIOR)
        total.backward()
        total = total.detach()
        for part in losses():
            nll = part.sum() / samples
            # Batch by batch, so that one batch's graph is in memory at a time.
            nll.backward()
            total = total + nll.detach()
        return total

    optimizer.step(closure)
    after = _mean(losses)
    with torch.no_grad():
        if not after < before:
            for name, p in scalars.items():
                p.copy_(start[name])
            after = before
    for p in model.parameters():
        p.requires_grad_(learning[id(p)])
    changes = {n: (start[n].tolist(), p.detach().tolist()) for n, p in scalars.items()}
    return Fit(samples, before, after, changes)


@torch.no_grad()
def _mean(losses: Callable[[], Iterable[Tensor]]) -> float:
    return float(torch.cat(list(losses())).mean())
