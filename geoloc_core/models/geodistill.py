# SPDX-License-Identifier: Apache-2.0
"""GeoDistill: a distilled localizer behind an estimator of orientation, in one pass.

Reference: "GeoDistill: Geometry-Guided Self-Distillation for Weakly Supervised Cross-View
Localization" (arXiv 2507.10935, ICCV 2025). The localizer is a G2SWeakly, distilled by the
objective 'distillation'; the estimator says how far the robot is turned from the prior, and the
ground is laid out turned by as much before it is matched. The released code rolls the panorama by
whole columns instead, so that yaw is right to half of one at best.

A run of 'g2sweakly' or 'ccvpe' distils these alone (2-DoF). This system is for the whole: begin it
from a distilled localizer (`start_from: {localizer: ...}`) and train the objective 'orientation'.
"""

from dataclasses import dataclass
import math

import torch
from torch import nn, Tensor
from torch.nn import functional as F

from geoloc_core.errors import ConfigError
from geoloc_core.models.base import CrossViewModel, Outputs
from geoloc_core.models.belief import Belief, evenly_spaced_yaws, volume_from_parts
from geoloc_core.models.g2sweakly import G2SWeakly
from geoloc_core.models.g2sweakly_settings import G2SWeaklySettings
from geoloc_core.models.orientation_estimator import OrientationEstimator, OrientationSettings
from geoloc_core.models.template_matching import best_xy, pooled_log_probability

PUBLISHED_ORIENTATION = OrientationSettings()
PUBLISHED_RANGE_DEG = 45.0


@dataclass(frozen=True)
class LocalizerSettings(G2SWeaklySettings):
    """G2SWeakly as GeoDistill has it: two levels are matched."""

    levels: tuple[int, ...] = (0, 2)


@dataclass(frozen=True)
class GeoDistillSettings:
    """Settings of `GeoDistill`; the defaults are the published VGG variant with 3 DoF.

    Attributes:
        localizer: Of the part that places a view, and of both pictures.
        orientation: Of the estimator; null for a known orientation (2 DoF).
        half_yaw_deg: Yaw offsets that the estimator is made for, +-; the belief covers its
            classes, of which a few lie past this. Null: 45, or the localizer's own range where
            there is no estimator.
    """

    localizer: LocalizerSettings = LocalizerSettings()
    orientation: OrientationSettings | None = PUBLISHED_ORIENTATION
    half_yaw_deg: float | None = None

    def __post_init__(self) -> None:
        """Settles the range.

        Raises:
            ConfigError: It is not the localizer's, and nothing else would estimate yaw.
        """
        own = self.localizer.half_yaw_deg if self.orientation is None else PUBLISHED_RANGE_DEG
        half = own if self.half_yaw_deg is None else float(self.half_yaw_deg)
        if self.orientation is None and half != own:
            raise ConfigError(
                f'geodistill: half_yaw_deg is {half:g}, but without an orientation estimator it '
                f"is the localizer's {own:g}: leave it out, or give 'orientation' settings"
            )
        object.__setattr__(self, 'half_yaw_deg', half)


class GeoDistill(CrossViewModel):
    """GeoDistill.

    `forward` gives what `G2SWeakly` does and, with an estimator, `yaw_logits` (B, K).

    Attributes:
        localizer: Places a view whose yaw is known.
        orientation: Says the yaw; None if it is known.
    """

    NAME = 'geodistill'
    Settings = GeoDistillSettings
    yaw_bins: Tensor

    def __init__(self, settings: GeoDistillSettings) -> None:
        """Builds both parts.

        Raises:
            ConfigError: Sizes that do not fit, or an estimator for a pinhole.
        """
        localizer = G2SWeakly(settings.localizer)
        super().__init__(settings, localizer.inputs)
        self.localizer = localizer
        half = float(settings.half_yaw_deg or 0.0)
        self.orientation: OrientationEstimator | None = None
        if settings.orientation is not None:
            if settings.localizer.camera != 'equirectangular':
                raise ConfigError(
                    'geodistill: the orientation estimator is for panoramas, the camera is a '
                    f"{settings.localizer.camera}: set 'orientation' to null, and the localizer's "
                    'rotation to true if yaw is not known'
                )
            self.orientation = OrientationEstimator(
                settings.orientation, self.inputs.view, self.inputs.patch, half
            )
            yaws = self.orientation.classes.centers.clone()
            self.closed = self.orientation.classes.closed
            self.calibration['log_yaw_temperature'] = nn.Parameter(torch.zeros(()))
        else:
            yaws = evenly_spaced_yaws(settings.localizer.yaw_bins, half)
            self.closed = half >= 180.0
        self.register_buffer('yaw_bins', yaws, persistent=False)
        # A yaw from elsewhere is known to about a degree.
        self.calibration['log_kappa'] = nn.Parameter(torch.tensor(math.degrees(1.0) ** 2).log())
        # The weak loss counts distances 2 - 2 S ten times: 20 S.
        self.calibration['log_temperature'] = nn.Parameter(torch.tensor(-math.log(20.0)))

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
            view_feature_mask: See `G2SWeakly.forward`.
            yaw: (B,) rad, known from elsewhere: the estimator is then not asked.
        """
        logits = None
        if yaw is None and self.orientation is not None:
            logits = self.orientation(view, patch).float()
            yaw = self.orientation.classes.decode(logits)
        out = self.localizer(view, patch, view_feature_mask, yaw)
        if logits is not None:
            out['yaw_logits'] = logits
        found: Outputs = out
        return found

    def belief(self, outputs: Outputs) -> Belief:
        """Places are those under the estimated yaw, yaws those of the estimator, independent.

        The pose is the highest cell of the finest level, and the yaw that it was matched under.
        """
        s: LocalizerSettings = self.settings.localizer
        level = max(s.levels)
        scores, yaw = outputs[f'similarity_{level}'], outputs['yaw']
        log_xy, factor = pooled_log_probability(
            scores / self.calibration['log_temperature'].exp(), s.most_cells
        )
        if 'yaw_logits' in outputs:
            sharp = outputs['yaw_logits'] / self.calibration['log_yaw_temperature'].exp()
            volume = log_xy[:, None] + F.log_softmax(sharp, dim=1)[:, :, None, None]
        else:
            kappa = self.calibration['log_kappa'].exp()
            volume = volume_from_parts(log_xy, self.yaw_bins, yaw.view(-1, 1, 1), kappa)
        cell = self.localizer.cell_m(level)
        xy = best_xy(scores, cell, s.refine)
        return Belief(
            volume,
            cell * factor,
            self.yaw_bins,
            self.closed,
            torch.cat([xy, yaw[:, None]], dim=1),
        )
