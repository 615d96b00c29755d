# SPDX-License-Identifier: Apache-2.0
"""Model bundles: strict specification, verified weights, a network that truly localizes."""

import json

import numpy as np
import pytest

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

from geoloc_core.errors import BundleError
from geoloc_core.geometry import se3
from geoloc_core.runtime import bundle as bundles
from geoloc_core.runtime import bundle_files
from geoloc_core.sources.cross_view import CrossViewSource
from geoloc_core.sources.matcher import SearchLimits
from geoloc_core.sources.model_matcher import ModelMatcher, north_up
from geoloc_core.spec import ModelSpec
from geoloc_core.types import Status
from geoloc_ros.cli.main import main
from tests.runtime.tiny_bundle import CELLS, GSD, write_bundle
from tests.sources.painted_ground import (
    BASE_HEIGHT,
    FRAME,
    look,
    painted_ground,
    PANORAMA,
    PINHOLE,
    prior_near,
)


@pytest.fixture
def folder(tmp_path):
    return write_bundle(tmp_path / 'tiny')


def change(folder, **values):
    path = folder / 'model.json'
    data = json.loads(path.read_text())
    for name, value in values.items():
        (data['inputs'] if name in data['inputs'] else data)[name] = value
    path.write_text(json.dumps(data))


def test_a_network_localizes_through_the_socket(folder):
    matcher = ModelMatcher(bundles.load_bundle(folder), base_height_m=BASE_HEIGHT)
    ground = painted_ground(seed=5)
    view, truth = look(ground, 6.13, -8.42, np.radians(-40), 0.01, -0.02)
    prior = prior_near(truth, 1.9, -1.2, 0.0, 1.5, np.radians(1))
    found = CrossViewSource(matcher).measure(view, prior, FRAME, ground)
    assert found.status is Status.OK, found.reasons
    x, y, yaw = se3.planar(truth)
    np.testing.assert_allclose(found.likelihood_mean[:2], [x, y], atol=1.2 * GSD)
    assert abs(found.likelihood_mean[2] - yaw) < np.radians(1)
    assert found.volume.log_prob.shape == (3, CELLS[1], CELLS[0])
    assert CELLS[0] != CELLS[1]


def test_a_network_whose_patch_is_turned_localizes_too(folder):
    change(folder, turned='patch')
    matcher = ModelMatcher(bundles.load_bundle(folder), base_height_m=BASE_HEIGHT)
    ground = painted_ground(seed=5)
    view, truth = look(ground, 6.13, -8.42, np.radians(-40), 0.01, -0.02)
    prior = prior_near(truth, 1.9, -1.2, 0.0, 1.5, np.radians(1))
    found = CrossViewSource(matcher).measure(view, prior, FRAME, ground)
    assert found.status is Status.OK, found.reasons
    x, y, yaw = se3.planar(truth)
    np.testing.assert_allclose(found.likelihood_mean[:2], [x, y], atol=1.2 * GSD)
    assert abs(found.likelihood_mean[2] - yaw) < np.radians(1)


@pytest.mark.parametrize(('turned', 'half'), [('view', np.radians(9)), ('none', np.pi)])
def test_only_yaws_that_count_from_the_prior_are_narrowed_to_it(folder, turned, half):
    change(folder, turned=turned)
    limits = SearchLimits(sigmas=3.0, min_yaw=0.01)
    matcher = ModelMatcher(bundles.load_bundle(folder), limits=limits)
    prior = prior_near(se3.from_planar(0.0, 0.0, 2.0), 0.0, 0.0, 0.0, 1.5, np.radians(3))
    assert matcher._half_yaw(prior) == pytest.approx(half)


