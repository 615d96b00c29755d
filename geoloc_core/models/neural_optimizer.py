# SPDX-License-Identifier: Apache-2.0
"""Pose by learned steps: what the robot sees on the ground against the map at the guessed pose.

Reference: Shi et al., G2SWeakly, ECCV 2024, section 3.1: the step is read from the difference of
features by one block of a Swin transformer (Liu et al., ICCV 2021), once at each level, from
coarse to fine. It is learned from the map alone (`training.objectives.rotation`) and used on
views of a pinhole camera; in panoramas straight lines are curves, and it is published not to work.
"""

from collections.abc import Callable, Mapping
import math

import torch
from torch import nn, Tensor
from torch.nn import functional as F

_PATCH, _WINDOW, _HEADS = 4, 8, 3
# What the head still knows of where in the robot's surroundings a difference was.
_PLACES = 4


def warp(features: Tensor, pose: Tensor, side_m: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Features of the patch as they lie around a robot, its heading to the right.

    Args:
        features: (B, C, H, W) covering the patch.
        pose: (B, 3) x, y (m), yaw (rad) of the robot in the patch's frame.
        side_m: (width, height) of the patch, m.

    Returns:
        (B, C, H, W) float32 on a grid of the patch's size about the robot, 0 outside the patch;
        (B, 1, H, W), 1 inside.
    """
    features = features.float()
    rows, columns = features.shape[-2:]
    width, height = side_m
    ahead = ((torch.arange(columns) + 0.5) / columns - 0.5).to(features) * width
    left = (0.5 - (torch.arange(rows) + 0.5) / rows).to(features) * height
    left, ahead = torch.meshgrid(left, ahead, indexing='ij')
    x, y, yaw = (value.view(-1, 1, 1) for value in pose.float().unbind(dim=1))
    c, s = yaw.cos(), yaw.sin()
    u = 2 * (x + c * ahead - s * left) / width
    v = -2 * (y + s * ahead + c * left) / height
    inside = ((u.abs() <= 1) & (v.abs() <= 1))[:, None].to(features)
    read = F.grid_sample(
        features, torch.stack([u, v], dim=-1), padding_mode='border', align_corners=False
    )
    return read * inside, inside


class WindowBlock(nn.Module):
    """Self-attention inside windows and a small network, both beside short cuts."""

    offsets: Tensor

    def __init__(self, width: int) -> None:
        """Takes the channels of a token."""
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
        )
        # One bias for each head and each offset between two tokens of a window.
        span = 2 * _WINDOW - 1
        self.bias = nn.Parameter(torch.zeros(_HEADS, span * span))
        nn.init.trunc_normal_(self.bias, std=0.02)
        place = torch.stack(
            torch.meshgrid(torch.arange(_WINDOW), torch.arange(_WINDOW), indexing='ij')
        ).flatten(1)
        apart = place[:, :, None] - place[:, None, :] + _WINDOW - 1
        self.register_buffer('offsets', apart[0] * span + apart[1], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, rows, columns, width), sides multiples of the window; the same shape."""
        batch, rows, columns, width = x.shape
        n = _WINDOW * _WINDOW
        windows = x.view(batch, rows // _WINDOW, _WINDOW, columns // _WINDOW, _WINDOW, width)
        windows = windows.transpose(2, 3).reshape(-1, n, width)
        qkv = self.qkv(self.norm(windows)).view(-1, n, 3, _HEADS, width // _HEADS)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(dim=0)
        score = q @ k.transpose(-1, -2) / math.sqrt(width // _HEADS)
        bias = self.bias[:, self.offsets.flatten()].view(_HEADS, n, n)
        mixed = ((score + bias).softmax(dim=-1) @ v).transpose(1, 2).reshape(-1, n, width)
        windows = windows + self.out(mixed)
        windows = windows + self.mlp(windows)
        parts = windows.view(batch, rows // _WINDOW, columns // _WINDOW, _WINDOW, _WINDOW, width)
        return parts.transpose(2, 3).reshape(batch, rows, columns, width)


class NeuralOptimizer(nn.Module):
    """A difference of features -> a step, in units of the search ranges.

    The step begins at zero, so an untrained one stays where it is.
    """

    def __init__(self, channels: int, width: int = 48) -> None:
        """Takes the channels of the difference and of a token."""
        super().__init__()
        self.embed = nn.Conv2d(channels, width, _PATCH, stride=_PATCH)
        self.block = WindowBlock(width)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width * _PLACES**2, 3)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, difference: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 3): ahead, to the left, counter-clockwise."""
        rows, columns = difference.shape[-2:]
        whole = _PATCH * _WINDOW
        pad = (0, -columns % whole, 0, -rows % whole)
        tokens = self.embed(F.pad(difference, pad)).permute(0, 2, 3, 1)
        tokens = self.norm(self.block(tokens)).permute(0, 3, 1, 2)
        # What was added by padding is left out again, as nearly as tokens allow.
        tokens = tokens[..., : -(-rows // _PATCH), : -(-columns // _PATCH)]
        step: Tensor = self.head(F.adaptive_avg_pool2d(tokens, _PLACES).flatten(1))
        return step


Look = Callable[[int], tuple[Tensor, Tensor]]


class RotationEstimator(nn.Module):
    """One optimizer a level; each begins where the coarser one ended.

    Attributes:
        levels: In the order of use.
        ranges: (3,) of the search: m, m, rad.
    """

    ranges: Tensor

    def __init__(
        self,
        channels: Mapping[int, int],
        side_m: tuple[float, float],
        shift_m: float,
        rotation_deg: float,
    ) -> None:
        """Builds the optimizers.

        Args:
            channels: Level -> channels of its features.
            side_m: (width, height) of the patch, m.
            shift_m: Bound of the prior's place along each axis.
            rotation_deg: Bound of its yaw.
        """
        super().__init__()
        self.levels = tuple(sorted(channels))
        self.steps = nn.ModuleDict({str(k): NeuralOptimizer(channels[k]) for k in self.levels})
        self._side_m = side_m
        self.register_buffer(
            'ranges', torch.tensor([shift_m, shift_m, math.radians(rotation_deg)]), False
        )

    def forward(self, patch: Mapping[int, Tensor], look: Look) -> Tensor:
        """Poses after each level.

        Args:
            patch: Level -> (B, C, H, W) features of the patch.
            look: Level -> what the robot sees on a grid like the patch's, its heading to the
                right, and the mask of it: (B, C, H, W), (B, 1, H, W).

        Returns:
            (B, levels, 3) x, y (m), yaw (rad) in the patch's frame.
        """
        first = patch[self.levels[0]]
        pose = torch.zeros(first.shape[0], 3, device=first.device)
        poses = []
        for level in self.levels:
            seen, mask = look(level)
            there, inside = warp(patch[level], pose, self._side_m)
            pose = self._moved(pose, self.steps[str(level)]((there - seen) * mask * inside))
            poses.append(pose)
            pose = self._kept(pose)
        return torch.stack(poses, dim=1)

    def _moved(self, pose: Tensor, step: Tensor) -> Tensor:
        ahead, left, turn = (step.float() * self.ranges).unbind(dim=1)
        c, s = pose[:, 2].cos(), pose[:, 2].sin()
        return pose + torch.stack([c * ahead - s * left, s * ahead + c * left, turn], dim=1)

    def _kept(self, pose: Tensor) -> Tensor:
        """Poses to go on from: places far outside the search are no start.

        While learning they are drawn anew (published); in use they stay at its border.
        """
        bound = 2 * self.ranges[:2]
        place = pose[:, :2]
        if self.training:
            drawn = (2 * torch.rand_like(place) - 1) * self.ranges[:2]
            place = torch.where((place.abs() > bound).any(dim=1, keepdim=True), drawn, place)
        else:
            place = torch.maximum(torch.minimum(place, bound), -bound)
        return torch.cat([place, pose[:, 2:]], dim=1)
