# SPDX-License-Identifier: Apache-2.0
"""Edges are smooth, and rows of pixels may be shared out among threads."""

import numpy as np
import pytest

from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import EquirectangularCamera, FisheyeCamera, PinholeCamera
from geoloc_core.simulation.render.pixels import sub_rays
from geoloc_core.simulation.render.renderer import render
from geoloc_core.simulation.robots.drive import mounted

PINHOLE = PinholeCamera(120, 80, 70.0, 68.0, 58.0, 41.0, (-0.05, 0.01, 0.001, -0.002, 0.0))
POSE = se3.from_xyz_rpy(-3.0, -4.0, 0.0, 0.04, 0.0, 0.7) @ mounted(0.0, 0.0, 1.7, -6.0)


def test_extra_rays_bring_edges_close_to_a_supersampled_picture(town):
    """Against 36 rays for every pixel."""
    k = 6
    jagged = render(town, PINHOLE, POSE, samples=1)
    smooth = render(town, PINHOLE, POSE, samples=4)
    fine = render(town, PINHOLE.resized(120 * k, 80 * k), POSE, samples=1).image
    reference = fine.reshape(80, k, 120, k, 3).mean(axis=(1, 3))
    touched = (jagged.image != smooth.image).any(axis=-1)
    assert 0.02 < touched.mean() < 0.4

    def error(image):
        return np.sqrt(((image - reference)[touched] ** 2).mean())

    assert error(smooth.image) < 0.55 * error(jagged.image)
    # Only colour is anti-aliased: the rest is what the pixel's middle meets.
    assert np.array_equal(jagged.depth_m, smooth.depth_m, equal_nan=True)
    assert np.array_equal(jagged.labels, smooth.labels)
    assert np.array_equal(jagged.triangle, smooth.triangle)


@pytest.mark.parametrize('camera', [PINHOLE, EquirectangularCamera(160, 80)], ids=['pin', 'pano'])
def test_rays_between_pixels_are_those_of_the_camera(camera):
    v, u = np.mgrid[0 : camera.height, 0 : camera.width]
    optical = camera.unproject(np.stack([u, v], -1).reshape(-1, 2).astype(float))
    index = np.array([0, camera.width - 1, 37 * camera.width + 61, len(optical) - 1])
    offsets = np.array([(0.3, -0.4), (-0.45, 0.1)])
    rays, rays32 = np.empty((8, 3)), np.empty((8, 3), np.float32)
    inside = np.ones(len(optical), np.uint8)
    sub_rays(index, camera.width, optical, inside, offsets, np.eye(3), rays, rays32)
    uv = np.stack([index % camera.width, index // camera.width], -1)[:, None] + offsets
    expected = camera.unproject(uv.reshape(-1, 2).clip(-0.5, None))
    inner = np.arange(4, 6)
    np.testing.assert_allclose(rays[inner], expected[inner], atol=3e-4)
    np.testing.assert_allclose(np.linalg.norm(rays, axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(rays, rays32, atol=1e-7)


def test_rim_of_a_fisheye_looks_no_other_way():
    """Beside pixels that see nothing, extra rays stay within their pixel."""
    camera = FisheyeCamera(90, 70, 10.0, 10.5, 44.0, 36.0, (-0.01, 0.002, 0.0, 0.0))
    v, u = np.mgrid[0:70, 0:90]
    optical = camera.unproject(np.stack([u, v], -1).reshape(-1, 2).astype(float))
    inside = np.isfinite(optical).all(axis=1)
    rim = np.flatnonzero(inside[:-1] & ~inside[1:])
    optical[~inside] = (0.0, 0.0, 1.0)
    assert len(rim) > 30
    rays, rays32 = np.empty((2 * len(rim), 3)), np.empty((2 * len(rim), 3), np.float32)
    offsets = np.array([(0.5, -0.5), (-0.5, 0.5)])
    sub_rays(rim, 90, optical, inside.astype(np.uint8), offsets, np.eye(3), rays, rays32)
    middle = np.repeat(optical[rim], 2, axis=0)
    assert np.arccos((rays * middle).sum(axis=1).clip(-1, 1)).max() < 1.3 * 0.71 / 10.0


def test_bytes_do_not_depend_on_threads(town):
    one = render(town, EquirectangularCamera(512, 256), POSE, noise_seed=3, workers=1)
    two = render(town, EquirectangularCamera(512, 256), POSE, noise_seed=3, workers=2)
    for name in ('image', 'range_m', 'depth_m', 'triangle', 'labels'):
        assert getattr(one, name).tobytes() == getattr(two, name).tobytes(), name
