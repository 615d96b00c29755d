# SPDX-License-Identifier: Apache-2.0
"""The interface of networks that answer with the pose of a camera in a place they learned."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
import math
from typing import Any, ClassVar

import torch
from torch import nn, Tensor

from geoloc_core.errors import ConfigError
from geoloc_core.input_spec import RasterSpec
from geoloc_core.models.backbones.registry import input_statistics
from geoloc_core.models.base import normalise, Outputs
from geoloc_core.models.network import Network
from geoloc_core.models.pose_layers import PictureEncoder
from geoloc_core.models.rotations import chordal_mean, rotation_from, rotation_vector, SIZES
from geoloc_core.pose_spec import DepthSpec, PoseInputSpec

# Which modalities an answer was made from; the covariance is fitted for each.
PATTERNS = ('both', 'colour', 'depth')
# Where calibration begins: m and rad, of a network that has learned its place about half.
_FIRST_STD = (0.2, 0.15)
# Bounds of what is fitted: floors of 1 mm and 0.06 deg to 1 km; spreads as a share of the seen.
_LOG_FLOORS = (math.log(1e-3), math.log(1e3))
_LOG_SPREADS = (math.log(1e-3), math.log(1e3))
# rad; samples that agree to this tell no more than that they agree.
_LEAST_TURN = 1e-3


@dataclass(frozen=True)
class PoseSettings:
    """What all pose regressors have in common; defaults are those published for 7-Scenes.

    Attributes:
        width: Of the inputs, px.
        height: px.
        focal_px: Of the ideal camera (`PoseInputSpec`): 525 px of a 640 x 480 picture brought to
            a height of 256.
        backbone: Of each encoder, a name of `backbones.registry`.
        backbone_end: The tap of the backbone whose map is the last, e.g. 'layer3', for small
            places; None for all of it.
        weights: To begin with: None, 'imagenet' where a package has them, or a file.
        with_masks: Also tell each encoder where its picture is known; published ones are not told.
        rotation: 'sixd', which is continuous, or 'log_quaternion', as published.
        dropout: Share of the features dropped before the heads, in training.
        center_m: Of the place, map frame; positions are counted from here.
        scale_m: Metres of one unit of the network's position.
        depth_mean_m: Of depth in such places.
        depth_std_m: The same.
        depth_max_m: Depth beyond this is taken for unknown.
    """

    width: int = 256
    height: int = 256
    focal_px: float = 280.0
    backbone: str = 'resnet34'
    backbone_end: str | None = None
    weights: str | None = None
    with_masks: bool = True
    rotation: str = 'sixd'
    dropout: float = 0.5
    center_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale_m: float = 1.0
    depth_mean_m: float = 2.0
    depth_std_m: float = 1.0
    depth_max_m: float = 8.0

    def __post_init__(self) -> None:
        """Refuses what cannot be.

        Raises:
            ConfigError: A value out of its range.
        """
        if self.rotation not in SIZES:
            raise ConfigError(f'rotation is {self.rotation!r}, expected one of {", ".join(SIZES)}')
        if not 0.0 <= self.dropout < 1.0:
            raise ConfigError(f'dropout is {self.dropout}, expected 0 .. 1, 1 excluded')
        for name in ('width', 'height', 'focal_px', 'scale_m', 'depth_std_m', 'depth_max_m'):
            if not getattr(self, name) > 0:
                raise ConfigError(f'{name} is {getattr(self, name)}, expected more than 0')


@dataclass(frozen=True)
class PoseBelief:
    """Where the ideal camera of each of B samples is, and how sure that is.

    Convention: `PoseOutputSpec`'s; positions are counted from `center_m`.

    Attributes:
        position: (B, 3) m.
        rotation: (B, 3, 3) camera -> map.
        cov: (B, 6, 6) m and rad, of errors (position, rotation vector of R_true R^T).
    """

    position: Tensor
    rotation: Tensor
    cov: Tensor


class PoseModel(Network):
    """A network whose `forward` gives one or several poses of each sample.

    `forward` gives: `raw` (B, K, 3 + r) what the heads say, K times, for losses; `present` (B, 2);
    and `doubt` (B,), a number that grows with the network's own doubt (0 where it has none).
    `belief` makes a pose and a covariance of them: the spread of the K poses, scaled, plus a floor
    which grows with the doubt and with the spread of rotations: where they disagree more than they
    use to, the view is unlike what was learned, and all of them may be far off. `log_spread` and
    `log_floor`, (2, 3): m and rad, each for the sets of modalities that may be all there is; and
    `growth`, (2, 2): m and rad, with the doubt and with the logarithm of that spread; are
    `calibration`. No published regressor states a covariance.

    Attributes:
        inputs: What it is fed.
    """

    FAMILY: ClassVar[str] = 'camera_pose'

    def __init__(self, settings: Any, uses: tuple[str, ...] = ('colour', 'depth')) -> None:
        """Keeps the settings.

        Args:
            settings: A `PoseSettings`.
            uses: The modalities that it can answer from.
        """
        super().__init__(settings)
        s = settings
        mean, std = input_statistics(s.backbone)
        self.inputs = PoseInputSpec(
            RasterSpec('colour', s.width, s.height, mean, std, with_mask=s.with_masks),
            DepthSpec('depth', s.depth_mean_m, s.depth_std_m, s.depth_max_m),
            s.focal_px,
            'present',
            uses,
            s.center_m,
        )
        floors = torch.tensor([[math.log(value)] * len(PATTERNS) for value in _FIRST_STD])
        self.calibration['log_floor'] = nn.Parameter(floors)

    @abstractmethod
    def forward(self, colour: Tensor, depth: Tensor, present: Tensor) -> Outputs:
        """The heads' answers, see the class.

        Args:
            colour: (B, 3 or 4, H, W) normalised.
            depth: (B, 2, H, W) normalised, see `DepthSpec`.
            present: (B, 2) whether (1, 0) there is a picture, and depth.
        """

    def poses(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Positions (..., 3) m from the centre and rotations (..., 3, 3) of what heads say."""
        position = raw[..., :3] * self.settings.scale_m
        return position, rotation_from(raw[..., 3:], self.settings.rotation)

    def belief(self, outputs: Outputs) -> PoseBelief:
        """What `forward`'s tensors say about the pose. Differentiable in `calibration`."""
        positions, rotations = self.poses(outputs['raw'].float())
        position, rotation = positions.mean(dim=1), chordal_mean(rotations)
        off = torch.cat(
            [
                positions - position[:, None],
                rotation_vector(rotations @ rotation[:, None].transpose(-1, -2)),
            ],
            dim=-1,
        )
        spread = off.transpose(1, 2) @ off / max(off.shape[1], 1)
        pattern = _pattern(outputs['present'].float())
        floor = pattern @ self.calibration['log_floor'].T
        if 'growth' in self.calibration:
            signs = torch.stack([outputs['doubt'].float(), _log_turn(spread)], dim=1)
            floor = floor + signs @ self.calibration['growth'].T
        # m, m, m, rad, rad, rad. Within bounds, so that no step of a fit makes a covariance that
        # is none.
        variance = torch.exp(2.0 * floor.clamp(*_LOG_FLOORS)).repeat_interleave(3, dim=1)
        if 'log_spread' in self.calibration:
            scales = pattern @ self.calibration['log_spread'].clamp(*_LOG_SPREADS).T
            scale = scales.exp().repeat_interleave(3, dim=1)
            spread = spread * scale[:, :, None] * scale[:, None, :]
        return PoseBelief(position, rotation, spread + torch.diag_embed(variance))

    def widen(self, factors: Sequence[float]) -> None:
        """Multiplies the standard deviations that `belief` states, by way of `calibration`.

        Floors and spreads begin within the bounds of `belief`, beyond which it would not see the
        factor; where a floor comes to such a bound only with its growth, the factor is not whole.

        Args:
            factors: One for each of `PATTERNS`, more than 0.
        """
        grown = torch.tensor([math.log(factor) for factor in factors])
        with torch.no_grad():
            for name, bounds in (('log_floor', _LOG_FLOORS), ('log_spread', _LOG_SPREADS)):
                if name in self.calibration:
                    self.calibration[name].clamp_(*bounds).add_(grown.to(self.calibration[name]))

    def answers(self, present: Tensor) -> Tensor:
        """(B,) bool: whether there is anything to answer from in `present` (B, 2)."""
        columns = [i for i, name in enumerate(('colour', 'depth')) if name in self.inputs.uses]
        return (present[:, columns] > 0).any(dim=1)


