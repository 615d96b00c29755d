# SPDX-License-Identifier: Apache-2.0
"""The ways in which a robot may see a place, that the covariance of its pose must hold in.

Each is a change of a batch of `CameraPosePreparation`, so that one reading of the frames serves
all. `training.evaluation.degraded` judges by faults of its own, on whole pictures.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

Tensors = dict[str, Tensor]

MODALITIES = ('colour', 'depth')
# What may be all that there is of a frame, in the order of `pose_model.PATTERNS`.
PRESENT = ((True, True), (True, False), (False, True))
_SEED = 0x776179
# Ranges that draws are of: share of depth lost, its scale, share of the light that is left.
_LOST = (0.5, 0.9)
_SCALES = (0.8, 1.25)
_LIGHT = (0.12, 0.4)
# How far depth lags behind, in parts of the picture: half a second of a hand that turns a camera.
_TURNED = (0.04, 0.12)
_NOISE = 25.0
_BOARD = 8


@dataclass(frozen=True)
class Way:
    """One of them.

    Attributes:
        name: For people.
        change: What becomes of a batch; None for nothing. Draws come from the generator.
        touches: The modalities that it changes: for a network that uses neither of them it is no
            way of its own.
        present: Whether colour, and depth, reach the network.
    """

    name: str
    change: Callable[[Tensors, torch.Generator], Tensors] | None = None
    touches: tuple[str, ...] = ('colour', 'depth')
    present: tuple[bool, bool] = (True, True)


def half_covered(batch: Tensors, generator: torch.Generator) -> Tensors:
    """Half of each frame, left or right by turns, is black, and nobody says so."""
    return _covered_from_a_side(batch, 0.5)


def mostly_covered(batch: Tensors, generator: torch.Generator) -> Tensors:
    """Three quarters of each are: a view that looks beyond the map shows as little of it."""
    return _covered_from_a_side(batch, 0.75)


def blocks_covered(batch: Tensors, generator: torch.Generator) -> Tensors:
    """Half of the squares of a board are black, drawn for each frame."""
    count, _, height, width = batch['depth'].shape
    cells = torch.rand(count, _BOARD * _BOARD, generator=generator)
    board = (cells.argsort(dim=1) < _BOARD * _BOARD // 2).view(count, 1, _BOARD, _BOARD)
    rows, columns = (torch.arange(n) * _BOARD // n for n in (height, width))
    return _hidden(batch, board[:, :, rows][:, :, :, columns])


def depth_lost(batch: Tensors, generator: torch.Generator) -> Tensors:
    """Most pixels of depth are unknown."""
    share = _drawn(batch, _LOST, generator)
    lost = torch.rand(batch['depth'].shape, generator=generator) < share
    return {**batch, 'depth': batch['depth'].masked_fill(_to(lost, batch), float('nan'))}


def depth_scaled(batch: Tensors, generator: torch.Generator) -> Tensors:
    """All depth of a frame is a fifth too short to a quarter too long."""
    factor = _drawn(batch, _SCALES, generator)
    return {**batch, 'depth': batch['depth'] * _to(factor, batch)}


def depth_stale(batch: Tensors, generator: torch.Generator) -> Tensors:
    """Depth of a moment ago, before the camera turned on: it lies elsewhere in the frame."""
    height, width = batch['depth'].shape[-2:]
    stale = torch.full_like(batch['depth'], float('nan'))
    across = width * _drawn(batch, _TURNED, generator)
    along = height * _drawn(batch, (-_TURNED[0], _TURNED[0]), generator)
    left = torch.rand(len(stale), 1, 1, 1, generator=generator) < 0.5
    for row, (du, dv, minus) in enumerate(zip(across, along, left, strict=True)):
        u, v = round(float(-du if minus else du)), round(float(dv))
        seen = batch['depth'][
            row, :, max(0, -v) : height - max(0, v), max(0, -u) : width - max(0, u)
        ]
        stale[row, :, max(0, v) : height + min(0, v), max(0, u) : width + min(0, u)] = seen
    return {**batch, 'depth': stale}


def dark(batch: Tensors, generator: torch.Generator) -> Tensors:
    """Little light."""
    light = _to(_drawn(batch, _LIGHT, generator), batch)
    return {**batch, 'colour': (batch['colour'] * light).to(batch['colour'].dtype)}


def noisy(batch: Tensors, generator: torch.Generator) -> Tensors:
    """Noise of 25 grey levels."""
    noise = _NOISE * torch.randn(batch['colour'].shape, generator=generator)
    values = (batch['colour'] + _to(noise, batch)).round().clamp(0, 255)
    return {**batch, 'colour': values.to(batch['colour'].dtype)}


# What may happen to a camera, whichever modalities there are.
_FAULTS = (
    Way('whole'),
    Way('half covered', half_covered),
    Way('mostly covered', mostly_covered),
    Way('half the blocks covered', blocks_covered),
    Way('depth lost', depth_lost, ('depth',)),
    Way('dark', dark, ('colour',)),
    Way('noisy', noisy, ('colour',)),
)
WAYS = (
    *(
        replace(way, present=present)
        for present in PRESENT
        for way in _FAULTS
        if any(
            there and name in way.touches for there, name in zip(present, MODALITIES, strict=True)
        )
    ),
    # Depth that contradicts colour.
    Way('depth scaled', depth_scaled, ('depth',)),
    Way('depth stale', depth_stale, ('depth',)),
)


def seen_in_all_ways(
    batch: Tensors, number: int, uses: tuple[str, ...]
) -> Iterator[tuple[Way, Tensors]]:
    """A batch in every way in which a network can see it.

    Args:
        batch: Of B frames.
        number: Of the batch: draws come from it.
        uses: Modalities of the network.
    """
    for index, way in enumerate(WAYS):
        if not set(way.touches) & set(uses):
            continue
        # On the CPU, so that every machine draws the same.
        generator = torch.Generator().manual_seed(_SEED + len(WAYS) * number + index)
        yield way, batch if way.change is None else way.change(batch, generator)


def _covered_from_a_side(batch: Tensors, share: float) -> Tensors:
    """Hides that share of each frame, from the right and from the left by turns."""
    width = batch['depth'].shape[-1]
    columns = torch.arange(width)
    from_left = columns < round(share * width)
    from_right = columns >= width - round(share * width)
    odd = torch.arange(len(batch['depth']))[:, None] % 2 == 1
    return _hidden(batch, torch.where(odd, from_left, from_right)[:, None, None, :])


def _hidden(batch: Tensors, hidden: Tensor) -> Tensors:
    """Black in colour and unknown in depth where `hidden` (B, 1, H or 1, W)."""
    hidden = _to(hidden, batch)
    depth = batch['depth'].masked_fill(hidden, float('nan'))
    return {**batch, 'colour': batch['colour'].masked_fill(hidden, 0), 'depth': depth}


def _drawn(batch: Tensors, bounds: tuple[float, float], generator: torch.Generator) -> Tensor:
    """(B, 1, 1, 1) uniform numbers."""
    low, high = bounds
    return low + (high - low) * torch.rand(len(batch['depth']), 1, 1, 1, generator=generator)


def _to(values: Tensor, batch: Tensors) -> Tensor:
    return values.to(batch['depth'].device)
