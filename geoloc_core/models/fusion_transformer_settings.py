# SPDX-License-Identifier: Apache-2.0
"""Sizes of the fusion transformer, and what follows from them for its inputs."""

from dataclasses import dataclass

from geoloc_core.errors import ConfigError
from geoloc_core.input_spec import CameraSpec, InputSpec, RasterSpec
from geoloc_core.models.backbones import input_statistics


@dataclass(frozen=True)
class FusionTransformerSettings:
    """Sizes of `FusionTransformer`; the defaults are the published ones, with the yaw added.

    Attributes:
        view_width: px of the panorama.
        view_height: px.
        camera_height_m: Over the ground; not used by the network.
        patch_width: px.
        patch_height: px.
        patch_gsd: m/px.
        backbone: An EfficientNet, see `backbones`; both branches have one of their own.
        weights: null, 'imagenet', or the path of a file.
        taps: Stages at stride 2, 4, 8 ... whose maps are used; the last one is fused.
        mixstyle_after: Taps after which styles are mixed while learning.
        mixstyle_probability: Of each mixing; 0 switches MixStyle off.
        mixstyle_alpha: Of its Beta distribution.
        mixstyle_partners: 'random' or 'cross_domain', see `MixStyle`; the latter wants batches
            whose halves are of different domains (`data.batch_order: place` in training).
        mixstyle_detach: Whether styles are constants to the gradient; published: no.
        fusion_width: Channels of tokens and of the fused map.
        anchors: (rows, columns) of tokens that either map is pooled to.
        layers: Of cross-attention.
        heads: Of each layer.
        fusion_dropout: In the layers' networks.
        widths: Channels of the decoder: its entry, a stage for each tap, the last layer.
        decoder_dropout: After each stage.
        mask_guidance: Whether a semantic mask of the patch guides the decoder; it is then an
            input, in use too.
        yaw_head: Whether yaw is answered, by rays (`RayYawHead`); published: no.
        yaw_stride: px of the features that it compares: one of the taps', not the last.
        yaw_channels: That it compares.
        yaw_radii_m: Distances at which it reads along rays.
        half_yaw_deg: Range of the belief's yaw offsets.
        yaw_bins: Of the belief.
        cell_px: Side of the belief's cells, px of the patch.
        keep_attention: Whether `forward` also gives the attention, for pictures of it.
    """

    view_width: int = 640
    view_height: int = 320
    camera_height_m: float = 2.0
    patch_width: int = 512
    patch_height: int = 512
    patch_gsd: float = 0.14
    backbone: str = 'efficientnet_b0'
    weights: str | None = None
    taps: tuple[str, ...] = ('stem', 'stage2', 'stage3', 'stage5', 'stage7')
    mixstyle_after: tuple[str, ...] = ('stage3', 'stage5')
    mixstyle_probability: float = 0.3
    mixstyle_alpha: float = 0.1
    mixstyle_partners: str = 'random'
    mixstyle_detach: bool = False
    fusion_width: int = 320
    anchors: tuple[int, int] = (16, 16)
    layers: int = 2
    heads: int = 8
    fusion_dropout: float = 0.1
    widths: tuple[int, ...] = (512, 640, 320, 160, 80, 40, 16)
    decoder_dropout: float = 0.3
    mask_guidance: bool = True
    yaw_head: bool = True
    yaw_stride: int = 16
    yaw_channels: int = 16
    yaw_radii_m: tuple[float, ...] = (4.0, 8.0, 14.0, 22.0)
    half_yaw_deg: float = 180.0
    yaw_bins: int = 72
    cell_px: int = 4
    keep_attention: bool = False

    def __post_init__(self) -> None:
        """Checks what must fit together.

        Raises:
            ConfigError: A value that cannot be.
        """
        deepest = 2 ** len(self.taps)
        for name in ('view_width', 'view_height', 'patch_width', 'patch_height'):
            if getattr(self, name) % deepest or getattr(self, name) < deepest:
                raise _wrong(
                    name, getattr(self, name), f'a multiple of {deepest}, the last stride'
                )
        if len(self.widths) != len(self.taps) + 2:
            raise _wrong(
                'widths', self.widths, f'{len(self.taps) + 2} of them, two more than taps'
            )
        if not set(self.mixstyle_after) <= set(self.taps):
            raise _wrong('mixstyle_after', self.mixstyle_after, f'some of the taps {self.taps}')
        if self.yaw_head and self.yaw_stride not in [
            2 ** (i + 1) for i in range(len(self.taps) - 1)
        ]:
            raise _wrong('yaw_stride', self.yaw_stride, f'2, 4 ... {deepest // 2}')
        if self.yaw_head and (not self.yaw_radii_m or min(self.yaw_radii_m) <= 0):
            raise _wrong('yaw_radii_m', self.yaw_radii_m, 'positive distances')
        if self.patch_width % self.cell_px or self.patch_height % self.cell_px:
            raise _wrong('cell_px', self.cell_px, 'a divisor of both sides of the patch')
        if self.yaw_bins < 3:
            raise _wrong('yaw_bins', self.yaw_bins, '3 or more')
        if not 0 < self.half_yaw_deg <= 180:
            raise _wrong('half_yaw_deg', self.half_yaw_deg, 'more than 0, at most 180')
        if not self.backbone.startswith('efficientnet'):
            raise _wrong(
                'backbone', self.backbone, 'an EfficientNet: its stages are what is tapped'
            )

    @property
    def inputs(self) -> InputSpec:
        """What the network is fed."""
        mean, std = input_statistics(self.backbone)
        return InputSpec(
            camera_kinds=('equirectangular',),
            view_kind='camera',
            view=RasterSpec('view', self.view_width, self.view_height, mean, std),
            bev=None,
            polar=None,
            camera=CameraSpec('equirectangular', None, None, self.camera_height_m),
            patch=RasterSpec('patch', self.patch_width, self.patch_height, mean, std),
            patch_gsd=self.patch_gsd,
            turned='view',
        )


def _wrong(name: str, value: object, expected: str) -> ConfigError:
    return ConfigError(f'fusion_transformer: {name} is {value!r}, expected {expected}')
