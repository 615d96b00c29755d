# SPDX-License-Identifier: Apache-2.0
"""How a picture is read out of another one: worked out once, then done on the CPU or on a GPU.

`GroundProjector` and `camera_lookup` say where each cell of what is wanted lies in a picture; so
nobody else needs to know how cameras project. `Lookup.read` reads it with OpenCV,
`models.device_pictures` with torch.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.geometry.cameras import AbstractCamera

Array = NDArray[np.float64]

# Where cells without a pixel point to: outside of any image.
NOWHERE = -10.0
# OpenCV reads at whole multiples of a pixel over this.
FRACTIONS = 32
# Shrinking by less than this is left to bilinear sampling.
SHRINK = 1.5


@dataclass(frozen=True)
class Lookup:
    """Where each cell lies in a picture.

    In this order the picture is shrunk, joined to its own other edge, sampled between its pixels,
    and the samples of a cell are averaged. Cells without content are 0.

    Attributes:
        maps: Two arrays that cv2.remap takes, of (H samples, W samples): u and v as float32, or
            its fixed-point pair. Convention: integers are pixel centres.
        mask: (H, W) bool, which cells have content.
        shrunk: (width, height) px that the picture is brought to first, by the mean of areas; or
            None.
        joined: Columns of the other edge that are put on either side; `maps` count from the first
            of them.
        wraps: Whether what lies beyond one edge is read at the other instead of as 0.
        samples: Along each side of a cell.
    """

    maps: tuple[NDArray, NDArray]
    mask: NDArray[np.bool_]
    shrunk: tuple[int, int] | None = None
    joined: int = 0
    wraps: bool = False
    samples: int = 1

    def read(self, image: NDArray) -> NDArray:
        """The cells (H, W) or (H, W, C) out of a picture, of its dtype.

        Args:
            image: (rows, columns) or (rows, columns, C); any dtype that cv2.remap takes.
        """
        channels = image.shape[2:]
        if self.shrunk is not None:
            image = cv2.resize(image, self.shrunk, interpolation=cv2.INTER_AREA)
        if self.joined:
            ends = image[:, -self.joined :], image[:, : self.joined]
            image = np.concatenate([ends[0], image, ends[1]], axis=1)
        # Wrapping joins the seam, but it leaves nowhere for unseen cells to point to.
        border = cv2.BORDER_WRAP if self.wraps else cv2.BORDER_CONSTANT
        out = cv2.remap(image, *self.maps, cv2.INTER_LINEAR, borderMode=border)
        if self.samples > 1:
            height, width = self.mask.shape
            out = cv2.resize(out, (width, height), interpolation=cv2.INTER_AREA)
        if self.wraps or self.samples > 1:
            out = cv2.copyTo(out, self.mask.view(np.uint8))
        # cv2 drops a last axis of one channel.
        return out.reshape(*out.shape[:2], *channels)

    def coordinates(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """U and v, px, of all samples in the picture that is sampled: exactly where `read` reads.

        Returns:
            (H samples, W samples) float32 each.
        """
        first, second = self.maps
        if first.dtype != np.int16:
            return np.rint(first * FRACTIONS) / FRACTIONS, np.rint(second * FRACTIONS) / FRACTIONS
        # OpenCV's pair: whole pixels, and both fractions in one number.
        u = first[..., 0] + (second % FRACTIONS) / np.float32(FRACTIONS)
        v = first[..., 1] + (second // FRACTIONS) / np.float32(FRACTIONS)
        return u.astype(np.float32), v.astype(np.float32)


def camera_lookup(
    camera: AbstractCamera, wanted: AbstractCamera, R_camera_wanted: Array
) -> Lookup:
    """How to read a picture as another camera at the same place would have taken it.

    Args:
        camera: That took it.
        wanted: That shall have taken it.
        R_camera_wanted: (3, 3) rotation, optical axes of `wanted` -> of `camera`.

    Returns:
        For (wanted.height, wanted.width) cells; the mask says where `camera` did look.
    """
    ratio = _px_per_rad(camera) / _px_per_rad(wanted)
    shrunk = None
    if ratio > SHRINK:
        shrunk = (round(camera.width / ratio), round(camera.height / ratio))
        camera = camera.resized(*shrunk)
    rays = wanted.rays().astype(np.float32) @ R_camera_wanted.T.astype(np.float32)
    u, v, valid = camera.project_xyz(rays[..., 0], rays[..., 1], rays[..., 2])
    valid = valid & np.isfinite(u) & np.isfinite(v)
    u = np.where(valid, u, NOWHERE).astype(np.float32)
    v = np.where(valid, np.clip(v, 0, camera.height - 1), NOWHERE).astype(np.float32)
    if camera.wraps:
        # One column more on either side joins the seam; BORDER_WRAP would also wrap the poles.
        u = np.where(valid, u + 1.0, NOWHERE).astype(np.float32)
    else:
        u = np.where(valid, np.clip(u, 0, camera.width - 1), NOWHERE).astype(np.float32)
    # It is kept and given to many.
    valid.setflags(write=False)
    return Lookup((u, v), valid, shrunk, joined=int(camera.wraps))


def warp_camera(
    image: NDArray, camera: AbstractCamera, wanted: AbstractCamera, R_camera_wanted: Array
) -> tuple[NDArray, NDArray[np.bool_]]:
    """A picture as another camera at the same place would take it.

    Args:
        image: (H, W, 3) of `camera`.
        camera: That took it.
        wanted: That shall have taken it.
        R_camera_wanted: (3, 3) rotation, optical axes of `wanted` -> of `camera`.

    Returns:
        (wanted.height, wanted.width, 3), black where `camera` did not look; and where it did.
    """
    lookup = camera_lookup(camera, wanted, R_camera_wanted)
    return lookup.read(image), lookup.mask


def _px_per_rad(camera: AbstractCamera) -> float:
    """Pixels a radian in the middle of the picture, along the coarser axis."""
    middle = (camera.width - 1) / 2, (camera.height - 1) / 2
    uv = np.array([middle, (middle[0] + 1, middle[1]), (middle[0], middle[1] + 1)])
    rays = camera.unproject(uv)
    steps = np.linalg.norm(rays[1:] - rays[0], axis=1)
    return float(1.0 / steps.max())
