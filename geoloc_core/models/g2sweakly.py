# SPDX-License-Identifier: Apache-2.0
"""G2SWeakly: the ground seen by a camera, matched as a template with the map.

Shi et al., "Weakly-supervised camera localization by ground-to-satellite image registration",
ECCV 2024. Features of the view are laid on the ground around the robot, and the piece of map that
they correlate with best is where it is. Learns from pairs alone, without exact places. Also the
base model of GeoDistill (Tong et al., ICCV 2025), which puts DINOv2 with DPT heads in VGG's place.

Differences from the released code:
- Cells have sizes in metres that follow from the picture and the map of features: no half-cell
  bias between learning and use, and DINOv2's maps cover the picture, not its padding.
- The panorama's seam is closed, in looking up cells and (`circular`) in the network.
- Features have unit root mean square instead of unit norm, and scores are of float32, so that
  nothing vanishes in half precision.
- Yaw is never taken from the truth: it is the prior's, or the rotation estimator's.
- Of 9.89 M published parameters 4.77 M take part at level 1; only what the wanted levels need is
  built here, 4.80 M (two U-Nets of 2.40 M). The DINOv2 variant has the published 164 M.
"""

from collections.abc import Sequence
import math

import torch
from torch import nn, Tensor

from geoloc_core.errors import ConfigError
from geoloc_core.input_spec import CameraSpec, RasterSpec
from geoloc_core.models.backbones import make_backbone
from geoloc_core.models.base import CrossViewModel, Outputs
from geoloc_core.models.belief import Belief, evenly_spaced_yaws, volume_from_parts
from geoloc_core.models.feature_dpt import DptFeatures
from geoloc_core.models.feature_unet import UNetFeatures
from geoloc_core.models.g2sweakly_settings import G2SWeaklySettings
from geoloc_core.models.ground_projection import GroundProjection
from geoloc_core.models.neural_optimizer import RotationEstimator
from geoloc_core.models.pretrained import pretrained_wanted
from geoloc_core.models.template_matching import best_xy, correlate, pooled_log_probability

Features = UNetFeatures | DptFeatures


