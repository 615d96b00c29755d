# SPDX-License-Identifier: Apache-2.0
"""How good a network is on the validation split, by several processes together."""

from collections.abc import Iterable
import math
from typing import Any

from lightning_fabric import Fabric
import torch

from geoloc_core.models.network import Network
from training.families.registry import family_of


def validate(
    fabric: Fabric, model: Network, batches: Iterable, *, alone: bool = False
) -> dict[str, float]:
    """Figures of the whole split, the same on every process.

    Args:
        fabric: Says device and precision.
        model: To be judged.
        batches: This process's share.
        alone: The other processes are not asked for theirs.

    Returns:
        The figures of the model's family.

    Raises:
        DataError: Not one sample could be read.
    """
    family = family_of(model)
    with fabric.autocast():
        parts = family.measure(model, batches, fabric.device)
    if fabric.world_size > 1 and not alone:
        shares: list[list[Any]] = [parts] * fabric.world_size
        torch.distributed.all_gather_object(shares, parts)
        parts = [part for share in shares for part in share]
    return family.figures(parts)


def badness(metrics: dict[str, float], name: str) -> float:
    """What the best weights have least of; infinite for what is not finite."""
    value = metrics[name]
    if name == 'coverage_95':
        value = abs(value - 0.95)
    elif name.startswith('recall_'):
        value = -value
    return value if math.isfinite(value) else math.inf
