# SPDX-License-Identifier: Apache-2.0
"""OrienterNet (Sarlin et al., CVPR 2023) with an aerial image in the place of its map.

A picture becomes a bird's-eye view of few channels with a confidence for each cell (Sec. 3.2), the
aerial patch a map of as many channels and a score of being a place to stand at (Sec. 3.1); the
first is laid on the second at every yaw and every cell (Sec. 3.3, eq. 4), and a softmax over all
of these is the probability of the pose. It is learned by the likelihood of the true pose alone
(`training.objectives.volume`): nobody says what depth is.

What differs from the publication: the map is a picture, so its encoder is an image backbone; both
encoders are pyramids on an EfficientNet where the publication has a ResNet-101 and a VGG-19, as
there are weights for it that come without a download. No parameter count is published for such a
pair; these have 6.42 M with the default settings. A cell is a whole number of aerial pixels, not
0.5 m. The sum over cells is divided by the root of their number rather than by their number, times
a learned factor, so that an untrained network begins with scores of the order of one.
"""

from dataclasses import dataclass

import torch
from torch import nn, Tensor

from geoloc_core.errors import ConfigError
from geoloc_core.input_spec import CameraSpec, InputSpec, RasterSpec
from geoloc_core.models.backbones import input_statistics
from geoloc_core.models.backbones.circular import make_circular
from geoloc_core.models.base import CrossViewModel, Outputs
from geoloc_core.models.belief import Belief, evenly_spaced_yaws
from geoloc_core.models.feature_pyramid import PyramidEncoder
from geoloc_core.models.polar_bev import PolarBev
from geoloc_core.models.rotation_correlation import correlate_rotations

_CAMERAS = ('equirectangular', 'pinhole')


