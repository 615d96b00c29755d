# SPDX-License-Identifier: Apache-2.0
"""How good a network is on the validation split, by several processes together."""

from collections.abc import Iterable

from lightning_fabric import Fabric
import numpy as np
import torch

from geoloc_core.models.base import CrossViewModel
from geoloc_core.models.belief import negative_log_likelihood, peak_pose
from training.objectives.base import run_model


@torch.no_grad()
def validate(fabric: Fabric, model: CrossViewModel, batches: Iterable) -> dict[str, float]:
    """Means over the split, the same on every process.

    Args:
        fabric: Says device and precision.
        model: To be judged; it is put into evaluation mode.
        batches: This process's share.
    """
    model.eval()
    columns: dict[str, list] = {'position': [], 'yaw': [], 'nll': []}
    for batch in batches:
        if not len(batch):
            continue
        tensors = batch.to(fabric.device).tensors
        with fabric.autocast():
            outputs = run_model(model, tensors)
        belief = model.belief(outputs)
        pose = peak_pose(belief) if belief.pose is None else belief.pose
        error = (pose - tensors['truth']).float()
        yaw = torch.atan2(error[:, 2].sin(), error[:, 2].cos()).abs()
        columns['position'].append(error[:, :2].norm(dim=1).cpu().numpy())
        columns['yaw'].append(torch.rad2deg(yaw).cpu().numpy())
        columns['nll'].append(negative_log_likelihood(belief, tensors['truth']).cpu().numpy())
    shares = [{name: np.concatenate([*parts, []]) for name, parts in columns.items()}]
    if fabric.world_size > 1:
        shares = [shares[0]] * fabric.world_size
        own = shares[fabric.global_rank]
        torch.distributed.all_gather_object(shares, own)
    whole = {name: np.concatenate([s[name] for s in shares]) for name in columns}
    return {
        'position_mean_m': float(whole['position'].mean()),
        'position_median_m': float(np.median(whole['position'])),
        'yaw_mean_deg': float(whole['yaw'].mean()),
        'yaw_median_deg': float(np.median(whole['yaw'])),
        'nll': float(whole['nll'].mean()),
    }


def badness(metrics: dict[str, float], name: str) -> float:
    """What the best weights have least of; infinite for what is not finite."""
    value = metrics[name]
    if name == 'coverage_95':
        value = abs(value - 0.95)
    return value if np.isfinite(value) else float('inf')
