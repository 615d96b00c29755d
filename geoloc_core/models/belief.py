# SPDX-License-Identifier: Apache-2.0
"""What a cross-view network believes: a volume over (yaw, y, x), whatever its method.

Some methods answer with such a volume, some with a heat map and a direction, one with a
homography. All of them are brought into this one form, so that their position, yaw, covariance
and likelihood can be compared, exported and fused alike.
"""

from dataclasses import dataclass, replace
import math

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Belief:
    """Unnormalised log-probabilities of base_link's pose, in the patch's frame.

    Convention: cells are centred on the patch's middle; columns run to its right (x), rows down
    it (-y); `yaws` are offsets from the prior's yaw, counter-clockwise (`preprocess.PatchFrame`).

    Attributes:
        logits: (B, K, H, W).
        cell_m: Side of a cell, m.
        yaws: (K,) or (B, K) bin centres, rad, increasing by a constant step.
        closed: Whether the bins close to a circle.
        pose: (B, 3) x, y (m), yaw offset (rad): the answer in the method's own way, or None for
            the peak of the volume.
    """

    logits: Tensor
    cell_m: float
    yaws: Tensor
    closed: bool
    pose: Tensor | None = None

    @property
    def yaw_step(self) -> float:
        """Width of a yaw bin, rad."""
        yaws = self.yaws if self.yaws.dim() == 1 else self.yaws[0]
        return float(yaws[1] - yaws[0])

    def log_prob(self) -> Tensor:
        """(B, K, H, W), summing (as exp) to one for each sample."""
        return F.log_softmax(self.logits.flatten(1), dim=1).view_as(self.logits)

    def given_yaw(self, half_range: float) -> 'Belief':
        """The belief of one who knows that the yaw offset is small.

        What lies outside is ruled out, except for one more bin on either side where a range is
        given: a peak between bins needs its neighbours. A method's own pose stays where it is
        possible; elsewhere the peak of what is left takes its place.

        Args:
            half_range: Bound of the offset, rad; 0 keeps the bin of no offset alone, or its two.
        """
        yaws = self.yaws if self.yaws.dim() == 2 else self.yaws[None]
        step = self.yaw_step
        bound = half_range + step if half_range > 0 else step / 2
        away = ((yaws + math.pi).remainder(2 * math.pi) - math.pi).abs()
        share = ((bound + step / 2 - away) / step).clamp(0.0, 1.0)
        if bool((share > 1 - 1e-4).all()):
            return self
        ruled_out = share.clamp_min(1e-30).log().to(self.logits)[..., None, None]
        left = Belief(self.logits + ruled_out, self.cell_m, self.yaws, self.closed)
        if self.pose is None:
            return left
        away = ((self.pose[:, 2] + math.pi).remainder(2 * math.pi) - math.pi).abs()
        return replace(left, pose=torch.where(away[:, None] <= bound, self.pose, peak_pose(left)))


def evenly_spaced_yaws(bins: int, half_range_deg: float) -> Tensor:
    """(K,) offsets, rad: +-half_range_deg, ends included; 180 gives a circle begun at -180.

    The same bins as `OutputSpec` describes.
    """
    if half_range_deg >= 180.0:
        return -math.pi + 2 * math.pi * torch.arange(bins) / bins
    half = math.radians(half_range_deg)
    return torch.linspace(-half, half, bins)


