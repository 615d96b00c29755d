# SPDX-License-Identifier: Apache-2.0
"""The publisher's own label files: signs, counts and orientations as they really are."""

import gzip

import numpy as np
import pytest

from geoloc_core.geometry import angles
from training.datasets import vigor_labels
from training.datasets.vigor import Vigor
from training.datasets.vigor_orientations import by_order

STEM = 'same_area_balanced_{}__corrected'


@pytest.fixture(scope='module')
def root(real_data, tmp_path_factory):
    """The real label files under the publisher's names; no pictures."""
    source = real_data('crossview_labels', 'vigor')
    root = tmp_path_factory.mktemp('vigor_real')
    for city in ('Seattle', 'NewYork', 'Chicago'):
        folder = root / 'splits__corrected' / city
        folder.mkdir(parents=True)
        for part in ('train', 'test'):
            name = f'{STEM.format(part)}.txt'
            whole, head = source / f'{city}_{name}.gz', source / f'{city}_{name[:-4]}.head400.txt'
            data = gzip.decompress(whole.read_bytes()) if whole.exists() else head.read_bytes()
            (folder / name).write_bytes(data)
    return root


def read(root, city, part):
    path = vigor_labels.find_file(root, city, f'same_area_balanced_{part}', 'corrected')
    return vigor_labels.read_labels(path, city)


def test_counts_of_seattle(root):
    keys = {split: Vigor(root, split, cities=['Seattle']).keys for split in Vigor.SPLITS}
    assert len(keys['train']) + len(keys['validation']) == 11876
    assert len(keys['validation']) == round(0.2 * 11876)
    assert len(keys['test']) == 11875
    # Together all panoramas of the city, none twice.
    assert len(set().union(*keys.values())) == 23751


@pytest.mark.parametrize('city', ['Seattle', 'NewYork', 'Chicago'])
@pytest.mark.parametrize('part', ['train', 'test'])
def test_labels_lie_where_the_gps_tags_do(root, city, part):
    labels = read(root, city, part)
    off = labels.delta_px - labels.gps_delta_px
    positive = off[:, 0]
    # px per axis; no tag is further off than 3.7 px in all.
    assert np.abs(positive).max() <= 3.1 and np.hypot(*positive.T).max() < 3.7
    assert np.abs(positive.mean(axis=0)).max() < (0.03 if city == 'Seattle' else 0.15)
    assert np.abs(off).max() < 5.7
    vigor_labels.refuse_wrong_version(labels, 'corrected')


def test_signs_of_both_axes_and_their_order_are_proven(root):
    """Any other reading of (d_row, d_col) is wrong by tens of metres on the real labels."""
    labels = read(root, 'Seattle', 'test')
    gsd = vigor_labels.GSD_640['Seattle']
    gps = angles.xy_from_vigor_delta(labels.gps_delta_px[:, 0], gsd)
    # GPS itself, without a word about pixels: north is more latitude, east more longitude.
    lat, lon = (labels.latlon - labels.tile_latlon[:, 0]).T
    assert np.corrcoef(gps[:, 0], lon)[0, 1] > 0.999
    assert np.corrcoef(gps[:, 1], lat)[0, 1] > 0.999
    xy = angles.xy_from_vigor_delta(labels.delta_px[:, 0], gsd)
    assert np.median(np.linalg.norm(xy - gps, axis=1)) < 0.15
    for wrong in (xy * [-1, 1], xy * [1, -1], -xy, xy[:, ::-1], -xy[:, ::-1]):
        assert np.median(np.linalg.norm(wrong - gps, axis=1)) > 8.0


def test_label_error_in_metres_and_semi_positives(root):
    data = Vigor(root, 'test', cities=['Seattle'])
    errors = np.array([data.label_error_m(i) for i in range(0, len(data), 10)])
    assert np.median(errors) < 0.15 and errors.max() < 0.33
    labels = read(root, 'Seattle', 'test')
    inside = np.abs(labels.delta_px[:, 1:]).max(axis=-1) < 320
    assert inside.mean() == pytest.approx(0.717, abs=0.01)


def test_pictures_that_are_not_there_are_counted(root):
    missing = Vigor(root, 'test', cities=['Seattle']).missing()
    assert len(missing) == 2
    assert 'Seattle: 11875 of 11875 listed panoramas are absent' in missing[0]


@pytest.mark.slow
def test_a_hundred_thousand_lines_are_read_at_once(root, tmp_path):
    text = (root / 'splits__corrected' / 'Seattle' / f'{STEM.format("train")}.txt').read_text()
    # The publisher's file ends without a newline.
    text = text.rstrip() + '\n'
    path = tmp_path / 'many.txt'
    path.write_text(''.join(text.replace(',47.', f'{k},47.') for k in range(9)))
    labels = vigor_labels.read_labels(path, 'Seattle')
    assert len(labels) == 9 * 11876
    assert labels.lines[-1] == len(labels)


def test_ccvpe_orientations_have_one_angle_for_each_published_panorama(real_data):
    folder = real_data('crossview_labels', 'vigor')
    for area, count in (('samearea', 52605), ('crossarea', 53694)):
        turns = by_order(folder / f'ccvpe_{area}_orientation_test.npy', count)
        assert np.abs(turns).max() <= np.pi
        # Uniform on the circle.
        assert abs(np.exp(1j * turns).mean()) < 0.01
        degrees = np.load(folder / f'ccvpe_{area}_orientation_test.npy')
        np.testing.assert_allclose(angles.wrap(turns - np.radians(degrees)), 0, atol=1e-9)
