# SPDX-License-Identifier: Apache-2.0
"""Points in space as tokens of the teacher, as published and with a rotation that is one."""

import math

import torch
from torch import nn, Tensor

from geoloc_core.models.crossvit_layers import Rotation
from geoloc_core.models.crossvit_settings import BranchSettings, SpatialSettings

# Where the published tokens put what cannot be measured (they mean the sky).
NOWHERE = 1e5
_FREQUENCIES = 10


def sine_tokens(numbers: Tensor, width: int) -> Tensor:
    """The published encoding of a token's numbers.

    Each token's own numbers are stretched to -1..1, times pi; their sines, then their cosines,
    are repeated until the token is full. So a token keeps only how its numbers lie among each
    other: it is blind to a shift and a scale of all of them.

    Args:
        numbers: (..., n) of any units.
        width: Of the token.

    Returns:
        (..., width).
    """
    least = numbers.amin(dim=-1, keepdim=True)
    span = (numbers.amax(dim=-1, keepdim=True) - least).clamp_min(torch.finfo(numbers.dtype).tiny)
    angles = ((numbers - least) / span * 2.0 - 1.0) * math.pi
    pair = torch.cat([angles.sin(), angles.cos()], dim=-1)
    times = -(-width // pair.shape[-1])
    return torch.cat([pair] * times, dim=-1)[..., :width]


def wavenumbers(wavelengths: tuple[float, float], count: int) -> Tensor:
    """(count,) rad a unit of length, longest wave first, evenly in their logarithm."""
    short, long = (math.log(w) for w in wavelengths)
    share = torch.linspace(0.0, 1.0, count) if count > 1 else torch.zeros(count)
    return 2.0 * math.pi / (long + (short - long) * share).exp()


def rotation_of(places: Tensor, waves: Tensor, pairs: int) -> Rotation:
    """Angles that turn queries and keys, so that their product depends on the displacement.

    Rotary encoding (RoFormer, arXiv 2104.09864, eq. 14-16) along three axes: pair i of an axis
    turns by waves[i] times the coordinate. Pairs that are left over do not turn.

    Args:
        places: (B, N, 3) in units of the map, from any origin.
        waves: (F,) rad a unit, 3 F <= pairs.
        pairs: Of numbers in a head.
    """
    angles = (places[..., None] * waves).flatten(-2)
    angles = torch.nn.functional.pad(angles, (0, pairs - angles.shape[-1]))
    return Rotation(angles.cos(), angles.sin())


class SineTokens(nn.Module):
    """The published tokens: [X, q] of each patch, [t, q] in place of the class token."""

    def __init__(self, branch: BranchSettings) -> None:
        """Takes the sizes of the branch that is given them; nothing is learned."""
        super().__init__()
        self.width = branch.width

    def forward(self, points: Tensor, camera: Tensor) -> tuple[Tensor, Rotation | None]:
        """Tokens (B, 1 + N, width), and no rotation.

        Args:
            points: (B, N, 3) in the map frame, NaN where unknown.
            camera: (B, 7) translation and quaternion (w, x, y, z) of map -> camera.
        """
        known = points.isfinite().all(dim=-1, keepdim=True)
        points = torch.where(known, points, NOWHERE)
        turn = camera[:, None, 3:].expand(-1, points.shape[1], -1)
        numbers = torch.cat([camera[:, None], torch.cat([points, turn], dim=-1)], dim=1)
        return sine_tokens(numbers, self.width), None


class RotaryTokens(nn.Module):
    """Tokens that know their place and from where it is seen; attention knows displacements.

    A token is a layer on waves of its point and the direction in which the camera sees it; that
    of the class is the camera's own centre and axis. A patch whose point is not known has a
    learned token, and is turned as if it lay at the camera.
    """

    waves: Tensor
    turns: Tensor

    def __init__(self, branch: BranchSettings, settings: SpatialSettings) -> None:
        """Takes the sizes of the branch that is given them, and the wavelengths."""
        super().__init__()
        self.pairs = branch.width // branch.heads // 2
        axes = max(self.pairs // 3, 1)
        waves = wavenumbers(settings.wavelengths, _FREQUENCIES)
        self.register_buffer('waves', waves, persistent=False)
        turns = wavenumbers(settings.wavelengths, axes)
        self.register_buffer('turns', turns, persistent=False)
        self.project = nn.Linear(6 * _FREQUENCIES + 3, branch.width)
        self.unknown = nn.Parameter(torch.zeros(branch.width))

    def forward(self, points: Tensor, camera: Tensor) -> tuple[Tensor, Rotation | None]:
        """Tokens (B, 1 + N, width) and their rotation; see `SineTokens`."""
        centre = centre_of(camera)[:, None]
        # The optical axis in the map frame.
        axis = rotation_matrices(camera[:, 3:])[:, 2:]
        known = points.isfinite().all(dim=-1, keepdim=True)
        places = torch.cat([centre, torch.where(known, points, centre)], dim=1)
        # From here on everything is near the camera: single precision is enough for the turns.
        offsets = places - centre
        seen = torch.nn.functional.normalize(offsets[:, 1:], dim=-1)
        phase = (places[..., None] * self.waves).flatten(-2)
        facts = torch.cat([phase.sin(), phase.cos(), torch.cat([axis, seen], dim=1)], dim=-1)
        tokens = self.project(facts)
        of_class = torch.ones_like(known[:, :1])
        tokens = torch.where(torch.cat([of_class, known], dim=1), tokens, self.unknown)
        return tokens, rotation_of(offsets, self.turns, self.pairs)


def centre_of(camera: Tensor) -> Tensor:
    """(B, 3) centres in the map frame of cameras (B, 7), map -> camera."""
    turned = rotation_matrices(camera[:, 3:]).transpose(1, 2) @ camera[:, :3, None]
    return -turned[..., 0]


def rotation_matrices(wxyz: Tensor) -> Tensor:
    """(B, 3, 3) of unit quaternions (B, 4)."""
    w, x, y, z = wxyz.unbind(dim=-1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
