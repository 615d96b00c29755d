# SPDX-License-Identifier: Apache-2.0
"""Pictures -> bird's-eye views inside a network: panoramas by a sphere, front views by a plane.

HC-Net (Wang et al., "Fine-Grained Cross-View Geo-Localization Using a Correlation-Aware Homography
Estimator", NeurIPS 2023) lays a panorama on a tangent plane under the camera, and a front view on
the ground by the homography between two planes (appendix A.2). Both are fixed linear
maps of the picture's pixels, so gradients pass through; their tables are made once.

Convention: integer coordinates are pixel centres; samples are bilinear. A bird's-eye view made of
a panorama has the panorama's middle column up; one made of a front view has forward to its right.
So either lies on a patch as it should (`input_spec.InputSpec.turned`) if the prior's yaw is right.
"""

import math

import torch
from torch import nn, Tensor
from torch.nn import functional as F

from geoloc_core.errors import ConfigError

# (width, height), px.
Size = tuple[int, int]
# Share of the focal length under which a point counts as beside the camera, not in front of it.
_MIN_DEPTH = 1e-6


def plane_coordinates(
    view_size: Size, bev_size: Size, fov_deg: float, rotation: Tensor | None = None
) -> Tensor:
    """Where in a panorama the pixels of a virtual camera that looks straight down lie.

    The virtual pinhole's field of view spans the longer side; u runs over (-0.5, W - 0.5].

    Args:
        view_size: Of the panorama: 360 degrees wide, 180 high.
        bev_size: Of the virtual camera's picture.
        fov_deg: Its field of view, 0..180.
        rotation: (3, 3), axes of the virtual camera's picture (right, up the picture, towards the
            sky) -> the panorama's (right, forward, up); differentiable. None: the same axes.

    Returns:
        (h, w, 2) float (u, v), px of the panorama.
    """
    width, height = bev_size
    across = torch.arange(width) - (width - 1) / 2
    along = (height - 1) / 2 - torch.arange(height)
    if rotation is not None:
        across, along = across.to(rotation), along.to(rotation)
    y, x = torch.meshgrid(along, across, indexing='ij')
    z = torch.full_like(x, -plane_focal(bev_size, fov_deg))
    if rotation is not None:
        x, y, z = (torch.stack([x, y, z], dim=-1) @ rotation.T).unbind(-1)
    # Under the camera every column will do; atan2 has no gradient there.
    y = torch.where((x == 0) & (y == 0), torch.full_like(y, 1e-6), y)
    azimuth = torch.atan2(x, y)
    elevation = torch.atan2(z, torch.sqrt(x * x + y * y))
    u = azimuth * (view_size[0] / (2 * math.pi)) + (view_size[0] / 2 - 0.5)
    v = elevation * (-view_size[1] / math.pi) + (view_size[1] / 2 - 0.5)
    return torch.stack([u, v], dim=-1)


def plane_focal(bev_size: Size, fov_deg: float) -> float:
    """Focal length (px) of the virtual camera: its height over the plane, in cells of the plane.

    Raises:
        ConfigError: The field of view is not between 0 and 180 degrees.
    """
    if not 0 < fov_deg < 180:
        raise ConfigError(
            f"the bird's-eye view has a field of view of {fov_deg} degrees: choose one between 0 "
            'and 180 (170 is the published one)'
        )
    return max(bev_size) / 2 / math.tan(math.radians(fov_deg) / 2)


def sample_panorama(view: Tensor, uv: Tensor) -> Tensor:
    """Reads a panorama at pixel coordinates, across its seam where they lie on it.

    Args:
        view: (B, C, H, W).
        uv: (h, w, 2) or (B, h, w, 2); u in -0.5..W - 0.5, v is cut to the picture.

    Returns:
        (B, C, h, w).
    """
    # One column more on either side joins the seam.
    joined = torch.cat([view[..., -1:], view, view[..., :1]], dim=-1)
    return _read(joined, uv + uv.new_tensor([1.0, 0.0]))


def _read(image: Tensor, uv: Tensor) -> Tensor:
    return _read_grid(image, _grid(uv, (image.shape[-1], image.shape[-2])))


def _grid(uv: Tensor, size: Size) -> Tensor:
    """Pixel coordinates as `grid_sample` counts them (align_corners=False)."""
    return (2.0 * uv + 1.0) / uv.new_tensor(size) - 1.0


def _read_grid(image: Tensor, grid: Tensor) -> Tensor:
    if grid.dim() == 3:
        grid = grid[None].expand(image.shape[0], -1, -1, -1)
    return F.grid_sample(
        image, grid.to(image.dtype), mode='bilinear', padding_mode='border', align_corners=False
    )


