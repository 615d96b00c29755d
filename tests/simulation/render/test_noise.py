# SPDX-License-Identifier: Apache-2.0
"""Detail without squares, without repetition, and without more than a pixel can show."""

from itertools import pairwise

import numpy as np
import pytest

from geoloc_core.simulation.render.labels import Label
from geoloc_core.simulation.render.noise import cover, fbm, gradient_noise, pulse
from tests.simulation.render.conftest import plain, scene_of

CLASSES = [Label.ROAD, Label.PAVEMENT, Label.GRASS, Label.BARE]


def look_down(scene, side, gsd, footprint=None):
    """(side, side) brightness of the ground from straight above."""
    ticks = (np.arange(side) - side / 2) * gsd
    x, y = np.meshgrid(ticks, ticks)
    origins = np.stack([x, y, np.full_like(x, 50.0)], -1).reshape(-1, 3)
    down = np.tile([0.0, 0.0, -1.0], (len(origins), 1))
    hits = scene.cast(origins, down, footprint or gsd, 0.0)
    return hits.rgb.mean(axis=1).reshape(side, side).astype(float)


def test_box_filters_agree_with_fine_sampling():
    t = (np.arange(4000) + 0.5) / 4000 - 0.5
    for x, width in [(0.1, 0.3), (0.42, 0.8), (-3.7, 2.6), (7.95, 0.05)]:
        fine = x + width * t
        inside = (fine - np.floor(fine) < 0.4).mean()
        assert pulse(x, width, 0.4) == pytest.approx(inside, abs=2e-3)
        assert cover(x, width, 0.2, 0.5) == pytest.approx(
            ((fine > 0.2) & (fine < 0.5)).mean(), abs=2e-3
        )


def test_octaves_are_centred_and_fade_with_the_pixel():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-500, 500, (2, 6000))
    one = np.array([gradient_noise(a, b, 3) for a, b in zip(x, y, strict=True)])
    assert abs(one.mean()) < 0.03 and 0.3 < one.std() < 0.7
    spread = [
        np.std([fbm(a, b, w, 2.0, 6, 2.2, 0.8, 3) for a, b in zip(x, y, strict=True)])
        for w in (0.02, 0.2, 0.8, 1.5, 2.5)
    ]
    assert all(a > 1.05 * b for a, b in pairwise([*spread[:-1], 1e-9]))
    assert spread[-1] == 0


@pytest.mark.parametrize('label', CLASSES, ids=lambda v: v.name)
def test_ground_has_detail_at_every_scale(label):
    """Means over squares of 5 cm to 8 m all still differ from one another."""
    scene = scene_of(ground=plain(label, half=120.0, gsd=0.5))
    fine = look_down(scene, 256, 0.025)
    broad = look_down(scene, 256, 0.4)

    def spread(image, cells):
        return image.reshape(cells, 256 // cells, cells, 256 // cells).mean(axis=(1, 3)).std()

    assert fine.std() > 2.0
    assert spread(fine, 128) > 1.2 and spread(fine, 32) > 0.7 and spread(fine, 8) > 0.4
    assert spread(broad, 64) > 0.7 and spread(broad, 16) > 0.5


@pytest.mark.parametrize('label', CLASSES, ids=lambda v: v.name)
def test_ground_neither_repeats_nor_shows_squares(label):
    scene = scene_of(ground=plain(label, half=120.0, gsd=0.5))
    image = look_down(scene, 512, 0.06)
    power = np.abs(np.fft.fft2((image - image.mean()) * np.outer(*[np.hanning(512)] * 2))) ** 2
    k = np.fft.fftfreq(512) * 512
    radius = np.hypot(k[:, None], k[None])
    # Without the broadest spots, nothing further away than 1.5 m looks like the place itself.
    kept = np.where(radius > 12, power, 0)
    correlation = np.fft.ifft2(kept).real
    correlation /= correlation[0, 0]
    lag = np.hypot(*np.meshgrid(np.minimum(k % 512, -k % 512), np.minimum(k % 512, -k % 512)))
    assert np.abs(correlation[lag > 25]).max() < 0.12
    # Squares would gather the energy along the axes.
    ring = (radius > 20) & (radius < 200)
    angle = np.degrees(np.arctan2(np.abs(k)[:, None], np.abs(k)[None]))
    along = power[ring & ((angle < 8) | (angle > 82))].mean()
    across = power[ring & (angle > 37) & (angle < 53)].mean()
    assert 0.6 < along / across < 1.7
    # The spectrum falls smoothly: no ring stands out.
    rings = [power[(radius >= r) & (radius < r * 1.3)].mean() for r in 10 * 1.3 ** np.arange(12)]
    assert max(np.array(rings[1:]) / rings[:-1]) < 1.6


@pytest.mark.parametrize('label', CLASSES, ids=lambda v: v.name)
def test_wide_pixels_see_less_detail(label):
    """What a pixel does not resolve is gone, and the mean colour stays."""
    scene = scene_of(ground=plain(label, half=120.0, gsd=0.5))
    images = [look_down(scene, 192, 0.5, footprint=w) for w in (0.01, 0.1, 0.6, 3.0, 20.0)]
    spread = [v.std() for v in images]
    assert all(a > b for a, b in pairwise(spread))
    assert spread[-1] < 0.45 * spread[0]
    means = [v.mean() for v in images]
    assert np.ptp(means) < 0.05 * means[0]
