# SPDX-License-Identifier: Apache-2.0
"""Pictures of a scene through the project's own camera models, with exact depth."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
import os
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import InputError
from geoloc_core.geometry.cameras import AbstractCamera
from geoloc_core.geometry.grid import Grid
from geoloc_core.simulation.render.scene import CHUNK, empty_hits, hits_part, Scene

Array = NDArray[np.float64]

# An aerial picture is taken from this height; only a bound, as its rays are parallel.
_ABOVE_M = 500.0
# Standard deviation of the sensor's noise, of 255.
_NOISE = 2.0
_SEED_BITS = 2**62 - 1


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
    """The rays of one camera: where they go, which pixels see anything, how wide a pixel is."""

    optical: Array
    inside: NDArray[np.uint8]
    pixel_rad: float


@lru_cache(maxsize=8)
def _rays(camera: AbstractCamera) -> _Rays:
    """Rays of every pixel's centre, computed once for each camera."""
    v, u = np.mgrid[0 : camera.height, 0 : camera.width]
    uv = np.stack([u, v], axis=-1).reshape(-1, 2).astype(np.float64)
    rays = camera.unproject(uv)
    inside = np.asarray(np.isfinite(rays).all(axis=1))
    rays[~inside] = (0.0, 0.0, 1.0)
    middle = np.array([[camera.width / 2, camera.height / 2]])
    pair = camera.unproject(np.concatenate([middle, middle + np.array([1.0, 0.0])]))
    pixel = float(np.arccos(np.clip(pair[0] @ pair[1], -1, 1)))
    return _Rays(np.ascontiguousarray(rays), inside.astype(np.uint8), pixel)


@lru_cache(maxsize=8)
def _offsets(samples: int) -> Array:
    """Places (S - 1, 2) around a pixel's middle, spread evenly: a spiral of the golden angle."""
    i = np.arange(1, samples)
    radius, angle = 0.54 * np.sqrt(i / (samples - 1)), 2.399963229728653 * i
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)


def _each(work: Callable[[int], None], starts: Sequence[int], workers: int) -> None:
    """Runs work on every start; the threads share nothing but arrays they do not both write."""
    if workers == 1 or len(starts) == 1:
        for start in starts:
            work(start)
        return
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(work, starts):
            pass


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

    Raises:
        InputError: The pose is not finite: it would give a picture of the sky.
    """
    if not np.isfinite(T_map_camera).all():
        raise InputError(f'a camera at {np.asarray(T_map_camera)[:3, 3]}: its pose is not finite')
    from geoloc_core.simulation.render import pixels, shading

    rays = _rays(camera)
    height, width = camera.height, camera.width
    count = height * width
    R = np.ascontiguousarray(T_map_camera[:3, :3], np.float64)
    origin = np.ascontiguousarray(T_map_camera[None, :3, 3], np.float64)
    hits = empty_hits(count)
    rows = max(1, CHUNK // width)
    tops = range(0, height, rows)
    mask = np.zeros(count, np.uint8)
    image = np.empty((height, width, 3), np.uint8)
    range_m = np.empty((height, width), np.float32)
    depth_m = np.empty((height, width), np.float32)

    def shoot(top: int) -> None:
        part = slice(top * width, min(height, top + rows) * width)
        turned = np.empty((part.stop - part.start, 3))
        turned32 = np.empty(turned.shape, np.float32)
        shading.turn_rays(rays.optical[part], R, turned, turned32)
        scene.trace(origin, turned, turned32, 0.0, rays.pixel_rad, hits_part(hits, part))

    def mark(top: int) -> None:
        pixels.find_edges(
            top, min(height, top + rows), width, hits.triangle, hits.label, hits.normal,
            hits.range_m, hits.lit, hits.rgb, rays.inside, rays.pixel_rad, mask,
        )  # fmt: skip

    def refine(top: int) -> None:
        first, last = top * width, min(height, top + rows) * width
        edge = first + np.flatnonzero(mask[first:last])
        offsets = _offsets(samples)
        batch = max(1, CHUNK // len(offsets))
        for i in range(0, len(edge), batch):
            some = edge[i : i + batch]
            fine = empty_hits(len(some) * len(offsets))
            turned = np.empty((len(some) * len(offsets), 3))
            turned32 = np.empty(turned.shape, np.float32)
            pixels.sub_rays(some, width, rays.optical, rays.inside, offsets, R, turned, turned32)
            scene.trace(origin, turned, turned32, 0.0, 0.6 * rays.pixel_rad, fine)
            pixels.average(some, len(offsets), fine.rgb, hits.rgb)

    def develop(top: int) -> None:
        noise = 0.0 if noise_seed is None else _NOISE
        seed = (noise_seed or 0) & _SEED_BITS
        pixels.develop(
            top * width, min(height, top + rows) * width, noise, seed, hits.rgb,
            hits.range_m, rays.optical, rays.inside, image.reshape(-1, 3), range_m.reshape(-1),
            depth_m.reshape(-1), hits.triangle, hits.label,
        )  # fmt: skip

    _each(shoot, tops, workers)
    if samples > 1:
        # Edges are found before any pixel changes: the result does not depend on the threads.
        _each(mark, tops, workers)
        _each(refine, tops, workers)
    _each(develop, tops, workers)
    shape = (height, width)
    return Rendering(
        image, range_m, depth_m, hits.triangle.reshape(shape), hits.label.reshape(shape)
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
    from geoloc_core.simulation.render import pixels

    k = supersample
    # A roof h above the ground shows where the ray meets z = 0: h (dx, dy) away from its place.
    down = np.array([lean[0], lean[1], -1.0])
    down /= np.linalg.norm(down)
    start = -np.array([lean[0], lean[1]]) * _ABOVE_M
    image = np.empty((grid.height, grid.width, 3), np.uint8)
    labels = np.empty((grid.height, grid.width), np.uint8)
    inner = (np.arange(k) + 0.5) / k - 0.5
    columns = min(grid.width, max(1, CHUNK // (k * k)))
    rows = max(1, CHUNK // (columns * k * k))

    def fill(place: int) -> None:
        top, left = divmod(place, grid.width)
        bottom, right = min(grid.height, top + rows), min(grid.width, left + columns)
        u = (np.arange(left, right)[:, None] + inner).ravel()
        v = (np.arange(top, bottom)[:, None] + inner).ravel()
        origins = np.empty((len(v), len(u), 3))
        corner = grid.xy_from_uv((0.0, 0.0))
        origins[..., 0] = corner[0] + u * grid.gsd + start[0]
        origins[..., 1] = (corner[1] - v * grid.gsd + start[1])[:, None]
        origins[..., 2] = _ABOVE_M
        n = len(u) * len(v)
        rays = np.empty((n, 3))
        rays[:] = down
        fine = empty_hits(n)
        scene.trace(origins.reshape(-1, 3), rays, rays.astype(np.float32), grid.gsd / k, 0.0, fine)
        window = slice(top, bottom), slice(left, right)
        part = np.empty((bottom - top, right - left, 3), np.uint8)
        classes = np.empty(part.shape[:2], np.uint8)
        pixels.shrink(fine.rgb, fine.label, k, right - left, part, classes)
        image[window], labels[window] = part, classes

    places = [
        top * grid.width + left
        for top in range(0, grid.height, rows)
        for left in range(0, grid.width, columns)
    ]
    _each(fill, places, workers or os.cpu_count() or 1)
    return (image, labels) if with_labels else image
