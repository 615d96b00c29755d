# SPDX-License-Identifier: Apache-2.0
"""Classes of yaw without a bias, and the network that scores them."""

import math

import pytest
import torch

from geoloc_core.errors import ConfigError
from geoloc_core.input_spec import RasterSpec
from geoloc_core.models.backbones import make_backbone
from geoloc_core.models.base import parameter_count
from geoloc_core.models.orientation_estimator import (
    OrientationEstimator,
    OrientationSettings,
    YawClasses,
)


def raster(width, height, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)):
    return RasterSpec('x', width, height, mean, std)


@pytest.mark.parametrize(
    ('classes', 'half_range'), [(90, 45.0), (90, 180.0), (360, 180.0), (31, 10.0), (121, 170.0)]
)
def test_no_bias_anywhere_in_the_range(classes, half_range):
    made = YawClasses(classes, half_range, margin=3, window=4)
    yaw = torch.linspace(-1, 1, 1001) * math.radians(half_range)
    read = made.decode(made.soft_labels(yaw).log().clamp_min(-80.0))
    error = torch.rad2deg(torch.atan2((read - yaw).sin(), (read - yaw).cos()))
    assert error.abs().max() < 0.05
    assert abs(error.mean()) < 1e-3


def test_published_count_of_classes_lies_evenly_with_spare_ones_at_either_end():
    made = YawClasses(90, 45.0, margin=3, window=4)
    degrees = torch.rad2deg(made.centers)
    assert degrees[3] == pytest.approx(-45.0, abs=1e-4)
    assert degrees[-4] == pytest.approx(45.0, abs=1e-4)
    assert torch.allclose(degrees.diff(), torch.tensor(math.degrees(made.step)), atol=1e-4)
    closed = YawClasses(360, 180.0, margin=3, window=4)
    assert closed.closed
    assert torch.rad2deg(closed.centers[0]) == pytest.approx(-180.0)
    assert torch.rad2deg(closed.centers[-1]) == pytest.approx(179.0)


def test_labels_cross_the_seam_of_a_circle():
    made = YawClasses(72, 180.0, margin=3, window=4)
    label = made.soft_labels(torch.tensor([math.pi - 0.01]))[0]
    assert label.sum() == pytest.approx(1.0)
    assert label[0] > 0.3
    assert label[-1] > 0.2
    assert label[36] < 1e-6


def test_a_lower_peak_elsewhere_does_not_pull():
    made = YawClasses(72, 180.0, margin=3, window=4)
    twice = made.soft_labels(torch.tensor([0.5])) + 0.8 * made.soft_labels(torch.tensor([-2.5]))
    assert made.decode(twice.log().clamp_min(-80.0)).item() == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize(
    ('classes', 'half_range', 'margin', 'window'),
    [(90, 0.0, 3, 4), (90, 181.0, 3, 4), (8, 45.0, 3, 2), (90, 178.0, 3, 4), (7, 180.0, 0, 4)],
)
def test_classes_without_room_are_refused(classes, half_range, margin, window):
    with pytest.raises(ConfigError, match='classes'):
        YawClasses(classes, half_range, margin, window)


def test_parameters_are_the_published_ones_less_what_nothing_reads():
    """Published: 59.58 M, with the last stage and the head of both backbones."""
    made = OrientationEstimator(
        OrientationSettings(), raster(640, 320), raster(512, 512), half_range_deg=45.0
    )
    whole, used = (
        parameter_count(make_backbone('efficientnet_b0', taps=(tap,)))
        for tap in ('head', 'stage6')
    )
    assert parameter_count(made) + 2 * (whole - used) == pytest.approx(59.58e6, rel=2e-3)
    assert parameter_count(made) == pytest.approx(57.32e6, rel=2e-3)


def test_any_sides_and_statistics():
    settings = OrientationSettings(
        backbone='efficientnet_lite0', classes=24, hidden=(16, 8), margin=2
    )
    torch.manual_seed(0)
    plain = OrientationEstimator(settings, raster(96, 48), raster(96, 64), 30.0).eval()
    other = OrientationEstimator(
        settings,
        raster(96, 48, (0.4, 0.5, 0.6), (0.2, 0.3, 0.1)),
        raster(96, 64, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        30.0,
    ).eval()
    other.load_state_dict(plain.state_dict())
    view, patch = torch.rand(2, 3, 48, 96), torch.rand(2, 3, 64, 96)
    expected = plain(view, patch)
    assert expected.shape == (2, 24)
    mean = torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1)
    std = torch.tensor([0.2, 0.3, 0.1]).view(1, 3, 1, 1)
    # A fourth channel (the mask) is not looked at.
    view = torch.cat([(view - mean) / std, torch.ones(2, 1, 48, 96)], dim=1)
    assert torch.allclose(other(view, (patch - 0.5) / 0.5), expected, atol=1e-4)
