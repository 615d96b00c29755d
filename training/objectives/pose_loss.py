# SPDX-License-Identifier: Apache-2.0
"""What pose regressors share: the loss with learned weights, modalities withheld, frame pairs.

References: "Geometry-Aware Learning of Maps for Camera Localization" (MapNet, Brahmbhatt et al.,
CVPR 2018) for the loss (eq. 3), its weights and the relative term (eq. 2).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn, Tensor

from geoloc_core.errors import ConfigError
from geoloc_core.models.pose_model import PoseModel
from geoloc_core.models.rotations import half_angle_sine, log_quaternion, rotation_from
from training.datasets.base import AbstractDataset
from training.loop.companions import Companions
from training.novel_views import WithNovelViews

RELATIVE = ('none', 'difference', 'rigid')


@dataclass(frozen=True)
class PoseLossSettings:
    """Settings that all objectives of pose networks have.

    Attributes:
        drop_colour: Share of the samples, drawn one by one, whose colour is withheld in training.
        drop_depth: The same of depth; never both. A network that uses one modality alone never
            has it withheld.
        first_weights: s_t and s_q to begin with. They move by little a step: short trainings begin
            nearer to where they would go, the logarithms of the errors that are hoped for.
        relative: MapNet's further term on frames some steps apart: 'none'; 'difference', as
            published, of positions and log-quaternions; or 'rigid', of the true relative motion.
        relative_weight: Of that term.
        frames: Consecutive ones of a tuple, as far as there is such a term.
        spacing: Frames of the data set from one to the next.
    """

    drop_colour: float = 0.2
    drop_depth: float = 0.2
    first_weights: tuple[float, float] = (0.0, -3.0)
    relative: str = 'none'
    relative_weight: float = 1.0
    frames: int = 3
    spacing: int = 10

    def __post_init__(self) -> None:
        """Refuses what cannot be.

        Raises:
            ConfigError: A value out of its range.
        """
        shares = (self.drop_colour, self.drop_depth)
        if min(shares) < 0 or sum(shares) > 1:
            raise ConfigError(f'drop_colour, drop_depth are {shares}: expected shares, 1 in all')
        if len(self.first_weights) != 2:
            raise ConfigError(f'first_weights is {self.first_weights}: expected s_t and s_q')
        if self.relative not in RELATIVE:
            raise ConfigError(f'relative is {self.relative!r}: expected one of {RELATIVE}')
        if self.frames < 2 or self.spacing < 1:
            raise ConfigError(
                f'frames is {self.frames}, spacing {self.spacing}: expected 2 or more, 1 or more'
            )


class PoseLoss(nn.Module):
    """|dt|_1 e^-s_t + s_t + |dr|_1 e^-s_q + s_q, both distances means over their components.

    dr is the difference of log-quaternions where the network answers with them, as published; else
    sin(angle / 2), which is as long for small angles and has no cut.

    Attributes:
        weights: s_t and s_q, learned with the network.
    """

    def __init__(self, rotation: str, first_weights: tuple[float, float] = (0.0, -3.0)) -> None:
        """Takes the representation of the network's rotations, and s_t and s_q to begin with."""
        super().__init__()
        self._kind = rotation
        self.weights = nn.Parameter(torch.tensor([float(w) for w in first_weights]))

    def forward(self, raw: Tensor, scale_m: float, position: Tensor, rotation: Tensor) -> Tensor:
        """The loss (...,) of what heads say.

        Args:
            raw: (..., 3 + r).
            scale_m: Metres of one unit of the network's position.
            position: (..., 3) m, true.
            rotation: (..., 3, 3) true.
        """
        # In full: exponents and differences of half precision are too coarse for centimetres.
        raw = raw.float()
        off = (raw[..., :3] * scale_m - position).abs().mean(-1)
        if self._kind == 'log_quaternion':
            turn = (raw[..., 3:] - log_quaternion(rotation)).abs().mean(-1)
        else:
            turn = half_angle_sine(rotation_from(raw[..., 3:], self._kind), rotation)
        return self.weigh(off, turn)

    def weigh(self, off: Tensor, turn: Tensor) -> Tensor:
        """Both distances (...,) under the learned weights."""
        s_t, s_q = self.weights
        return off * torch.exp(-s_t) + s_t + turn * torch.exp(-s_q) + s_q


