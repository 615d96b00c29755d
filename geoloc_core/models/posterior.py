# SPDX-License-Identifier: Apache-2.0
"""A belief times a prior, told in few numbers, on the device that the belief lies on.

The same formulas as `estimation.volume`, for a network that runs on a GPU: twelve numbers come
back to the host instead of the volume. What needs areas to be told apart (modes, their masses)
is not here.
"""

from collections.abc import Sequence
from dataclasses import replace
import math

import torch
from torch import Tensor

from geoloc_core.models.belief import Belief, mean_and_covariance, peak_pose


def posterior(
    belief: Belief,
    mean: Sequence[float],
    information: Sequence[Sequence[float]],
    outlier_rate: float,
) -> Belief:
    """Likelihood times a Gaussian prior, with a floor for views that match nothing true.

    p = (1 - e) L prior / sum(L prior) + e prior / sum(prior).

    Args:
        belief: One or several, logits any offset.
        mean: (x, y, yaw offset) of the prior in the patch's frame, m and rad.
        information: (3, 3) inverse of its covariance, see `estimation.volume.information_of`.
        outlier_rate: e, in [0, 1).
    """
    height, width = belief.logits.shape[-2:]
    columns, rows = (torch.arange(n, device=belief.logits.device).float() for n in (width, height))
    x = (columns - (width - 1) / 2) * belief.cell_m - float(mean[0])
    y = ((height - 1) / 2 - rows) * belief.cell_m - float(mean[1])
    yaws = belief.yaws if belief.yaws.dim() == 2 else belief.yaws[None]
    turn = (yaws - float(mean[2]) + math.pi).remainder(2 * math.pi) - math.pi
    x, y, turn = x, y[:, None], turn[..., None, None]
    i = [[float(value) for value in row] for row in information]
    square = i[0][0] * x * x + 2 * i[0][1] * x * y + i[1][1] * y * y
    square = square + turn * 2 * (i[0][2] * x + i[1][2] * y) + i[2][2] * turn * turn
    log_prior = (-0.5 * square).expand_as(belief.logits)
    both = replace(belief, logits=belief.logits.float() + log_prior).log_prob()
    alone = replace(belief, logits=log_prior).log_prob()
    if outlier_rate > 0:
        parts = [both + math.log1p(-outlier_rate), alone + math.log(outlier_rate)]
        both = torch.logaddexp(*parts)
    return replace(belief, logits=both, pose=None)


def summary(belief: Belief) -> Tensor:
    """(B, 12): the highest cell's pose (x, y, yaw offset), and the second moments about it.

    The moments (3, 3), row by row, are those of the whole volume: other peaks and the floor of
    doubt widen them.
    """
    pose = peak_pose(belief).double()
    _, cov = mean_and_covariance(belief, about=pose)
    return torch.cat([pose, cov.flatten(1)], dim=1)
