# SPDX-License-Identifier: Apache-2.0
"""Pictures of a scene through the project's own camera models, with exact depth."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
import os
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray

from geoloc_core.geometry.cameras import AbstractCamera
from geoloc_core.geometry.grid import Grid
from geoloc_core.simulation.render.scene import Scene

Array = NDArray[np.float64]

# An aerial picture is taken from this height; only a bound, as its rays are parallel.
_ABOVE_M = 500.0
_AERIAL_RAYS = 65536


@dataclass(frozen=True)
class Rendering:
    """A picture and what each of its pixels is.

    Attributes:
        image: (H, W, 3) uint8 RGB; 0 where the camera sees nothing at all.
        range_m: (H, W) float32 distance from the camera's centre along the ray, NaN for the sky.
        depth_m: (H, W) float32 z-coordinate in the optical frame, NaN for the sky.
        triangle: (H, W) int64 index of the triangle in the mesh, -1 for the sky.
        labels: (H, W) uint8 `Label`.
    """

    image: NDArray[np.uint8]
    range_m: NDArray[np.float32]
    depth_m: NDArray[np.float32]
    triangle: NDArray[np.int64]
    labels: NDArray[np.uint8]


@dataclass(frozen=True)
class _Rays:
    """The rays of one camera: where they go and how wide a pixel is."""

    optical: Array
    inside: NDArray[np.int64]
    pixel_rad: float


@lru_cache(maxsize=8)
def _rays(camera: AbstractCamera) -> _Rays:
    """Rays of every pixel's centre, computed once for each camera."""
    v, u = np.mgrid[0 : camera.height, 0 : camera.width]
    uv = np.stack([u, v], axis=-1).reshape(-1, 2).astype(np.float64)
    rays = camera.unproject(uv)
    inside = np.flatnonzero(np.isfinite(rays).all(axis=1))
    middle = np.array([[camera.width / 2, camera.height / 2]])
    pair = camera.unproject(np.concatenate([middle, middle + np.array([1.0, 0.0])]))
    pixel = float(np.arccos(np.clip(pair[0] @ pair[1], -1, 1)))
    return _Rays(rays[inside], inside, pixel)


def render(
    scene: Scene,
    camera: AbstractCamera,
    T_map_camera: Array,
    *,
    samples: int = 4,
    noise_seed: int | None = None,
    workers: int = 1,
) -> Rendering:
    """Takes a picture.

    Args:
        scene: What there is to see.
        camera: Any camera that can turn pixels into rays.
        T_map_camera: (4, 4) camera optical frame -> map.
        samples: Rays through a pixel on an edge; 1 for no anti-aliasing.
        noise_seed: Adds the sensor's noise, the same for the same seed; none if None.
        workers: Threads for this one picture. The bytes do not depend on it.

    Returns:
        The picture with range and depth.
    """
    rays = _rays(camera)
    directions = rays.optical @ T_map_camera[:3, :3].T
    hits = scene.cast(T_map_camera[:3, 3], directions, 0.0, rays.pixel_rad)
    rgb = hits.rgb
    if noise_seed is not None:
        rng = np.random.default_rng(noise_seed)
        # Shot noise grows with light; one draw for the three channels keeps it cheap.
        rgb = rgb + rng.standard_normal((len(rgb), 1), np.float32) * np.float32(2.0)
    shape = (camera.height, camera.width)
    count = camera.height * camera.width
    image = np.zeros((count, 3), np.uint8)
    image[rays.inside] = np.clip(rgb + np.float32(0.5), 0, 255).astype(np.uint8)
    seen = np.where(np.isfinite(hits.range_m), hits.range_m, np.nan)
    range_m = np.full(count, np.nan, np.float32)
    range_m[rays.inside] = seen
    depth_m = np.full(count, np.nan, np.float32)
    depth_m[rays.inside] = seen * rays.optical[:, 2]
    triangle = np.full(count, -1, np.int64)
    triangle[rays.inside] = hits.triangle
    labels = np.zeros(count, np.uint8)
    labels[rays.inside] = hits.label
    return Rendering(
        image.reshape(*shape, 3),
        range_m.reshape(shape),
        depth_m.reshape(shape),
        triangle.reshape(shape),
        labels.reshape(shape),
    )


@overload
def render_aerial(
    scene: Scene,
    grid: Grid,
    supersample: int = 2,
    workers: int | None = None,
    *,
    lean: tuple[float, float] = (0.0, 0.0),
    with_labels: Literal[False] = False,
) -> NDArray[np.uint8]: ...


@overload
def render_aerial(
    scene: Scene,
    grid: Grid,
    supersample: int = 2,
    workers: int | None = None,
    *,
    lean: tuple[float, float] = (0.0, 0.0),
    with_labels: Literal[True],
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]: ...


def render_aerial(
    scene: Scene,
    grid: Grid,
    supersample: int = 2,
    workers: int | None = None,
    *,
    lean: tuple[float, float] = (0.0, 0.0),
    with_labels: bool = False,
) -> NDArray[np.uint8] | tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The scene seen from above by parallel rays: a true orthophoto unless it leans.

    Args:
        scene: What there is to see.
        grid: Raster to fill, in the map frame.
        supersample: Rays along each side of a pixel.
        workers: Threads; as many as there are processors if None. The bytes do not depend on it.
        lean: (dx, dy) by which a point is shifted in the picture for each metre of its height, as
            in a picture from beside; the ground stays in place.
        with_labels: Give the `Label` of every pixel's middle, too.

    Returns:
        (grid.height, grid.width, 3) uint8 RGB; with labels (grid.height, grid.width) uint8 after
        it if asked for.
    """
    k = supersample
    # A roof h above the ground shows where the ray meets z = 0: h (dx, dy) away from its place.
    down = np.array([lean[0], lean[1], -1.0])
    down /= np.linalg.norm(down)
    start = np.array([-lean[0] * _ABOVE_M, -lean[1] * _ABOVE_M])
    labels = np.zeros((grid.height, grid.width), np.uint8)
    image = np.empty((grid.height, grid.width, 3), np.uint8)
    rows = max(1, _AERIAL_RAYS // (grid.width * k * k))
    inner = (np.arange(k) + 0.5) / k - 0.5
    u = (np.arange(grid.width)[:, None] + inner).ravel()

    def fill(top: int) -> None:
        count = min(rows, grid.height - top)
        v = (np.arange(top, top + count)[:, None] + inner).ravel()
        uv = np.stack(np.meshgrid(u, v), axis=-1)
        origins = np.full((*uv.shape[:2], 3), _ABOVE_M)
        origins[..., :2] = grid.xy_from_uv(uv) + start
        flat = origins.reshape(-1, 3)
        hits = scene.cast(flat, np.broadcast_to(down, flat.shape), grid.gsd / k, 0.0)
        fine = hits.rgb.reshape(count, k, grid.width, k, 3)
        image[top : top + count] = np.clip(fine.mean(axis=(1, 3)) + 0.5, 0, 255)
        classes = hits.label.reshape(count, k, grid.width, k)
        labels[top : top + count] = classes[:, k // 2, :, k // 2]

    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        for _ in pool.map(fill, range(0, grid.height, rows)):
            pass
    return (image, labels) if with_labels else image