def picture_encoder(settings: PoseSettings) -> PictureEncoder:
    """The encoder of one modality."""
    channels = 4 if settings.with_masks else 3
    return PictureEncoder(settings.backbone, settings.weights, channels, settings.backbone_end)


def depth_channels(depth: Tensor, with_mask: bool) -> Tensor:
    """(B, 3 or 4, H, W) for an encoder that began with pictures: depth thrice, and the mask."""
    metres, known = depth[:, :1], depth[:, 1:]
    parts = [metres, metres, metres, known] if with_mask else [metres, metres, metres]
    return torch.cat(parts, dim=1)


def normalise_depth(depth: Tensor, spec: DepthSpec) -> Tensor:
    """The depth input (B, 2, H, W) float32 of depth (B, 1, H, W) m, NaN where unknown."""
    known = torch.isfinite(depth) & (depth > 0) & (depth <= spec.max_m)
    scaled = torch.where(known, (depth - spec.mean_m) / spec.std_m, torch.zeros_like(depth))
    return torch.cat([scaled, known.to(scaled.dtype)], dim=1)


def network_inputs(model: PoseModel, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Arguments of `forward` for a batch of the family's preparation."""
    colour = normalise(batch['colour'], batch['colour_mask'], model.inputs.colour)
    depth = normalise_depth(batch['depth'], model.inputs.depth)
    return colour, depth, batch['available'].to(colour.dtype)


def _log_turn(spread: Tensor) -> Tensor:
    """(B,) log rad, about one axis in the mean, of a spread (B, 6, 6)."""
    variance = spread.diagonal(dim1=1, dim2=2)[:, 3:].mean(dim=1)
    return 0.5 * torch.log(variance + _LEAST_TURN**2)


def _pattern(present: Tensor) -> Tensor:
    """(B, 3) one-hot of `PATTERNS` of (B, 2); all 0 would be a sample without any modality."""
    colour, depth = present[:, 0], present[:, 1]
    return torch.stack([colour * depth, colour * (1 - depth), depth * (1 - colour)], dim=1)
