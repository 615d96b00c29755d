# SPDX-License-Identifier: Apache-2.0
"""Sizes of HC-Net, and what follows from them for its inputs."""

from dataclasses import dataclass

from geoloc_core.errors import ConfigError
from geoloc_core.input_spec import CameraSpec, InputSpec, RasterSpec

# To -1..1, as published; not ImageNet's statistics.
_HALF = (0.5, 0.5, 0.5)
_CAMERAS = ('equirectangular', 'pinhole')
_STARTS = ('corners', 'metric')
# Channels a group of the group normalisation.
PER_GROUP = 8


@dataclass(frozen=True)
class HcNetSettings:
    """Sizes of `HcNet`; the defaults are the published ones for VIGOR.

    Attributes:
        camera: 'equirectangular' (spherical transform) or 'pinhole' (front-view homography).
        view_width: px.
        view_height: px.
        focal_px: (fx, fy) of a pinhole; null for a panorama.
        center_px: (cx, cy) likewise.
        camera_height_m: Over the ground.
        patch_width: px.
        patch_height: px.
        patch_gsd: m/px.
        bev_width: px of the bird's-eye view.
        bev_height: px.
        bev_fov_deg: Field of view of the bird's-eye view of a panorama.
        bev_gsd: m/px of the bird's-eye view of a front view, which begins under the camera.
        backbone: Of both branches, see `backbones.registry`.
        weights: null, 'imagenet', or the path of a file.
        tap: Stage whose map is matched: 'stage7' (stride 32) or 'stage5' (stride 16).
        siamese: One backbone for both pictures; published: two.
        start: Where the bird's-eye view is laid first: its corners on the patch's corners as
            published, or to scale with the camera at the prior ('metric').
        iterations: Of the corner moves.
        levels: Of the correlation pyramid.
        radius: Of the window looked at, in cells.
        width: Channels of the update network.
        half_yaw_deg: Range of the belief's yaw offsets.
        yaw_bins: Of the belief.
        cell_px: Side of the belief's cells, px of the patch.
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
    bev_width: int = 512
    bev_height: int = 512
    bev_fov_deg: float = 170.0
    bev_gsd: float = 0.1
    backbone: str = 'efficientnet_b0'
    weights: str | None = None
    tap: str = 'stage7'
    siamese: bool = False
    start: str = 'corners'
    iterations: int = 6
    levels: int = 2
    radius: int = 4
    width: int = 128
    half_yaw_deg: float = 45.0
    yaw_bins: int = 46
    cell_px: int = 8

    def __post_init__(self) -> None:
        """Checks what does not depend on the backbone.

        Raises:
            ConfigError: A value that cannot be.
        """
        for name, allowed in (('camera', _CAMERAS), ('start', _STARTS)):
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    f'hc_net: {name} is {getattr(self, name)!r}, expected one of {allowed}'
                )
        if (self.camera == 'pinhole') != (
            self.focal_px is not None and self.center_px is not None
        ):
            raise ConfigError(
                'hc_net: focal_px and center_px belong to camera: pinhole; give both there, and '
                'neither for a panorama'
            )
        if self.patch_width % self.cell_px or self.patch_height % self.cell_px:
            raise ConfigError(
                f'hc_net: cell_px {self.cell_px} does not divide the patch, {self.patch_width} x '
                f'{self.patch_height} px'
            )
        for name, least in (('iterations', 1), ('levels', 1), ('radius', 0), ('yaw_bins', 3)):
            if getattr(self, name) < least:
                raise ConfigError(
                    f'hc_net: {name} is {getattr(self, name)}, expected {least} or more'
                )
        if self.width < PER_GROUP or self.width % PER_GROUP:
            raise ConfigError(f'hc_net: width is {self.width}, expected a multiple of {PER_GROUP}')

    @property
    def inputs(self) -> InputSpec:
        """What the network is fed."""
        return InputSpec(
            camera_kinds=(self.camera,),
            view_kind='camera',
            view=RasterSpec('view', self.view_width, self.view_height, _HALF, _HALF),
            bev=None,
            polar=None,
            camera=CameraSpec(self.camera, self.focal_px, self.center_px, self.camera_height_m),
            patch=RasterSpec('patch', self.patch_width, self.patch_height, _HALF, _HALF),
            patch_gsd=self.patch_gsd,
            turned='view' if self.camera == 'equirectangular' else 'patch',
        )
