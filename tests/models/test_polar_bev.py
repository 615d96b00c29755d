# SPDX-License-Identifier: Apache-2.0
"""Polar views: which way is right, how far is near, and where the seam is."""

import math

import pytest
import torch

from geoloc_core.errors import ConfigError
from geoloc_core.input_spec import CameraSpec
from geoloc_core.models.polar_bev import PolarBev

PANORAMA = CameraSpec('equirectangular', None, None, 2.0)
SCALES, BINS = (0.0, 9.0), 37


def panorama(width=64, columns=32, reach_m=6.0, cell_m=0.5):
    return PolarBev(PANORAMA, width, columns, reach_m, cell_m, SCALES, BINS)


def scored(scale, shape):
    """Scores (1, S, h, w): pixels of the middle row are at one scale (px/m), others at any."""
    height, width = shape
    scores = torch.zeros(1, BINS, height, width)
    at = math.log2(scale) / 9.0 * (BINS - 1)
    for bin_ in range(BINS):
        scores[:, bin_, height // 2] = 30.0 * max(0.0, 1.0 - abs(bin_ - at))
    return scores


@pytest.mark.parametrize(
    ('share', 'right', 'up'), [(0.5, 0, 1), (0.75, 1, 0), (0.25, -1, 0), (0.0, 0, -1)]
)
def test_panorama_looks_up_in_its_middle_and_clockwise_to_its_right(share, right, up):
    bev = panorama()
    # A pole: the two columns around the direction, as the middle lies between two columns.
    features = torch.zeros(1, 1, 9, 32)
    column = round(share * 32)
    features[0, 0, 4, [(column - 1) % 32, column % 32]] = 1.0
    out = bev(features, scored((64 / (2 * math.pi)) / 4.0, (9, 32)))[0, 0]
    assert out.shape == (25, 25)
    # 4 m are 8 cells; elsewhere along the ray the column's mean is seen, a ninth.
    assert out[12 - 8 * up, 12 + 8 * right].item() == pytest.approx(1.0, abs=0.02)
    assert out[12 - 4 * up, 12 + 4 * right].item() == pytest.approx(1 / 9, abs=0.02)
    assert out[12 + 8 * up, 12 - 8 * right].item() == 0.0


def test_rolled_panorama_turns_the_view_clockwise():
    bev = panorama()
    features, scales = torch.randn(2, 3, 5, 32), torch.randn(2, BINS, 5, 32)
    out = bev(features, scales)
    # Content a quarter to the right: what was north is east.
    rolled = bev(features.roll(8, dims=-1), scales.roll(8, dims=-1))
    torch.testing.assert_close(rolled, torch.rot90(out, -1, dims=(2, 3)), atol=1e-4, rtol=1e-4)


def test_no_seam():
    bev = panorama()
    smooth = torch.cos(2 * math.pi * (torch.arange(32) + 0.5) / 32).expand(1, 1, 5, 32)
    out = bev(smooth, torch.zeros(1, BINS, 5, 32))[0, 0]
    # South of the camera, right across the seam.
    assert (out[20, 11:14] - out[20, 12]).abs().max() < 0.01
    assert out[20, 12].item() == pytest.approx(0.99, abs=0.01)


def test_pinhole_looks_to_the_right_and_its_left_is_up():
    camera = CameraSpec('pinhole', (40.0, 40.0), (29.5, 15.5), 1.65)
    bev = PolarBev(camera, 60, 15, 8.0, 0.5, SCALES, BINS)
    assert (bev.reach, bev.hidden_columns) == (16, 16)
    features = torch.zeros(1, 1, 8, 15)
    # 10 px left of the centre: column 19.5 px = cell (19.5 + 0.5) / 4 - 0.5 = 4.5.
    features[0, 0, 4, 4:6] = 1.0
    out = bev(features, scored(40.0 / 4.0, (8, 15)))[0, 0]
    assert out.shape == (33, 17)
    # 4 m deep, 4 * 10 / 40 = 1 m to the left: 8 cells ahead, 2 up.
    assert out[16 - 2, 8].item() == pytest.approx(1.0, abs=0.05)
    assert out[16 + 2, 8].item() == pytest.approx(0.0, abs=0.05)
    assert bev.visible[0, 0, :, 0].max() == 0.0  # beside the camera
    assert bev.visible[0, 0, 16, 1:].min() == 1.0
    assert bev.visible[0, 0, 0, 8] == 0.0  # outside the field of view


def test_distance_follows_the_focal_length():
    """The same scale is twice as far away with twice the focal length."""
    for focal, cells in ((20.0, 4), (40.0, 8)):
        camera = CameraSpec('pinhole', (focal, focal), (29.5, 15.5), 1.65)
        bev = PolarBev(camera, 60, 15, 8.0, 0.5, SCALES, BINS)
        features = torch.zeros(1, 1, 8, 15)
        features[0, 0, 4] = 1.0
        polar = bev.polar(features, scored(10.0, (8, 15)))[0, 0, :, 7]
        assert polar.argmax().item() == cells - 1


def test_no_preference_is_the_mean_of_the_column():
    bev = panorama()
    features = torch.randn(2, 3, 5, 32)
    polar = bev.polar(features, torch.zeros(2, BINS, 5, 32))
    assert polar.shape == (2, 3, 12, 32)
    torch.testing.assert_close(
        polar, features.mean(dim=2, keepdim=True).expand_as(polar), atol=1e-5, rtol=1e-5
    )


def test_misuse_is_named():
    with pytest.raises(ConfigError, match='expected a cell within reach'):
        panorama(reach_m=0.2)
    with pytest.raises(ConfigError, match='two scales or more'):
        PolarBev(PANORAMA, 64, 32, 6.0, 0.5, (9.0, 0.0), BINS)
