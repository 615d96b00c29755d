# SPDX-License-Identifier: Apache-2.0
"""How good a network is on the validation split, by several processes together."""

from collections.abc import Iterable
import math

from lightning_fabric import Fabric
import numpy as np
import torch

from geoloc_core.models.base import CrossViewModel
from training.loop.settings import METRICS
from training.scoring import scored_batches, Scores

# A yaw that is given is off by nothing but rounding, rad.
_GIVEN_YAW = 1e-4


def validate(
    fabric: Fabric, model: CrossViewModel, batches: Iterable, *, alone: bool = False
) -> dict[str, float]:
    """Figures of the whole split, the same on every process.

    Args:
        fabric: Says device and precision.
        model: To be judged.
        batches: This process's share.
        alone: The other processes are not asked for theirs.

    Returns:
        `METRICS`. NLL and coverage are those of (x, y) where the yaw is given.

    Raises:
        DataError: Not one sample could be read.
    """
    with fabric.autocast():
        parts = [part for _, _, part in scored_batches(model, batches, fabric.device)]
    if fabric.world_size > 1 and not alone:
        shares = [parts] * fabric.world_size
        torch.distributed.all_gather_object(shares, parts)
        parts = [part for share in shares for part in share]
    scores = Scores.joined(parts)
    given = bool(np.abs(scores.truth[:, 2]).max() < _GIVEN_YAW)
    figures = scores.figures(2 if given else 3)
    return {name: figures[name] for name in METRICS}


def badness(metrics: dict[str, float], name: str) -> float:
    """What the best weights have least of; infinite for what is not finite."""
    value = metrics[name]
    if name == 'coverage_95':
        value = abs(value - 0.95)
    return value if math.isfinite(value) else math.inf