def test_a_turned_volume_is_laid_north_up():
    scores = np.random.default_rng(0).normal(size=(2, 5, 8)).astype(np.float32)
    # A frame whose x is north, y west: its top right corner is north-west.
    np.testing.assert_allclose(north_up(scores, np.pi / 2), np.rot90(scores, axes=(1, 2)))
    np.testing.assert_allclose(north_up(scores, np.pi), scores[:, ::-1, ::-1], atol=1e-6)
    assert north_up(scores, 0.0) is scores
    # Any turn: a peak 20 cells along and 10 to the left of the middle.
    sharp = np.zeros((1, 41, 51), np.float32)
    sharp[0, 20 - 10, 25 + 20] = 1.0
    turn = np.radians(30)
    laid = north_up(sharp, turn)[0]
    height, width = laid.shape
    row, column = np.unravel_index(laid.argmax(), laid.shape)
    east, north = column - (width - 1) / 2, (height - 1) / 2 - row
    expected = 20 * np.cos(turn) - 10 * np.sin(turn), 20 * np.sin(turn) + 10 * np.cos(turn)
    np.testing.assert_allclose((east, north), expected, atol=0.8)
    assert laid.sum() > 0.9


def test_a_camera_the_model_was_not_made_for_is_refused(folder):
    bundle = bundles.load_bundle(folder)
    bundle.require_fit(PINHOLE, map_gsd=0.2)
    with pytest.raises(BundleError, match='made for pinhole cameras, this one is equirect'):
        bundle.require_fit(PANORAMA)
    with pytest.raises(BundleError, match=r'needs a map of 0\.25 m/px'):
        bundle.require_fit(map_gsd=0.6)


def test_a_specification_survives_its_json(folder):
    spec = bundles.load_bundle(folder).spec
    assert ModelSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'colour': 'red'}, "unknown keys \\['colour'\\]"),
        ({'format': 1}, 'this version reads 4'),
        ({'opset': '17'}, 'opset must be a whole number'),
        ({'sha256': 'abc'}, '64 hexadecimal'),
        ({'camera_kinds': ['sonar']}, 'must be some of'),
        ({'view_kind': 'camera'}, 'bev must be given'),
        ({'patch_gsd': -1.0}, 'positive'),
        ({'patch_gsd': True}, 'must be a finite number'),
        ({'view': {'name': 'view'}}, 'lacks'),
        ({'bev': {'gsd': 0.25, 'center_xy': [3.0, 0.0]}}, 'must be centred'),
    ],
)
def test_a_specification_that_cannot_be_is_refused(folder, values, message):
    change(folder, **values)
    with pytest.raises(BundleError, match=message):
        bundles.load_bundle(folder)


def test_damaged_bundles_say_what_is_wrong(folder, monkeypatch):
    weights = (folder / 'model.onnx').read_bytes()
    (folder / 'model.onnx').write_bytes(weights[:-1] + b'x')
    with pytest.raises(BundleError, match='damaged or belongs to another'):
        bundles.load_bundle(folder)
    monkeypatch.setattr(bundle_files, 'MAX_WEIGHTS_BYTES', 10)
    with pytest.raises(BundleError, match='more than the 10 allowed'):
        bundles.load_bundle(folder)
    (folder / 'model.onnx').unlink()
    with pytest.raises(BundleError, match='cannot be read'):
        bundles.load_bundle(folder)
    (folder / 'model.json').write_text('{')
    with pytest.raises(BundleError, match='not JSON'):
        bundles.load_bundle(folder)


def test_weights_that_contradict_their_specification_are_refused(folder):
    data = json.loads((folder / 'model.json').read_text())
    change(folder, output={**data['output'], 'yaw_bins': 5})
    with pytest.raises(BundleError, match='model has outputs'):
        bundles.load_bundle(folder).open_engine()


def test_the_command_shows_and_checks(folder, capsys):
    assert main(['model', 'info', str(folder)]) == 0
    assert 'tiny-correlation' in capsys.readouterr().out
    assert main(['model', 'check', str(folder)]) == 0
    assert 'runs on onnxruntime' in capsys.readouterr().out
    (folder / 'model.onnx').write_bytes(b'')
    assert main(['model', 'check', str(folder)]) == 1
    assert 'sha256' in capsys.readouterr().err
