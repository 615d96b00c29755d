# SPDX-License-Identifier: Apache-2.0
"""`model.path` puts a bundle behind the socket, and a bundle that does not fit is refused."""

from dataclasses import replace

import pytest

from geoloc_core.errors import BundleError
from geoloc_core.sources.model_matcher import ModelMatcher
from geoloc_core.types import Status
from geoloc_ros import assembly, parameters
from tests.runtime.tiny_bundle import write_bundle
from tests.sources.painted_ground import look, painted_ground, PANORAMA, prior_near

pytest.importorskip('onnxruntime')


@pytest.fixture
def params(tmp_path):
    folder = write_bundle(tmp_path / 'tiny')
    return parameters.validated({'model.path': str(folder), 'model.threads': 1})


def test_a_bundle_takes_the_matchers_place(params):
    matcher = assembly.build_source(params).matcher
    assert isinstance(matcher, ModelMatcher)
    assert matcher.bundle.spec.system == 'tiny-correlation'


def test_a_map_too_coarse_for_the_bundle_is_refused_at_start(params):
    ground = painted_ground(seed=1)

    class Coarse:
        info = replace(ground.info, gsd=2.0)

    with pytest.raises(BundleError, match=r'needs a map of 0\.25 m/px, this one has 2 m/px'):
        assembly.build_source(params, Coarse())


def test_a_folder_without_a_bundle_is_refused_at_start(tmp_path):
    params = parameters.validated({'model.path': str(tmp_path)})
    with pytest.raises(BundleError, match=r'model\.json'):
        assembly.build_source(params)


def test_a_frame_of_another_camera_is_refused_and_the_localizer_lives(params):
    ground = painted_ground(seed=1)
    localizer = assembly.build_localizer(
        parameters.validated({**params, 'datum.lat_deg': 49.0, 'datum.lon_deg': 8.4}), ground
    )
    view, truth = look(ground, 1.0, 2.0, 0.3, 0.0, 0.0)
    prior = prior_near(truth, 0.0, 0.0, 0.0, 1.0, 0.02)
    localizer.on_initial_pose(view.stamp_ns, truth, prior.cov)
    image = view.image[: PANORAMA.height, : PANORAMA.width]
    estimate = localizer.on_view(replace(view, camera=PANORAMA, image=image))
    assert estimate.measurement.status is Status.BAD_INPUT
    assert 'made for pinhole cameras, this one is equirectangular' in str(
        estimate.measurement.reasons
    )
    assert localizer.on_view(view).measurement.status is Status.OK
