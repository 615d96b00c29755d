# SPDX-License-Identifier: Apache-2.0
"""Noise rasters for painting."""

import numpy as np

from geoloc_core.simulation.render.textures import fractal_noise


def test_tileable_noise_has_no_seam():
    noise = fractal_noise(np.random.default_rng(1), 128, (8, 32), tileable=True)
    assert abs(noise.mean()) < 1e-3 and abs(noise.std() - 1) < 1e-3
    inner = np.abs(np.diff(noise, axis=1)).mean()
    seam = np.abs(noise[:, 0] - noise[:, -1]).mean()
    assert seam < 2 * inner