@dataclass(frozen=True)
class OrienterNetSettings:
    """Sizes of `OrienterNetAerial`; reach, scales, widths and yaws are the published ones.

    Attributes:
        camera: 'equirectangular' or 'pinhole'.
        view_width: px.
        view_height: px.
        focal_px: (fx, fy) of a pinhole; null for a panorama.
        center_px: (cx, cy) likewise.
        camera_height_m: For the record of what pictures are warped to; the network uses none.
        patch_width: px.
        patch_height: px.
        patch_gsd: m/px.
        backbone: Of both encoders, see `backbones.registry`.
        weights: null, 'imagenet', or the path of a file.
        view_taps: Stages that the view's pyramid joins; the first gives its stride.
        patch_taps: The same for the patch; its stride makes the belief's cells.
        width: Channels before matching.
        matching_width: Channels that are matched.
        bev_blocks: Residual blocks on the bird's-eye view.
        reach_m: Farthest distance in the bird's-eye view.
        log2_scales: Lowest and highest scale, log2 of px/m.
        scale_bins: Number of scales.
        row_scales: Whether a pixel's scales may depend on its row, not on what it shows alone; of
            use with level cameras and little data, not published.
        place_prior: Whether the map says where one stands at all.
        half_yaw_deg: Range of the yaw offsets.
        yaw_bins: While training.
        yaw_bins_evaluated: Afterwards; null for as many.
    """

    camera: str = 'equirectangular'
    view_width: int = 640
    view_height: int = 320
    focal_px: tuple[float, float] | None = None
    center_px: tuple[float, float] | None = None
    camera_height_m: float = 2.0
    patch_width: int = 512
    patch_height: int = 512
    patch_gsd: float = 0.14
    backbone: str = 'efficientnet_lite0'
    weights: str | None = None
    view_taps: tuple[str, ...] = ('stage2', 'stage3', 'stage5', 'stage7')
    patch_taps: tuple[str, ...] = ('stage2', 'stage3', 'stage5', 'stage7')
    width: int = 128
    matching_width: int = 8
    bev_blocks: int = 4
    reach_m: float = 32.0
    log2_scales: tuple[float, float] = (0.0, 9.0)
    scale_bins: int = 33
    row_scales: bool = False
    place_prior: bool = True
    half_yaw_deg: float = 180.0
    yaw_bins: int = 64
    yaw_bins_evaluated: int | None = 256

    def __post_init__(self) -> None:
        """Checks what does not depend on the backbone.

        Raises:
            ConfigError: A value that cannot be.
        """
        if self.camera not in _CAMERAS:
            raise ConfigError(
                f'orienternet_aerial: camera is {self.camera!r}, expected one of {_CAMERAS}'
            )
        known = self.focal_px is not None and self.center_px is not None
        absent = self.focal_px is None and self.center_px is None
        if not (known if self.camera == 'pinhole' else absent):
            raise ConfigError(
                'orienternet_aerial: focal_px and center_px belong to camera: pinhole; give both '
                'there, and neither for a panorama'
            )
        for name, least in (
            ('yaw_bins', 3), ('yaw_bins_evaluated', 3), ('bev_blocks', 0), ('matching_width', 1)
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(
                    f'orienternet_aerial: {name} is {value}, expected {least} or more'
                )
        if not 0 < self.half_yaw_deg <= 180:
            raise ConfigError(
                f'orienternet_aerial: half_yaw_deg is {self.half_yaw_deg}, expected 0..180'
            )

    @property
    def inputs(self) -> InputSpec:
        """What the network is fed."""
        statistics = input_statistics(self.backbone)
        return InputSpec(
            camera_kinds=(self.camera,),
            view_kind='camera',
            view=RasterSpec('view', self.view_width, self.view_height, *statistics),
            bev=None,
            polar=None,
            camera=CameraSpec(self.camera, self.focal_px, self.center_px, self.camera_height_m),
            patch=RasterSpec('patch', self.patch_width, self.patch_height, *statistics),
            patch_gsd=self.patch_gsd,
            turned='view' if self.camera == 'equirectangular' else 'patch',
        )


class _Residual(nn.Module):
    """Bottleneck of a residual network; keeps size and channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(channels // 4, 1)
        self.path = nn.Sequential(
            nn.Conv2d(channels, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(inplace=True),
            nn.Conv2d(inner, inner, 3, padding=1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(inplace=True),
            nn.Conv2d(inner, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.path(x))


class OrienterNetAerial(CrossViewModel):
    """See the module.

    Attributes:
        cell_m: Side of a cell of bird's-eye view, map and belief, m.
    """

    NAME = 'orienternet_aerial'
    Settings = OrienterNetSettings
    takes_yaws = True

    def __init__(self, settings: OrienterNetSettings) -> None:
        """Makes the layers.

        Raises:
            ConfigError: Sizes that do not go together, or as `make_backbone`.
        """
        super().__init__(settings, settings.inputs)
        s = settings
        panorama = s.camera == 'equirectangular'
        self.view_encoder = PyramidEncoder(s.backbone, s.weights, s.view_taps, s.width, panorama)
        self.patch_encoder = PyramidEncoder(s.backbone, s.weights, s.patch_taps, s.width, False)
        stride = self.view_encoder.stride
        if s.view_width % stride or s.view_height % stride:
            raise ConfigError(
                f'orienternet_aerial: a view of {s.view_width} x {s.view_height} px has no whole '
                f'number of cells of {stride} px'
            )
        self.cell_m = s.patch_gsd * self.patch_encoder.stride
        self.scales = nn.Conv2d(s.width, s.scale_bins, 1)
        self.row_scales: nn.Parameter | None = None
        if s.row_scales:
            self.row_scales = nn.Parameter(torch.zeros(s.scale_bins, s.view_height // stride, 1))
        assert self.inputs.camera is not None
        self.polar_bev = PolarBev(
            self.inputs.camera,
            s.view_width,
            s.view_width // stride,
            s.reach_m,
            self.cell_m,
            s.log2_scales,
            s.scale_bins,
        )
        self.bev_blocks = nn.Sequential(*(_Residual(s.width) for _ in range(s.bev_blocks)))
        self.bev_head = nn.Conv2d(s.width, s.matching_width + 1, 1)
        self.map_head = nn.Conv2d(s.width, s.matching_width + int(s.place_prior), 1)
        self.log_scale = nn.Parameter(torch.zeros(()))
        self.calibration['log_temperature'] = nn.Parameter(torch.zeros(()))
        if panorama:
            make_circular(self.scales)

    def forward(  # type: ignore[override]
        self, view: Tensor, patch: Tensor, yaws: Tensor | None = None
    ) -> Outputs:
        """Scores of all poses.

        Args:
            view: (B, 3, H, W) normalised.
            patch: (B, 3, h, w) normalised.
            yaws: (K,) offsets to score, rad, evenly spaced; the settings' own if None.

        Returns:
            scores (B, K, h / stride, w / stride); bev (B, C, n, m) and bev_confidence (B, 1, n, m)
            on the ground around the camera; map (B, C, h / stride, w / stride); yaws if given.
        """
        template, confidence = self.bird_eye(view)
        features = self.map_head(self.patch_encoder(patch))
        width = self.settings.matching_width
        # Cells behind a pinhole, so that the camera is in the middle.
        behind = (self.polar_bev.hidden_columns, 0)
        scores = correlate_rotations(
            nn.functional.pad(template, behind),
            nn.functional.pad(confidence, behind),
            features[:, :width],
            self._yaws(view) if yaws is None else yaws,
            # All weight lies within reach: in the inscribed circle.
            canvas=2 * self.polar_bev.reach + 1,
        )
        count = self.polar_bev.visible.sum()
        scores = scores * (self.log_scale.float().exp() / torch.sqrt(count * width))
        if self.settings.place_prior:
            scores = scores + features[:, width:].float()
        outputs = {
            'scores': scores, 'bev': template, 'bev_confidence': confidence,
            'map': features[:, :width],
        }  # fmt: skip
        return outputs if yaws is None else {**outputs, 'yaws': yaws}

    def bird_eye(self, view: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, C, n, m) around the camera and confidence (B, 1, n, m), 0 if unseen.

        Args:
            view: (B, 3, H, W) normalised.
        """
        features = self.view_encoder(view)
        scales = self.scales(features)
        if self.row_scales is not None:
            scales = scales + self.row_scales
        bev = self.bev_head(self.bev_blocks(self.polar_bev(features, scales)))
        confidence = torch.sigmoid(bev[:, -1:]) * self.polar_bev.visible.to(bev)
        return bev[:, :-1], confidence

    def belief(self, outputs: Outputs) -> Belief:
        """The softmax over all scores; the pose is its peak.

        Args:
            outputs: Of `forward`.
        """
        logits = outputs['scores'] * torch.exp(-self.calibration['log_temperature'])
        half = self.settings.half_yaw_deg
        own = evenly_spaced_yaws(logits.shape[1], half).to(logits)
        closed = half >= 180.0 and 'yaws' not in outputs
        return Belief(logits, self.cell_m, outputs.get('yaws', own), closed)

    def _yaws(self, like: Tensor) -> Tensor:
        s = self.settings
        bins = s.yaw_bins if self.training else s.yaw_bins_evaluated or s.yaw_bins
        # Float32 whatever the pictures are: half precision would blur the bins.
        return evenly_spaced_yaws(bins, s.half_yaw_deg).to(like.device)