class RelativeLoss(nn.Module):
    """The same of how two frames lie to each other, with weights of its own."""

    def __init__(self, kind: str, rotation: str) -> None:
        """Takes 'difference' or 'rigid', and the representation of the network's rotations.

        Raises:
            ConfigError: Differences are of log-quaternions, which this network does not give.
        """
        super().__init__()
        if kind == 'difference' and rotation != 'log_quaternion':
            raise ConfigError(
                f"relative: 'difference' is one of log-quaternions, the system has {rotation!r}: "
                "take 'rigid', or set the system's rotation: log_quaternion"
            )
        self._kind, self._rotation = kind, rotation
        self._loss = PoseLoss(rotation)

    def forward(
        self, raw: Tensor, scale_m: float, truth: tuple[Tensor, Tensor], pairs: Tensor
    ) -> Tensor:
        """Mean loss, a scalar; 0 where no two frames belong together.

        Args:
            raw: (B, 3 + r).
            scale_m: Metres of one unit of the network's position.
            truth: Positions (B, 3) and rotations (B, 3, 3).
            pairs: (P, 2) rows of earlier and later frames.
        """
        if not len(pairs):
            return raw.sum() * 0.0
        raw = raw.float()
        i, j = pairs.unbind(1)
        position, rotation = truth
        if self._kind == 'difference':
            u = log_quaternion(rotation)
            off = (raw[j, :3] - raw[i, :3]) * scale_m - (position[j] - position[i])
            turn = (raw[j, 3:] - raw[i, 3:] - (u[j] - u[i])).abs().mean(-1)
        else:
            R = rotation_from(raw[:, 3:], self._rotation)
            moved = _seen_from(R[i], (raw[j, :3] - raw[i, :3]) * scale_m)
            off = moved - _seen_from(rotation[i], position[j] - position[i])
            turn = half_angle_sine(
                R[i].transpose(-1, -2) @ R[j], rotation[i].transpose(-1, -2) @ rotation[j]
            )
        return self._loss.weigh(off.abs().mean(-1), turn).mean()


def _seen_from(R: Tensor, moved: Tensor) -> Tensor:
    """Vectors (P, 3) of the map in the axes of cameras R (P, 3, 3)."""
    return (R.transpose(-1, -2) @ moved[:, :, None]).squeeze(-1)


class FrameTuples(Companions):
    """Frames of one sequence some steps apart, each the next one's earlier frame.

    Attributes:
        size: Frames of a tuple.
    """

    def __init__(self, keys: Sequence[str], frames: int, spacing: int) -> None:
        """Looks where sequences end.

        Args:
            keys: Of the samples in use, in their order; what stands before the last '/' is the
                sequence.
            frames: Of a tuple.
            spacing: Samples from one to the next.

        Raises:
            ConfigError: No sequence is long enough for two.
        """
        self.size, self._spacing = frames, spacing
        sequences = np.array([key.rpartition('/')[0] for key in keys])
        starts = np.flatnonzero(np.r_[True, sequences[1:] != sequences[:-1]])
        ends = np.r_[starts[1:], len(keys)]
        self._first = np.repeat(starts, ends - starts)
        self._last = np.repeat(ends, ends - starts) - 1
        if int((ends - starts).max()) <= spacing:
            raise ConfigError(
                f'spacing: {spacing} frames, but the longest sequence has {(ends - starts).max()}'
            )

    def of(self, place: int, rng: np.random.Generator) -> list[int]:
        """See `Companions`: later frames; earlier ones at a sequence's end."""
        steps = self._spacing * np.arange(1, self.size)
        later = place + steps
        if later[-1] > self._last[place]:
            later = np.maximum(place - steps, self._first[place])
        return [int(p) for p in later.clip(self._first[place], self._last[place])]


def pairs_in(places: Tensor, spacing: int) -> Tensor:
    """(P, 2) rows whose samples are `spacing` apart, earlier one first; places (B,) int64."""
    return (places[None, :] - places[:, None] == spacing).nonzero()


def frame_tuples(
    settings: PoseLossSettings, dataset: AbstractDataset, indices: np.ndarray
) -> FrameTuples | None:
    """The rule of `Objective.companions`; None where no relative term is wanted.

    Raises:
        ConfigError: Frames of the data set do not follow each other.
    """
    if settings.relative == 'none':
        return None
    if isinstance(dataset, WithNovelViews):
        raise ConfigError(
            f'objective.settings.relative: {settings.relative!r} is of frames taken one after the '
            "other, which novel_views are not: set it to 'none', or data.train.novel_views: null"
        )
    keys = [dataset.keys[i] for i in indices]
    return FrameTuples(keys, settings.frames, settings.spacing)


def draw_present(model: PoseModel, available: Tensor, settings: PoseLossSettings) -> Tensor:
    """(B, 2) bool: what each sample is learned from this time.

    Sample by sample: one of both modalities is withheld now and then, never the only one.

    Args:
        model: Says what it uses.
        available: (B, 2) bool, what there is.
        settings: How often.
    """
    draw = torch.rand(len(available), device=available.device)
    without_colour = draw < settings.drop_colour
    without_depth = (draw >= settings.drop_colour) & (
        draw < settings.drop_colour + settings.drop_depth
    )
    kept = available & ~torch.stack([without_colour, without_depth], dim=1)
    # The one that is left may be one that is not there, or that the network does not use.
    useful = model.answers(kept.float())
    return torch.where(useful[:, None], kept, available)