class G2SWeakly(CrossViewModel):
    """G2SWeakly.

    `forward` gives for each level l of `settings.levels`: `similarity_l` (B, h, w), scores in
    [-1, 1] of places around the patch's middle, `cell_m(l)` apart; `patch_features_l`
    (B, C, H, W); `template_l` (B, C, t, t'), features on the ground around the robot, axes as the
    patch's; `template_mask_l` (B, 1, t, t'), how much of each cell is seen, 0..1; and
    `confidence_l` (B, 1, t, t'), the mask times the network's confidence. `yaw` (B,) rad is the
    offset from the prior that templates were turned by; with a rotation estimator
    `rotation_poses` (B, N, 3) are its poses after each level.

    The estimator has a feature network of its own for both pictures (`rotation_net`): it is
    learned first, from the map alone, and then left as it is while the other learns to match.

    The belief is the softmax of the finest level's scores, and a von Mises about `yaw`.
    """

    NAME = 'g2sweakly'
    Settings = G2SWeaklySettings
    yaw_bins: Tensor

    def __init__(self, settings: G2SWeaklySettings) -> None:
        """Builds the network.

        Raises:
            ConfigError: Sizes that do not fit the backbone's stride or one another.
        """
        super().__init__(settings, settings.inputs)
        s = settings
        self.encoder: nn.Module | None = None
        self.patch_net, self.view_net = self._networks()
        sizes = self.patch_net.map_sizes(s.patch_height, s.patch_width)
        self._cells = {k: s.side_m[0] / sizes[k][1] for k in s.levels}
        for k in s.levels:
            if not math.isclose(self._cells[k], s.side_m[1] / sizes[k][0], rel_tol=1e-6):
                raise ConfigError(
                    f'g2sweakly: a patch of {s.patch_width} x {s.patch_height} px has cells that '
                    f'are not square at level {k}: {sizes[k]}; choose whole tokens or a square'
                )
        # Sides of the view are checked here rather than at the first picture.
        self.view_net.map_sizes(s.view_height, s.view_width)
        camera, view = self.inputs.camera, self.inputs.view
        assert camera is not None
        self.ground = nn.ModuleDict()
        for k in s.levels:
            rows, columns = (int(side * s.template_share) for side in sizes[k])
            self.ground[str(k)] = GroundProjection((rows, columns), self._cells[k], camera, view)
        self.rotation: RotationEstimator | None = None
        self.rotation_net: UNetFeatures | None = None
        self.surroundings = nn.ModuleDict()
        if s.rotation:
            self._add_rotation(camera, view)
        yaws = evenly_spaced_yaws(s.yaw_bins, s.half_yaw_deg)
        self.register_buffer('yaw_bins', yaws, persistent=False)
        # The weak loss counts distances 2 - 2 S ten times: 20 S.
        self.calibration['log_temperature'] = nn.Parameter(torch.tensor(1 / 20).log())
        self.calibration['log_kappa'] = nn.Parameter(torch.tensor(math.degrees(1.0) ** 2).log())

    def _unet(self, levels: Sequence[int], circular: bool, confidence: bool) -> UNetFeatures:
        s: G2SWeaklySettings = self.settings
        return UNetFeatures(
            s.backbone,
            levels,
            s.widths,
            weights=s.weights if pretrained_wanted() else None,
            deepest=s.deepest,
            circular=circular,
            confidence=confidence,
        )

    def _add_rotation(self, camera: CameraSpec, view: RasterSpec) -> None:
        s: G2SWeaklySettings = self.settings
        net = self._unet(s.rotation_levels, circular=False, confidence=False)
        self.rotation_net = net
        self.rotation = RotationEstimator(net.channels, s.side_m, s.shift_m, s.rotation_deg)
        for k, size in net.map_sizes(s.patch_height, s.patch_width).items():
            cell_m = s.side_m[0] / size[1]
            self.surroundings[str(k)] = GroundProjection(size, cell_m, camera, view)

    def _networks(self) -> tuple[Features, Features]:
        """Of patch and view; one and the same if shared."""
        s: G2SWeaklySettings = self.settings
        circular = s.circular and s.camera == 'equirectangular'
        if s.shared and circular:
            raise ConfigError(
                'g2sweakly: a shared network cannot wrap columns for one picture and not for the '
                'other: set circular: false or shared: false'
            )
        if s.transformer:
            weights = s.weights if pretrained_wanted() else None
            encoder = make_backbone(s.backbone, weights=weights)
            self.encoder = encoder.requires_grad_(False)
            of_patch: Features = DptFeatures(encoder, s.levels, s.widths, width=s.dpt_width)
            if s.shared:
                return of_patch, of_patch
            return of_patch, DptFeatures(
                encoder, s.levels, s.widths, width=s.dpt_width, circular=circular
            )

        if s.shared:
            both = self._unet(s.levels, False, s.confidence)
            return both, both
        return self._unet(s.levels, False, False), self._unet(s.levels, circular, s.confidence)

    def train(self, mode: bool = True) -> 'G2SWeakly':
        """As any module; what is frozen always predicts, statistics of its layers included."""
        super().train(mode)
        for part in (self.encoder, self.rotation_net, self.rotation):
            if part is not None and not any(p.requires_grad for p in part.parameters()):
                part.eval()
        return self

    def cell_m(self, level: int) -> float:
        """Side of a level's cells, m."""
        return self._cells[level]

    def forward(  # type: ignore[override]
        self,
        view: Tensor,
        patch: Tensor,
        view_feature_mask: Tensor | None = None,
        yaw: Tensor | None = None,
    ) -> Outputs:
        """See the class.

        Args:
            view: (B, 3, H, W) normalised.
            patch: (B, 3, h, w) normalised.
            view_feature_mask: (B, 1, H', W') covering the view, 0..1: features and confidences of
                the ground are multiplied by it. The view itself is masked by the caller.
            yaw: (B,) rad, offset from the prior to turn templates by, known from elsewhere; the
                rotation estimator's, or 0, if None.
        """
        s: G2SWeaklySettings = self.settings
        on_patch, _ = self.patch_net(patch)
        on_view, trust = self.view_net(view)
        out: Outputs = {}
        if yaw is None and self.rotation is not None:
            poses = self._rotation_poses(view, patch, view_feature_mask)
            out['rotation_poses'] = poses
            # Matching learns where, not which way: published as two stages.
            yaw = poses[:, -1, 2].detach()
        if yaw is None:
            yaw = view.new_zeros(view.shape[0], dtype=torch.float32)
        out['yaw'] = yaw
        for k in s.levels:
            ground = self.ground[str(k)]
            template, mask = ground(on_view[k], yaw)
            if view_feature_mask is not None:
                mask = mask * ground(view_feature_mask, yaw)[0]
                template = template * mask
            confidence = mask
            if k in trust:
                confidence = mask * ground(trust[k], yaw)[0]
            out[f'patch_features_{k}'] = on_patch[k]
            out[f'template_{k}'] = template
            out[f'template_mask_{k}'] = mask
            out[f'confidence_{k}'] = confidence
            out[f'similarity_{k}'] = correlate(on_patch[k], template, confidence)
        return out

    def _rotation_poses(self, view: Tensor, patch: Tensor, view_mask: Tensor | None) -> Tensor:
        assert self.rotation is not None and self.rotation_net is not None
        on_view = self.rotation_net(view)[0]

        def look(level: int) -> tuple[Tensor, Tensor]:
            ground = self.surroundings[str(level)]
            seen, mask = ground(on_view[level])
            if view_mask is not None:
                mask = mask * ground(view_mask)[0]
            return seen, mask

        poses: Tensor = self.rotation(self.rotation_net(patch)[0], look)
        return poses

    def belief(self, outputs: Outputs) -> Belief:
        """See `CrossViewModel.belief`; the pose is the highest cell of the finest level."""
        s: G2SWeaklySettings = self.settings
        level = max(s.levels)
        scores, yaw = outputs[f'similarity_{level}'], outputs['yaw']
        logits, factor = pooled_log_probability(
            scores / self.calibration['log_temperature'].exp(), s.most_cells
        )
        cell = self.cell_m(level)
        volume = volume_from_parts(
            logits, self.yaw_bins, yaw.view(-1, 1, 1), self.calibration['log_kappa'].exp()
        )
        xy = best_xy(scores, cell, s.refine)
        return Belief(
            volume,
            cell * factor,
            self.yaw_bins,
            s.half_yaw_deg >= 180,
            torch.cat([xy, yaw[:, None]], dim=1),
        )