class SphericalTransform(nn.Module):
    """A panorama as a camera looking straight down would see it (HC-Net's spherical transform).

    Attributes:
        cells_per_height: Pixels of the bird's-eye view in one camera height of flat ground, so
            that one pixel is `camera_height / cells_per_height` metres.
    """

    grid: Tensor

    def __init__(self, view_size: Size, bev_size: Size, fov_deg: float = 170.0) -> None:
        """Makes the table; see `plane_coordinates`."""
        super().__init__()
        uv = plane_coordinates(view_size, bev_size, fov_deg) + torch.tensor([1.0, 0.0])
        self.cells_per_height = plane_focal(bev_size, fov_deg)
        self.register_buffer('grid', _grid(uv, (view_size[0] + 2, view_size[1])), persistent=False)

    def forward(self, view: Tensor) -> Tensor:
        """(B, C, h, w) bird's-eye view of (B, C, H, W), up = the middle column."""
        joined = torch.cat([view[..., -1:], view, view[..., :1]], dim=-1)
        return _read_grid(joined, self.grid)


def ground_homography(
    gsd: float,
    foot: tuple[float, float],
    focal: tuple[float, float],
    center: tuple[float, float],
    height_m: float,
    pitch: float = 0.0,
) -> Tensor:
    """Pixels of a bird's-eye view -> pixels of a front view, on flat ground.

    Without intrinsics (HC-Net's demo) take `focal_from_field_of_view` and the picture's middle,
    any height, and let `gsd` be in units of it: the homography that the network estimates
    absorbs the scale.

    Convention: forward is to the right of the bird's-eye view, left is up.

    Args:
        gsd: m a pixel of the bird's-eye view.
        foot: (u, v) of the bird's-eye view that lies under the camera.
        focal: (fx, fy) of the picture, px.
        center: (cx, cy), px.
        height_m: Of the camera over the ground.
        pitch: rad, positive is nose down (REP-103).

    Returns:
        (3, 3) float64; the third coordinate of what it gives is the depth in metres.
    """
    # Level optical axes (right, down, forward) of a cell (u, v, 1).
    level = torch.tensor(
        [[0.0, gsd, -gsd * foot[1]], [0.0, 0.0, height_m], [gsd, 0.0, -gsd * foot[0]]],
        dtype=torch.float64,
    )
    c, s = math.cos(pitch), math.sin(pitch)
    turn = torch.tensor([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]], dtype=torch.float64)
    camera = torch.tensor(
        [[focal[0], 0.0, center[0]], [0.0, focal[1], center[1]], [0.0, 0.0, 1.0]],
        dtype=torch.float64,
    )
    return camera @ turn @ level


def focal_from_field_of_view(height_px: int, half_fov_deg: float) -> float:
    """Focal length (px) of a picture whose vertical field of view is twice `half_fov_deg`."""
    return height_px / 2 / math.tan(math.radians(half_fov_deg))


class FrontViewTransform(nn.Module):
    """The ground before a pinhole camera, forward to the right; 0 where it does not look."""

    grid: Tensor
    seen: Tensor

    def __init__(self, view_size: Size, bev_size: Size, homography: Tensor) -> None:
        """Makes the table.

        Args:
            view_size: Of the picture.
            bev_size: Of the bird's-eye view.
            homography: (3, 3) of `ground_homography`.

        Raises:
            ConfigError: The camera sees nothing of the bird's-eye view.
        """
        super().__init__()
        v, u = torch.meshgrid(
            torch.arange(bev_size[1], dtype=torch.float64),
            torch.arange(bev_size[0], dtype=torch.float64),
            indexing='ij',
        )
        x, y, depth = (
            torch.stack([u, v, torch.ones_like(u)], dim=-1) @ homography.double().T
        ).unbind(-1)
        front = depth > _MIN_DEPTH
        depth = torch.where(front, depth, torch.ones_like(depth))
        uv = torch.stack([x / depth, y / depth], dim=-1)
        size = uv.new_tensor(view_size)
        seen = front & (uv >= -0.5).all(-1) & (uv <= size - 0.5).all(-1)
        if not bool(seen.any()):
            raise ConfigError(
                f'a camera with homography {homography.tolist()} sees nothing of the ground in '
                f"the bird's-eye view of {bev_size} px: check focal_px, center_px, height and gsd"
            )
        uv = torch.where(seen[..., None], uv, torch.zeros_like(uv))
        self.register_buffer('grid', _grid(uv, view_size).float(), persistent=False)
        self.register_buffer('seen', seen[None, None].float(), persistent=False)

    def forward(self, view: Tensor) -> Tensor:
        """(B, C, h, w) bird's-eye view of (B, C, H, W)."""
        return _read_grid(view, self.grid) * self.seen.to(view.dtype)
