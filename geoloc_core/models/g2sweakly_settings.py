# SPDX-License-Identifier: Apache-2.0
"""Sizes of G2SWeakly, and what follows from them for its inputs."""

from dataclasses import dataclass

from geoloc_core.errors import ConfigError
from geoloc_core.input_spec import CameraSpec, InputSpec, RasterSpec
from geoloc_core.models.backbones import input_statistics

_CAMERAS = ('equirectangular', 'pinhole')
_BACKBONES = ('vgg16', 'efficientnet', 'dinov2')


@dataclass(frozen=True)
class G2SWeaklySettings:
    """Sizes of `G2SWeakly`; the defaults are the published ones for VIGOR, VGG, level 1.

    Attributes:
        camera: 'equirectangular' or 'pinhole'.
        view_width: px.
        view_height: px.
        focal_px: (fx, fy) of a pinhole; null for a panorama.
        center_px: (cx, cy) likewise.
        camera_height_m: Over the ground.
        patch_width: px.
        patch_height: px.
        patch_gsd: m/px.
        backbone: See `backbones.registry`: 'vgg16' or an EfficientNet for a U-Net; a DINOv2 for
            the frozen transformer with DPT heads.
        weights: null, 'imagenet', or the path of a file.
        deepest: Stride at which a U-Net's encoder ends: 8 for VGG16, 16 or 32 for EfficientNet.
        shared: One network for both pictures, as published for KITTI.
        circular: Whether the columns of a panorama's network wrap. The published one's do not.
        levels: Matched: 0, 1, 2, 3 at a stride of 8, 4, 2, 1 (DPT: 2, 4, 8 cells a token).
        widths: Channels of the levels 0..3.
        dpt_width: Channels inside a DPT head.
        confidence: Whether view features come with a confidence.
        template_share: Side of the matched surroundings, as a share of the patch's. What is left
            is the search: +-(1 - share) / 2 of the patch.
        refine: Whether the answer is refined between cells by a parabola.
        rotation: Whether yaw is estimated, by the self-supervised estimator (pinhole).
        rotation_levels: Levels it goes through.
        shift_m: Bound of the prior's place that it learns with.
        rotation_deg: Bound of the prior's yaw likewise.
        half_yaw_deg: Range of the belief's yaw offsets.
        yaw_bins: Of the belief.
        most_cells: A side of the belief's volume may have; finer maps are pooled.
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
    backbone: str = 'vgg16'
    weights: str | None = None
    deepest: int = 8
    shared: bool = False
    circular: bool = True
    levels: tuple[int, ...] = (1,)
    widths: tuple[int, ...] = (256, 64, 16, 4)
    dpt_width: int = 512
    confidence: bool = True
    template_share: float = 0.4
    refine: bool = False
    rotation: bool = False
    rotation_levels: tuple[int, ...] = (0, 1, 2)
    shift_m: float = 20.0
    rotation_deg: float = 10.0
    half_yaw_deg: float = 2.0
    yaw_bins: int = 5
    most_cells: int = 128

    def __post_init__(self) -> None:
        """Checks what does not depend on the backbone.

        Raises:
            ConfigError: A value that cannot be.
        """
        if self.camera not in _CAMERAS:
            raise ConfigError(f'g2sweakly: camera is {self.camera!r}, expected one of {_CAMERAS}')
        pinhole = self.camera == 'pinhole'
        if pinhole != (self.focal_px is not None and self.center_px is not None):
            raise ConfigError(
                'g2sweakly: focal_px and center_px belong to camera: pinhole; give both there, '
                'and neither for a panorama'
            )
        if not self.backbone.startswith(_BACKBONES):
            raise ConfigError(
                f'g2sweakly: backbone is {self.backbone!r}, expected vgg16, an EfficientNet or a '
                'DINOv2: its U-Net joins the stages of those'
            )
        if self.rotation and not pinhole:
            raise ConfigError(
                'g2sweakly: rotation learns from the map what a pinhole sees of it and does not '
                "carry over to panoramas: set rotation: false, or use system 'geodistill'"
            )
        if self.rotation and self.transformer:
            raise ConfigError(
                f'g2sweakly: rotation learns a network of its own from the map, {self.backbone} '
                'is frozen: use vgg16 or an EfficientNet'
            )
        levels = (*self.levels, *(self.rotation_levels if self.rotation else ()))
        if not self.levels or not set(levels) <= {0, 1, 2, 3} or len(self.widths) != 4:
            raise ConfigError(
                f'g2sweakly: levels {levels} must be some of 0, 1, 2, 3, and widths '
                f'{self.widths} must be four'
            )
        if not 0 < self.template_share < 1:
            raise ConfigError(
                f'g2sweakly: template_share is {self.template_share}, expected 0..1, the rest of '
                'the patch is what is searched'
            )
        if self.yaw_bins < 3 or not 0 < self.half_yaw_deg <= 180 or self.most_cells < 2:
            raise ConfigError(
                f'g2sweakly: {self.yaw_bins} yaw_bins over +-{self.half_yaw_deg} degrees and '
                f'{self.most_cells} cells a side: expected 3 or more, 0..180 and 2 or more'
            )

    @property
    def transformer(self) -> bool:
        """Whether features are from a frozen transformer."""
        return self.backbone.startswith('dino')

    @property
    def side_m(self) -> tuple[float, float]:
        """(width, height) of the patch, m."""
        return self.patch_width * self.patch_gsd, self.patch_height * self.patch_gsd

    @property
    def inputs(self) -> InputSpec:
        """What the network is fed: published numbers are 0..1 for VGG and -1..1 for DINOv2."""
        mean, std = (0.0,) * 3, (1.0,) * 3
        if self.transformer:
            mean, std = (0.5,) * 3, (0.5,) * 3
        elif self.backbone.startswith('efficientnet'):
            mean, std = input_statistics(self.backbone)
        return InputSpec(
            camera_kinds=(self.camera,),
            view_kind='camera',
            view=RasterSpec('view', self.view_width, self.view_height, mean, std),
            bev=None,
            polar=None,
            camera=CameraSpec(self.camera, self.focal_px, self.center_px, self.camera_height_m),
            patch=RasterSpec('patch', self.patch_width, self.patch_height, mean, std),
            patch_gsd=self.patch_gsd,
            turned='view' if self.camera == 'equirectangular' else 'patch',
        )
