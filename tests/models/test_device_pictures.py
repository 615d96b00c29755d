# SPDX-License-Identifier: Apache-2.0
"""What torch makes of pictures is what OpenCV makes of them; a picture that is mirrored is not."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import EquirectangularCamera, FisheyeCamera, PinholeCamera
from geoloc_core.geometry.grid import Grid
from geoloc_core.input_spec import BevSpec, CameraSpec, InputSpec, RasterSpec
from geoloc_core.models.device_pictures import area_shares, DevicePictures, sampled
from geoloc_core.preprocess import normalised, patch_frame, Preprocessor
from geoloc_core.spec import ModelSpec
from geoloc_core.types import AerialPatch, GroundView

BUNDLE = Path(__file__).parents[2] / 'config' / 'models' / 'geoloc' / 'model.json'
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
R_BASE_OPTICAL = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
MOUNT = se3.make(se3.rotation_from_rpy(0.02, 0.2, 0.3) @ R_BASE_OPTICAL, [0.4, 0.1, 1.6])
CAMERAS = {
    'pinhole': PinholeCamera(320, 180, 175.0, 175.0, 159.5, 89.5),
    'fisheye': FisheyeCamera(300, 210, 100.0, 100.0, 149.5, 104.5),
    'panorama': EquirectangularCamera(512, 256),
}


def inputs(kind, turned, patch_gsd=0.5):
    """A system's inputs: seen from above, as a panorama, or as a pinhole's picture."""
    bev = BevSpec(0.3, (0.0, 0.0)) if kind == 'bev' else None
    cameras = {
        'panorama': CameraSpec('equirectangular', None, None, 1.6),
        'picture': CameraSpec('pinhole', (45.0, 45.0), (39.5, 23.5), 1.6),
    }
    return InputSpec(
        camera_kinds=('pinhole', 'fisheye', 'equirectangular'),
        view_kind='bev' if bev else 'camera',
        view=RasterSpec('view', 80, 48, MEAN, STD, with_mask=kind == 'bev'),
        bev=bev,
        polar=None,
        camera=cameras.get(kind),
        patch=RasterSpec('patch', 60, 44, MEAN, STD, with_mask=True),
        patch_gsd=patch_gsd,
        turned=turned,
    )


SYSTEMS = {
    'polar': ModelSpec.from_json(BUNDLE.read_text(encoding='utf-8')).inputs,
    'bev': inputs('bev', 'view'),
    'panorama': inputs('panorama', 'view'),
    'picture': inputs('picture', 'patch'),
}


def texture(height, width, seed=0):
    """Blobs of a few pixels, other to the left than to the right."""
    small = np.random.default_rng(seed).integers(0, 256, (height // 4 + 1, width // 4 + 1, 3))
    image = cv2.resize(
        small.astype(np.uint8), (width, height), interpolation=cv2.INTER_CUBIC
    ).astype(np.float32)
    return (image * np.linspace(0.5, 1.0, width)[None, :, None]).astype(np.uint8)


def seen_by(camera):
    return GroundView(0, texture(camera.height, camera.width), camera, MOUNT)


def on_cpu(spec, view, patch, prior, supersampling=1):
    """Both inputs as the robot makes them."""
    made = Preprocessor(spec, 0.1, supersampling)
    image, mask = made.view(view, 0.03, -0.02, prior[2])
    aerial, known = made.patch(patch, patch_frame(spec, prior))
    return normalised(image, mask, spec.view), normalised(aerial, known, spec.patch)


def on_device(spec, view, patch, prior, supersampling=1, pictures=None):
    """Both inputs by way of torch."""
    made = Preprocessor(spec, 0.1, supersampling)
    pictures = pictures or DevicePictures('cpu')
    lookups = made.lookups(view.camera, view.T_base_camera, 0.03, -0.02, prior[2])
    image = pictures.upload('frame', view.image)
    seen = pictures.view(image, lookups, made.neutral, spec.view)
    cut = made.cut(patch.grid, patch_frame(spec, prior))
    aerial = pictures.upload('patch', patch.image), pictures.upload('mask', patch.mask)
    return seen.numpy(), pictures.patch(*aerial, cut, spec.patch).numpy()


def grey(found, wanted, spec):
    """(mean, worst) difference of grey levels, and where both masks differ."""
    assert found.shape == wanted.shape and found.dtype == wanted.dtype == np.float32
    std = np.tile(np.array(spec.std), spec.planes)[None, :, None, None]
    count = 3 * spec.planes
    levels = 255 * std * np.abs(found[:, :count] - wanted[:, :count])
    return levels.mean(), levels.max(), found[:, count:] != wanted[:, count:]


def aerial(spec, prior, ratio=1.0, turned=False):
    """Imagery around a prior, with a hole and an edge of the map in it."""
    gsd = spec.patch_gsd / ratio
    reach = 1.5 if turned else 1.0
    size = [round(reach * ratio * side) for side in (spec.patch.width, spec.patch.height)]
    mask = np.ones(size[::-1], bool)
    mask[5:9, 11:31] = False
    mask[:, : size[0] // 6] = False
    return AerialPatch(texture(size[1], size[0], 1), mask, Grid(prior[:2], gsd, *size))


@pytest.mark.parametrize('camera', CAMERAS)
@pytest.mark.parametrize('system', SYSTEMS)
def test_the_view_is_the_one_that_the_robot_makes(system, camera):
    spec, prior = SYSTEMS[system], (3.0, -4.0, 0.7)
    view, patch = seen_by(CAMERAS[camera]), aerial(spec, prior)
    wanted, _ = on_cpu(spec, view, patch, prior)
    found, _ = on_device(spec, view, patch, prior)
    mean, worst, masks = grey(found, wanted, spec.view)
    assert wanted.std() > 0.1 and mean < 0.02 and worst < 1.5
    assert not masks.any()
    # A mirrored frame must not pass, nor one that is a pixel to the side.
    for wrong in (view.image[:, ::-1], view.image[::-1], np.roll(view.image, 2, axis=1)):
        other, _ = on_device(spec, replace(view, image=wrong), patch, prior)
        assert grey(other, wanted, spec.view)[0] > max(20 * mean, 0.05)


@pytest.mark.parametrize('camera', ['pinhole', 'panorama'])
def test_samples_of_a_cell_are_averaged(camera):
    spec, prior = SYSTEMS['bev'], (0.0, 0.0, -2.0)
    view, patch = seen_by(CAMERAS[camera]), aerial(spec, prior)
    wanted, _ = on_cpu(spec, view, patch, prior, supersampling=2)
    found, _ = on_device(spec, view, patch, prior, supersampling=2)
    mean, worst, masks = grey(found, wanted, spec.view)
    assert mean < 0.2 and worst < 1.5 and not masks.any()


@pytest.mark.parametrize('ratio', [1.0, 1.25, 2.0, 2.6, 3.0])
@pytest.mark.parametrize('system', ['polar', 'picture'])
def test_the_patch_is_the_one_that_the_robot_makes(system, ratio):
    spec, prior = SYSTEMS[system], (3.0, -4.0, 0.7)
    view = seen_by(CAMERAS['pinhole'])
    patch = aerial(spec, prior, ratio, turned=system == 'picture')
    wanted, found = (make(spec, view, patch, prior)[1] for make in (on_cpu, on_device))
    mean, worst, masks = grey(found, wanted, spec.patch)
    # At the border of what is known, half a pixel's rounding decides.
    assert mean < 0.2 and masks.mean() < 0.001
    if not masks.any():
        assert worst < 8
    for axis in (0, 1):
        flipped = replace(patch, image=np.flip(patch.image, axis), mask=np.flip(patch.mask, axis))
        other = on_device(spec, view, flipped, prior)[1]
        assert grey(other, wanted, spec.patch)[0] > 10


def test_a_patch_that_is_turned_the_other_way_is_another():
    spec, prior = SYSTEMS['picture'], (3.0, -4.0, 0.7)
    view, patch = seen_by(CAMERAS['pinhole']), aerial(spec, prior, 1.25, turned=True)
    wanted = on_cpu(spec, view, patch, prior)[1]
    other = on_device(spec, view, patch, (3.0, -4.0, -0.7))[1]
    assert grey(other, wanted, spec.patch)[0] > 10


def test_shares_of_a_line_are_lengths():
    np.testing.assert_allclose(
        area_shares(5, 2), [[0.4, 0.4, 0.2, 0, 0], [0, 0, 0.2, 0.4, 0.4]], atol=1e-7
    )
    np.testing.assert_allclose(area_shares(1280, 501).sum(axis=1), 1.0, atol=1e-5)


def test_a_reading_between_pixels_is_known():
    picture = torch.tensor([[0.0, 10.0, 20.0], [40.0, 50.0, 60.0]])[None, None]
    u = torch.tensor([[0.0, 0.5, 2.0, 2.5, -1.0]])
    v = torch.tensor([[0.0, 0.0, 1.0, 1.0, 0.5]])
    zeros = sampled(picture, u, v, 'zeros')[0, 0, 0]
    torch.testing.assert_close(zeros, torch.tensor([0.0, 5.0, 60.0, 30.0, 0.0]))
    border = sampled(picture, u, v, 'border')[0, 0, 0]
    torch.testing.assert_close(border, torch.tensor([0.0, 5.0, 60.0, 60.0, 20.0]))


def test_tables_stay_on_the_device_while_the_pose_does(monkeypatch):
    spec, prior = SYSTEMS['polar'], (3.0, -4.0, 0.7)
    view = seen_by(CAMERAS['pinhole'])
    made, pictures, names = Preprocessor(spec), DevicePictures('cpu'), []
    original = DevicePictures.upload
    monkeypatch.setattr(
        DevicePictures,
        'upload',
        lambda self, name, array: names.append(name) or original(self, name, array),
    )
    for yaw in (0.7, 0.7, 0.9):
        pictures.prepare(made.lookups(view.camera, view.T_base_camera, 0.0, 0.0, yaw))
        names.append('|')
    tables = ['table 0', 'table 0 mask', 'table 1', 'table 1 mask', '|']
    assert names == [*tables, '|', *tables]
    pictures.view(
        torch.from_numpy(view.image),
        made.lookups(view.camera, MOUNT, 0.0, 0.0, 0.9),
        made.neutral,
        spec.view,
    )
    assert len(names) == 11 and prior[2] == 0.7
