# SPDX-License-Identifier: Apache-2.0
"""The world writes VIGOR's layout, the reader reads it, and what went in comes out."""

from dataclasses import replace

import numpy as np
import pytest

from geoloc_core.geometry import angles, se3
from geoloc_core.geometry.geodesy import EnuFrame
from geoloc_core.simulation.layouts.vigor import VigorWriter
from tests.training.datasets.compass import assert_compass, PLACES, write_compass
from training.datasets.vigor import Vigor

SIZE = (512, 256)


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    """Folder, and the rendered shots of each split."""
    root = tmp_path_factory.mktemp('written')
    shots = write_compass(VigorWriter(root), size=SIZE)
    return root, {split: [s for s in shots if s.split == split] for split in ('train', 'test')}


def open_one(root, split, **options):
    return Vigor(root, split, cities=['NewYork'], **options)


@pytest.mark.parametrize(
    ('labels', 'protocol'),
    [
        ('corrected', 'same-area aligned'),
        ('gps', 'same-area +-45'),
        ('corrected', 'same-area +-180'),
    ],
)
def test_compass_rose(written, labels, protocol):
    root, _ = written
    datum = VigorWriter.datum(0)
    data = open_one(root, 'test', labels=labels, protocol=protocol, semi_positives=True)
    assert len(data) == len(PLACES)
    for sample in data:
        # Six decimals of a degree are five centimetres; labels are exact here.
        assert_compass(sample, datum=datum, min_visible=3, tol_m=0.1)
        assert len(sample.other_patches) == 3


def test_poses_agree_to_the_rounding_of_the_labels(written):
    root, shots = written
    data = open_one(root, 'test')
    for shot, sample in zip(shots['test'], data, strict=True):
        lat, lon, _ = shot.frame.geodetic_from_enu(shot.T_map_base[:3, 3])
        part, row = data._place(data.keys.index(sample.key))
        np.testing.assert_allclose(part.latlon[row], [lat, lon], atol=5.1e-7)
        # The middle of the tile is the sample's datum, not the world's.
        xyz = EnuFrame(sample.datum).enu_from_geodetic(lat, lon, 0.0)
        np.testing.assert_allclose(sample.T_map_base[:2, 3], xyz[:2], atol=0.01)
        assert se3.yaw_of(sample.T_map_base) == pytest.approx(np.pi / 2)
        assert data.label_error_m(data.keys.index(sample.key)) < 0.09


def test_training_and_validation_are_what_was_written_for_training(written):
    root, shots = written
    parts = [open_one(root, split) for split in ('train', 'validation')]
    assert sum(map(len, parts)) == len(shots['train'])
    for part in parts:
        for sample in part:
            assert_compass(sample, datum=VigorWriter.datum(0), min_visible=3)


def test_masks_lie_on_what_they_mark(written):
    root, _ = written
    data = open_one(root, 'test', masks=True)
    for sample in data:
        marked = sample.patch_classes > 0
        # The discs at the poles' feet are the only colours of the plain.
        colour = np.ptp(sample.patch.image.astype(int), axis=-1) > 60
        assert marked.sum() > 500
        assert (marked & colour).sum() / (marked | colour).sum() > 0.9
    assert not data.missing()


def test_original_labels_are_too_short_by_the_published_mistake(written):
    root, _ = written
    right, wrong = open_one(root, 'test'), open_one(root, 'test', labels='original')
    for index in range(len(right)):
        delta = right._place(index)[0].delta_px[right._place(index)[1], 0]
        first = wrong._place(index)[0].delta_px[wrong._place(index)[1], 0]
        np.testing.assert_allclose(first, delta * 0.113248 / 0.114, atol=0.5)


def test_a_wrong_sign_of_the_roll_is_seen(written):
    """The compass must be able to fail: the same pictures with the turn the other way."""
    root, _ = written
    data = open_one(root, 'test', protocol='same-area +-180', seed=4)
    for index in range(4):
        sample = data[index]
        turn = float(angles.difference(se3.yaw_of(sample.T_map_base), np.pi / 2))
        if abs(np.sin(turn)) < 0.3:
            continue
        T = sample.T_map_base @ se3.from_planar(0, 0, -2 * turn)
        with pytest.raises(AssertionError, match='should be at pixel'):
            assert_compass(replace(sample, T_map_base=T), datum=VigorWriter.datum(0))