def cell_coordinates(belief: Belief, pose: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Fractional (bin, row, column), each (B, ...), of poses (B, ..., 3) in a volume."""
    height, width = belief.logits.shape[-2:]
    yaws = belief.yaws if belief.yaws.dim() == 2 else belief.yaws[None]
    first = yaws[:, :1].reshape(-1, *([1] * (pose.dim() - 2)))
    column = pose[..., 0] / belief.cell_m + (width - 1) / 2
    row = (height - 1) / 2 - pose[..., 1] / belief.cell_m
    offset = pose[..., 2] - first
    if belief.closed:
        offset = offset.remainder(2 * math.pi)
    else:
        offset = (offset + math.pi).remainder(2 * math.pi) - math.pi
    return offset / belief.yaw_step, row, column


def interpolated(belief: Belief, values: Tensor, pose: Tensor) -> Tensor:
    """Trilinear reading (B,) of (B, K, H, W) values at poses (B, 3); 0 outside the volume.

    Bins of a circle are neighbours across its seam.
    """
    batch, bins, height, width = values.shape
    k, v, u = cell_coordinates(belief, pose)
    total = torch.zeros_like(k)
    index = torch.arange(batch, device=values.device)
    for dk in (0, 1):
        for dv in (0, 1):
            for du in (0, 1):
                ki, vi, ui = (c.floor().long() + d for c, d in ((k, dk), (v, dv), (u, du)))
                weight = (1 - (k - ki).abs()) * (1 - (v - vi).abs()) * (1 - (u - ui).abs())
                if belief.closed:
                    ki = ki.remainder(bins)
                inside = (
                    (ki >= 0) & (ki < bins) & (vi >= 0) & (vi < height) & (ui >= 0) & (ui < width)
                )
                read = values[
                    index,
                    ki.clamp(0, bins - 1),
                    vi.clamp(0, height - 1),
                    ui.clamp(0, width - 1),
                ]
                total = total + torch.where(inside, weight * read, torch.zeros_like(read))
    return total


def negative_log_likelihood(belief: Belief, truth: Tensor, doubt: float = 1e-3) -> Tensor:
    """-log of the density (1 / (m^2 rad)) that a belief gives to the truth, (B,) nats.

    Args:
        belief: A batch of beliefs.
        truth: (B, 3) poses in the patch's frame.
        doubt: Share of a uniform distribution over the volume that is mixed in, so that one
            wholly wrong sample costs much, but not infinitely much. The same for all methods.
    """
    bins, height, width = belief.logits.shape[1:]
    cell = belief.cell_m**2 * belief.yaw_step
    probability = interpolated(belief, belief.log_prob().exp(), truth)
    mixed = (1 - doubt) * probability + doubt / (bins * height * width)
    return math.log(cell) - mixed.log()


def place_negative_log_likelihood(belief: Belief, truth: Tensor, doubt: float = 1e-3) -> Tensor:
    """-log of the density (1 / m^2) that a belief gives to the true place, (B,) nats.

    Where the yaw is given, methods differ in how narrow their bins of it are, and the density of
    a pose would say little else.

    Args:
        belief: A batch of beliefs.
        truth: (B, >= 2) places in the patch's frame.
        doubt: As in `negative_log_likelihood`.
    """
    bins, height, width = belief.logits.shape[1:]
    places = belief.log_prob().exp().sum(dim=1, keepdim=True).expand(-1, bins, -1, -1)
    first = belief.yaws[..., :1].expand(len(truth), 1).to(truth)
    read = interpolated(belief, places, torch.cat([truth[:, :2], first], dim=1))
    mixed = (1 - doubt) * read + doubt / (height * width)
    return 2 * math.log(belief.cell_m) - mixed.log()


def mean_and_covariance(belief: Belief, about: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Moments of the volume, yaw as an angle.

    Args:
        belief: A batch of beliefs.
        about: (B, 3) poses to take second moments about; the mean if None.

    Returns:
        (B, 3) mean and (B, 3, 3) second moments; the spread inside a cell is included.
    """
    p = belief.log_prob().double().exp()
    height, width = p.shape[-2:]
    yaws = (belief.yaws if belief.yaws.dim() == 2 else belief.yaws[None]).to(p)
    x = (torch.arange(width, device=p.device) - (width - 1) / 2).to(p) * belief.cell_m
    y = ((height - 1) / 2 - torch.arange(height, device=p.device)).to(p) * belief.cell_m
    p_kx, p_ky, p_yx = p.sum(2), p.sum(3), p.sum(1)
    p_k, px, py = p_kx.sum(2), p_yx.sum(1), p_yx.sum(2)
    yaw = torch.atan2((p_k * yaws.sin()).sum(1), (p_k * yaws.cos()).sum(1))
    mean = torch.stack([px @ x, py @ y, yaw], dim=1)
    center = mean if about is None else about.to(p)
    dx, dy = x - center[:, :1], y - center[:, 1:2]
    dk = (yaws - center[:, 2:] + math.pi).remainder(2 * math.pi) - math.pi
    xy = torch.einsum('byx,by,bx->b', p_yx, dy, dx)
    xk = torch.einsum('bkx,bk,bx->b', p_kx, dk, dx)
    yk = torch.einsum('bky,bk,by->b', p_ky, dk, dy)
    xx, yy, kk = (px * dx**2).sum(1), (py * dy**2).sum(1), (p_k * dk**2).sum(1)
    cov = torch.stack([xx, xy, xk, xy, yy, yk, xk, yk, kk], dim=1).view(-1, 3, 3)
    cell = torch.tensor([belief.cell_m, belief.cell_m, belief.yaw_step]).to(p) ** 2 / 12
    return mean, cov + torch.diag(cell)


def peak_pose(belief: Belief) -> Tensor:
    """(B, 3) pose of the highest cell, refined by a parabola along each axis."""
    batch, bins, height, width = belief.logits.shape
    flat = belief.logits.flatten(1).argmax(dim=1)
    k, rest = flat // (height * width), flat % (height * width)
    v, u = rest // width, rest % width
    index = torch.arange(batch, device=flat.device)

    def refined(axis: int) -> Tensor:
        position, size = (k, v, u)[axis], (bins, height, width)[axis]
        wraps = axis == 0 and belief.closed
        sides = []
        for step in (-1, 1):
            moved = position + step
            moved = moved.remainder(size) if wraps else moved.clamp(0, size - 1)
            where = [moved if a == axis else (k, v, u)[a] for a in range(3)]
            sides.append(belief.logits[index, where[0], where[1], where[2]])
        peak = belief.logits[index, k, v, u]
        bend = sides[0] - 2 * peak + sides[1]
        offset = (
            0.5 * (sides[0] - sides[1]) / torch.where(bend < -1e-9, bend, -torch.ones_like(bend))
        )
        inside = (position > 0) & (position < size - 1) if not wraps else torch.ones_like(k) > 0
        good = inside & (bend < -1e-9)
        return position + torch.where(good, offset.clamp(-0.5, 0.5), torch.zeros_like(offset))

    yaws = belief.yaws if belief.yaws.dim() == 2 else belief.yaws[None].expand(batch, -1)
    yaw = yaws[:, 0] + refined(0) * belief.yaw_step
    yaw = (yaw + math.pi).remainder(2 * math.pi) - math.pi
    x = (refined(2) - (width - 1) / 2) * belief.cell_m
    y = ((height - 1) / 2 - refined(1)) * belief.cell_m
    return torch.stack([x, y, yaw], dim=1)


def doubted_place(logits: Tensor, doubt: Tensor) -> Tensor:
    """(B, K, H, W) log-probabilities in which the place may be wholly wrong, the yaw not.

    A network that took one place for another is as sure as one that did not: a softmax has
    no room for that, whatever its temperature. A share of each yaw's probability is therefore
    spread over all places.

    Args:
        logits: (B, K, H, W), any offset.
        doubt: Scalar, logit of that share.
    """
    height, width = logits.shape[-2:]
    sure = F.log_softmax(logits.flatten(1), dim=1).view_as(logits)
    spread = torch.logsumexp(sure, dim=(2, 3), keepdim=True) - math.log(height * width)
    parts = [sure + F.logsigmoid(-doubt), (spread + F.logsigmoid(doubt)).expand_as(sure)]
    return torch.logsumexp(torch.stack(parts), dim=0)


def volume_from_parts(
    log_xy: Tensor, yaws: Tensor, direction: Tensor, concentration: Tensor
) -> Tensor:
    """(B, K, H, W) logits of a heat map with a von Mises direction at each place.

    Args:
        log_xy: (B, H, W) log-probability of the place, any offset.
        yaws: (K,) bin centres, rad.
        direction: (B, H, W), or (B, 1, 1) where one holds for all places; rad.
        concentration: A scalar, or (B, H, W), or (B, 1, 1): kappa, 1 / variance where large.
    """
    turn = yaws[None, :, None, None] - direction[:, None]
    kappa = concentration if concentration.dim() == 0 else concentration[:, None]
    # Normalised over the bins, so that a place's probability stays what the heat map says.
    log_yaw = F.log_softmax(kappa * (turn.cos() - 1.0), dim=1)
    return log_xy[:, None] + log_yaw
