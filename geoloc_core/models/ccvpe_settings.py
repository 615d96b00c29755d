# SPDX-License-Identifier: Apache-2.0
"""Settings of CCVPE, and what it is fed with them."""

from dataclasses import dataclass

from geoloc_core.errors import ConfigError
from geoloc_core.input_spec import CameraSpec, InputSpec, RasterSpec
from geoloc_core.models.backbones import input_statistics

# Of the deepest features; a cell of the coarsest level is twice as wide.
STRIDE = 32


def _require(good: bool, message: str) -> None:
    if not good:
        raise ConfigError(f'ccvpe: {message}')


@dataclass(frozen=True)
class CcvpeSettings:
    """Settings of CCVPE; the defaults are its VIGOR variant, `KITTI` the other one.

    Attributes:
        camera: 'panorama' or 'pinhole'.
        view_size: (width, height) px, multiples of 32.
        focal_px: (fx, fy) of a pinhole, for a view of that size.
        center_px: (cx, cy), likewise.
        camera_height_m: Over the ground.
        patch_side: px, a multiple of 64.
        patch_gsd: m/px.
        with_mask: Feed a fourth channel that says where there is content.
        backbone: Name; one with maps down to stride 32.
        weights: Of the backbone: null, 'imagenet' or a path.
        bins: Turns of a circle that are compared.
        view_bins: How many bins' worth of a circle the view spans: `bins` for a panorama.
        descriptor_channels: Numbers a column of the view, for each of the six levels.
        first_width: Channels after the first upsampling of either decoder.
        orientation_widths: Channels of the direction decoder's levels.
        half_yaw_deg: Yaw may be off by this much; only turns within it are compared.
        yaw_bins: Of the belief.
    """

    camera: str = 'panorama'
    view_size: tuple[int, int] = (640, 320)
    focal_px: tuple[float, float] | None = None
    center_px: tuple[float, float] | None = None
    camera_height_m: float = 2.0
    patch_side: int = 512
    patch_gsd: float = 0.14
    with_mask: bool = False
    backbone: str = 'efficientnet_b0'
    weights: str | None = None
    bins: int = 20
    view_bins: int = 20
    descriptor_channels: tuple[int, ...] = (64, 32, 16, 8, 4, 2)
    first_width: int = 1024
    orientation_widths: tuple[int, ...] = (640, 256, 128, 64, 32, 16)
    half_yaw_deg: float = 180.0
    yaw_bins: int = 36

    def __post_init__(self) -> None:
        """Checks what must fit together.

        Raises:
            ConfigError: A setting that cannot be.
        """
        width, height = self.view_size
        pinhole = self.camera == 'pinhole'
        _require(self.camera in ('panorama', 'pinhole'), f'camera is {self.camera!r}, expected '
                 "'panorama' or 'pinhole'")  # fmt: skip
        _require(
            pinhole == (self.focal_px is not None) == (self.center_px is not None),
            'focal_px and center_px belong to a pinhole, and only to one',
        )
        _require(
            width % STRIDE == 0 == height % STRIDE,
            f'view_size is {list(self.view_size)}, expected multiples of {STRIDE}',
        )
        _require(
            self.patch_side % (2 * STRIDE) == 0,
            f'patch_side is {self.patch_side}, expected a multiple of {2 * STRIDE}',
        )
        _require(
            (width // STRIDE) % self.view_bins == 0,
            f'view_bins is {self.view_bins}: expected a divisor of the {width // STRIDE} '
            'columns of features that view_size gives',
        )
        _require(
            1 <= self.view_bins <= self.bins and (pinhole or self.view_bins == self.bins),
            f'view_bins is {self.view_bins} of {self.bins} bins: expected all of them for a '
            'panorama, fewer for a pinhole',
        )
        _require(
            len(self.descriptor_channels) == 6 == len(self.orientation_widths),
            'descriptor_channels and orientation_widths have one number for each of 6 levels',
        )
        _require(
            0 < self.half_yaw_deg <= 180 and self.yaw_bins >= 3,
            f'half_yaw_deg is {self.half_yaw_deg} and yaw_bins {self.yaw_bins}, expected '
            '0 to 180 and at least 3',
        )


# 16 turns of 22.5 deg, of which the view spans four; scaled calibration of KITTI's left colour
# camera. The map's descriptors are as long as a whole circle of the view's.
KITTI = CcvpeSettings(
    camera='pinhole',
    view_size=(1024, 256),
    focal_px=(582.9802, 482.7076),
    center_px=(496.2420, 125.0034),
    camera_height_m=1.65,
    patch_gsd=0.1958,
    bins=16,
    view_bins=4,
    descriptor_channels=(16, 8, 4, 2, 1, 1),
)


def ccvpe_inputs(s: CcvpeSettings) -> InputSpec:
    """What the network is fed."""
    mean, std = input_statistics(s.backbone)
    pinhole = s.camera == 'pinhole'
    kind = 'pinhole' if pinhole else 'equirectangular'
    return InputSpec(
        camera_kinds=(kind,),
        view_kind='camera',
        view=RasterSpec('view', *s.view_size, mean, std, s.with_mask),
        bev=None,
        polar=None,
        camera=CameraSpec(kind, s.focal_px, s.center_px, s.camera_height_m),
        patch=RasterSpec('patch', s.patch_side, s.patch_side, mean, std, s.with_mask),
        patch_gsd=s.patch_gsd,
        turned='patch' if pinhole else 'view',
    )
