# SPDX-License-Identifier: Apache-2.0
"""Depth cameras are wrong by their law, and blind where they say."""

from dataclasses import replace

import numpy as np
import pytest

from geoloc_core.errors import ConfigError, InputError
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import PinholeCamera
from geoloc_core.simulation.render.labels import Label
from geoloc_core.simulation.robots.depth_camera import (
    DEPTH_MODELS,
    DepthCamera,
    DepthModel,
    measure_depth,
)

CAMERA = PinholeCamera(160, 120, 146.0, 147.0, 80.3, 58.9)
PERFECT = DEPTH_MODELS['perfect']
WHITE = np.full((120, 160, 3), 200, np.uint8)


def wall(z):
    return np.full((120, 160), z, np.float32)


@pytest.mark.parametrize('spot_px', [0.0, 1.5, 4.0])
@pytest.mark.parametrize('z', [0.8, 1.6, 3.2])
def test_noise_follows_its_law(z, spot_px):
    model = replace(
        PERFECT, noise_floor_m=0.0012, noise_growth=0.0019, noise_start_m=0.4, noise_px=spot_px
    )
    measured = np.stack([measure_depth(model, wall(z), CAMERA, seed) for seed in range(12)])
    expected = 0.0012 + 0.0019 * (z - 0.4) ** 2
    assert measured.std() == pytest.approx(expected, rel=0.06)
    assert measured.mean() == pytest.approx(z, abs=expected * 0.1)
    assert model.noise_std(np.array(z)) == pytest.approx(expected)


def test_perfect_camera_reports_the_truth_and_its_range():
    depth = np.linspace(0.05, 150.0, 120 * 160).reshape(120, 160).astype(np.float32)
    model = replace(PERFECT, grazing_deg=180.0)
    measured = measure_depth(model, depth, CAMERA, 0)
    inside = (depth >= 0.1) & (depth <= 100.0)
    assert np.isnan(measured[~inside]).all()
    np.testing.assert_array_equal(measured[inside], depth[inside])


def test_sky_stays_unknown():
    depth = wall(2.0)
    depth[:40] = np.nan
    measured = measure_depth(DEPTH_MODELS['structured_light'], depth, CAMERA, 0, image=WHITE)
    assert np.isnan(measured[:40]).all()
    assert np.isfinite(measured[45:]).mean() > 0.97


def test_disparity_comes_in_steps():
    model = replace(PERFECT, baseline_m=0.1, disparity_step_px=0.25)
    depth = np.tile(np.linspace(1.0, 6.0, 160, dtype=np.float32), (120, 1))
    measured = measure_depth(model, depth, CAMERA, 0)
    known = np.isfinite(measured)
    steps = 146.0 * 0.1 / measured[known] / 0.25
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)
    # Half a step is dz = z^2 step / (2 f b).
    error = np.abs(measured - depth)[known]
    bound = depth[known].astype(float) ** 2 * 0.25 / (2 * 14.6)
    assert (error < bound * 1.15).all() and error.max() > 0.1


@pytest.mark.parametrize(
    ('baseline', 'shadow'), [(0.075, slice(40, 60)), (-0.075, slice(100, 120))]
)
def test_near_things_throw_a_shadow_away_from_the_projector(baseline, shadow):
    """A board 1 m away before a wall at 2 m: f b (1/1 - 1/2) = 5.5 columns are not lit."""
    depth = wall(2.0)
    depth[:, 60:100] = 1.0
    model = replace(PERFECT, baseline_m=baseline, grazing_deg=180.0)
    measured = measure_depth(model, depth, CAMERA, 0)
    dark = np.isnan(measured[60])
    assert dark.sum() in (5, 6)
    assert dark[shadow].sum() == dark.sum()


def test_grazing_surfaces_give_no_answer():
    """The floor 1 m below a level camera: its normal is tan(angle) = z / 1 m off the ray."""
    rays = CAMERA.rays()
    with np.errstate(divide='ignore'):
        z = np.where(rays[..., 1] > 1e-3, 1.0 / rays[..., 1] * rays[..., 2], np.nan)
    angle = np.degrees(np.arccos(np.clip(rays[..., 1], 0, 1)))
    measured = measure_depth(replace(PERFECT, grazing_deg=80.0), z.astype(np.float32), CAMERA, 0)
    inner = (slice(62, 118), slice(2, 158))
    seen = np.isfinite(measured)[inner]
    sure = np.abs(angle[inner] - 80.0) > 1.0
    np.testing.assert_array_equal(seen[sure], (angle[inner] < 80.0)[sure])
    assert seen.any() and not seen.all()


def test_dark_glossy_and_sunlit_surfaces_are_lost_as_stated():
    image = WHITE.copy()
    image[:, :40] = 0
    image[:, 40:80] = 250
    labels = np.full((120, 160), Label.INTERIOR, np.uint8)
    labels[:, 120:] = Label.VEHICLE
    model = replace(PERFECT, dark=30.0, glare=240.0, glossy=0.5, max_m=4.0)

    def lost(z):
        measured = measure_depth(model, wall(z), CAMERA, 1, image=image, labels=labels)
        return [np.isnan(measured[:, i : i + 40]).mean() for i in (0, 40, 80, 120)]

    near, far = lost(0.5), lost(3.9)
    assert near[0] < 0.5 < 0.9 < far[0]
    assert near[1] == far[1] == 1.0
    assert near[2] == far[2] == 0.0
    assert near[3] == pytest.approx(0.5, abs=0.08)


def test_blocks_and_spots_drop_out():
    model = replace(PERFECT, blocks=3.0, block_px=(10, 20))
    lost = [np.isnan(measure_depth(model, wall(2.0), CAMERA, s)).mean() for s in range(60)]
    # Three blocks of 15 x 15 of 160 x 120 pixels, some cut by the border.
    assert np.mean(lost) == pytest.approx(3 * 225 / 19200, rel=0.25)
    spotted = measure_depth(replace(PERFECT, speckle=0.05), wall(2.0), CAMERA, 0)
    assert np.isnan(spotted).mean() == pytest.approx(0.05, abs=0.02)


def test_seeds_decide():
    model = DEPTH_MODELS['structured_light']
    first, again, other = (measure_depth(model, wall(2.0), CAMERA, s) for s in (4, 4, 5))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other, equal_nan=True)


def test_depth_is_that_of_the_depth_camera_until_it_is_registered(marked_world):
    """The sensor sits 5 cm to the right of the colour camera and looks at the ground."""
    scene = marked_world.scene()
    T_colour_depth = se3.make(np.eye(3), (0.05, 0.0, 0.02))
    camera = DepthCamera(CAMERA, PERFECT, T_colour_depth)
    down = np.array([[1.0, 0, 0], [0, -1, 0], [0, 0, -1]])
    T_map_colour = se3.make(down, (0.0, 0.0, 2.0))
    raw = camera.take(scene, T_map_colour, 0)
    np.testing.assert_allclose(raw, 1.98, atol=1e-5)
    assert camera.report(raw, CAMERA) is raw
    carried = replace(camera, registered=True).report(raw, CAMERA)
    known = np.isfinite(carried)
    assert 0.9 < known.mean() < 1.0
    np.testing.assert_allclose(carried[known], 2.0, atol=1e-5)
    # What lies to the left of the sensor's view is not known to the colour camera.
    assert not known[:, :2].any()


def test_bad_input_is_named():
    with pytest.raises(ConfigError, match='min_m'):
        DepthModel(min_m=5.0, max_m=1.0)
    with pytest.raises(InputError, match='depth_m'):
        measure_depth(PERFECT, wall(1.0)[:50], CAMERA, 0)
