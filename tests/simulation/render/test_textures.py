# SPDX-License-Identifier: Apache-2.0
"""Textures: bilinear near, averaged far."""

import cv2
import numpy as np

from geoloc_core.simulation.render.textures import fractal_noise, MipTexture, remap_points


def test_samples_are_bilinear_between_texel_centres():
    image = np.zeros((4, 6), np.uint8)
    image[2, 3] = 200
    u = np.array([3.0, 3.5, 2.75, 4.0], np.float32)
    v = np.array([2.0, 2.0, 2.0, 2.0], np.float32)
    got = remap_points(image, u, v, cv2.BORDER_REFLECT)
    np.testing.assert_allclose(got, [200, 100, 150, 0], atol=1)


def test_far_samples_are_averages_at_the_same_place():
    """A bright right half stays the right half in every level."""
    image = np.zeros((64, 128), np.uint8)
    image[:, 64:] = 240
    texture = MipTexture(image)
    for footprint in (1.0, 2.0, 4.0, 8.0):
        u = np.array([63.5, 40.0, 90.0], np.float32)
        size = np.full(3, footprint, np.float32)
        middle, left, right = texture.sample(u, np.full(3, 31.5, np.float32), size)
        assert (left, right) == (0, 240)
        assert abs(int(middle) - 120) <= 2


def test_checkerboard_turns_grey_instead_of_flickering():
    board = (np.indices((256, 256)).sum(axis=0) % 2 * 255).astype(np.uint8)
    texture = MipTexture(board)
    rng = np.random.default_rng(0)
    u, v = rng.uniform(0, 255, (2, 500)).astype(np.float32)
    assert texture.sample(u, v, np.full(500, 8.0, np.float32)).std() < 2
    assert texture.sample(u, v, np.full(500, 1.0, np.float32)).std() > 30


def test_more_samples_than_a_remap_takes():
    image = np.arange(256, dtype=np.uint8)[None].repeat(4, axis=0)
    u = np.linspace(0, 255, 70_001).astype(np.float32)
    got = remap_points(image, u, np.ones_like(u), cv2.BORDER_REFLECT)
    np.testing.assert_allclose(got, u, atol=0.6)


def test_tileable_noise_has_no_seam():
    noise = fractal_noise(np.random.default_rng(1), 128, (8, 32), tileable=True)
    assert abs(noise.mean()) < 1e-3 and abs(noise.std() - 1) < 1e-3
    inner = np.abs(np.diff(noise, axis=1)).mean()
    seam = np.abs(noise[:, 0] - noise[:, -1]).mean()
    assert seam < 2 * inner
