# SPDX-License-Identifier: Apache-2.0
import pickle

import numpy as np
import pytest

from geoloc_core.errors import ConfigError, DataError
from geoloc_core.geometry import angles, se3, tiles
from geoloc_core.geometry.geodesy import Datum, EnuFrame
from tests.training.datasets import vigor_tree
from training.datasets import vigor_labels
from training.datasets.base import read_rgb, UnreadableError
from training.datasets.vigor import PROTOCOLS, Vigor

SPELLINGS = [
    {'folder': 'splits__corrected', 'suffix': '__corrected'},
    {'folder': 'splits_new', 'suffix': '__corrected'},
    {'folder': 'splits_new', 'suffix': ''},
    {'folder': 'splits', 'suffix': ''},
]


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return vigor_tree.write_all(tmp_path_factory.mktemp('vigor'))


# ---- splits ----


@pytest.mark.parametrize('spelling', SPELLINGS)
def test_every_spelling_of_the_label_files_is_found(tmp_path, root, spelling):
    vigor_tree.write_all(tmp_path, **spelling)
    for protocol, split in (('same-area aligned', 'train'), ('cross-area aligned', 'test')):
        here = Vigor(tmp_path, split, protocol=protocol)
        there = Vigor(root, split, protocol=protocol)
        assert here.keys == there.keys
        assert not here.missing()
        np.testing.assert_array_equal(here[2].T_map_base, there[2].T_map_base)


def test_train_and_validation_share_the_training_lists_and_test_is_apart(root):
    parts = {split: set(Vigor(root, split).keys) for split in Vigor.SPLITS}
    assert [len(parts[split]) for split in Vigor.SPLITS] == [16, 4, 12]
    assert not parts['train'] & parts['validation']
    assert not (parts['train'] | parts['validation']) & parts['test']


def test_validation_does_not_depend_on_order_or_on_the_choice_of_cities(root):
    labels = vigor_labels.read_labels(
        root / 'splits__corrected/Seattle/pano_label_balanced__corrected.txt', 'Seattle'
    )
    one = set(Vigor(root, 'validation', cities=['Seattle']).keys)
    assert one == {key for key in Vigor(root, 'validation').keys if key.startswith('Seattle')}
    assert len(labels) == 8


def test_cross_area_trains_and_tests_in_different_cities(root):
    def cities(split):
        return [s.sequence for s in Vigor(root, split, protocol='cross-area aligned')]

    assert set(cities('train')) == set(cities('validation')) == {'NewYork', 'Seattle'}
    # Published lists that count by order rely on this one.
    assert list(dict.fromkeys(cities('test'))) == ['SanFrancisco', 'Chicago']


# ---- positions ----


def test_a_label_south_and_east_of_the_middle_is_there(root):
    data = Vigor(root, 'test', cities=['Chicago'])
    sample = data[0]
    # Written with d_row = 90, d_col = -25: 90 px down, 25 px to the RIGHT of a 640 px tile.
    gsd = vigor_labels.GSD_640['Chicago']
    np.testing.assert_allclose(sample.T_map_base[:3, 3], [25 * gsd, -90 * gsd, 0], atol=1e-12)
    assert sample.patch.grid.gsd == pytest.approx(gsd * 640 / vigor_tree.TILE_SIDE)
    # Tile centre 320 of the publisher's corners is 39.5 of our 80 pixel centres.
    uv = sample.patch.grid.uv_from_xy(sample.T_map_base[:2, 3])
    np.testing.assert_allclose(uv, [(320 + 25) / 8 - 0.5, (320 + 90) / 8 - 0.5], atol=1e-9)
    assert sample.datum.lat_deg == pytest.approx(vigor_tree.CENTRES['Chicago'][0] + 0.01)
    assert sample.T_map_camera[2, 3] == 2.0


def test_all_label_sets_agree_with_gps_and_datum(root):
    for labels in ('corrected', 'gps'):
        for gsd in ('city', 'mercator'):
            data = Vigor(root, 'test', labels=labels, gsd=gsd)
            for index in range(len(data)):
                sample = data[index]
                part, row = data._place(index)
                xyz = EnuFrame(sample.datum).enu_from_geodetic(*part.latlon[row], 0.0)
                # Six decimals of a degree, and Mercator's sphere against the ellipsoid.
                np.testing.assert_allclose(sample.T_map_base[:2, 3], xyz[:2], atol=0.12)
                assert data.label_error_m(index) < 0.08


def test_semi_positives_show_the_place_off_centre(root):
    data = Vigor(root, 'train', semi_positives=True, cities=['Seattle'])
    sample = data[0]
    labels, row = data._place(0)
    assert len(sample.other_patches) == 3
    here = sample.T_map_base[:2, 3]
    for k, patch in enumerate(sample.other_patches, 1):
        d_row, d_col = labels.delta_px[row, k] / 8
        np.testing.assert_allclose(
            patch.grid.uv_from_xy(here), [40 - d_col - 0.5, 40 + d_row - 0.5], atol=1e-9
        )
        assert patch.grid.contains(here)
    # Where the names say the tiles are, they are.
    for k, patch in enumerate(sample.other_patches, 1):
        xyz = EnuFrame(sample.datum).enu_from_geodetic(*labels.tile_latlon[row, k], 0.0)
        np.testing.assert_allclose(patch.grid.center_xy, xyz[:2], atol=0.15)


def test_semi_positives_that_do_not_show_the_place_are_left_out(tmp_path):
    vigor_tree.write_city(tmp_path, 'Seattle', 'same_area_balanced_test', 1)
    path = tmp_path / 'splits__corrected/Seattle/same_area_balanced_test__corrected.txt'
    tokens = path.read_text().split()
    tokens[5] = '-331.0'
    path.write_text(' '.join(tokens))
    data = Vigor(tmp_path, 'test', cities=['Seattle'], semi_positives=True)
    assert len(data[0].other_patches) == 2
    assert len(data.files(0)) == 4


@pytest.mark.parametrize('lat', [37.8, 47.6])
def test_what_square_pixels_of_mercator_neglect(lat):
    """Curvature displaces the edge of a tile by less than a millimetre; the ellipsoid by 0.3 %."""
    lon, side = -122.3, 320
    x, y = tiles.pixel_from_lonlat(lon, lat, vigor_labels.ZOOM)
    du, dv = np.meshgrid([-side, 0.0, side], [-side, 0.0, side])
    lon_k, lat_k = tiles.lonlat_from_pixel(x + du, y + dv, vigor_labels.ZOOM)
    xy = EnuFrame(Datum(lat, lon)).enu_from_geodetic(lat_k, lon_k, 0.0)[..., :2]
    # The best-fitting map from pixels to metres that is linear: its own scale on each axis.
    A = np.stack([du.ravel(), dv.ravel()], axis=1)
    linear, *_ = np.linalg.lstsq(A, xy.reshape(-1, 2), rcond=None)
    assert np.abs(A @ linear - xy.reshape(-1, 2)).max() < 1e-3
    assert np.abs(linear[[0, 1], [1, 0]]).max() * side < 1e-3
    gsd = tiles.gsd(lat, vigor_labels.ZOOM)
    assert 5e-4 < np.abs(np.abs(np.diag(linear)) / gsd - 1).max() < 3.5e-3


# ---- orientation ----


def test_aligned_panoramas_face_north_untouched(root):
    data = Vigor(root, 'test')
    sample = data[1]
    assert se3.yaw_of(sample.T_map_base) == pytest.approx(np.pi / 2)
    np.testing.assert_array_equal(sample.view.image, read_rgb(data.files(1)[0]))
    # A column to the right of the middle looks east of north.
    ray = sample.T_map_camera[:3, :3] @ sample.view.camera.unproject([[20.0, 7.5]])[0]
    assert ray[0] > 0.5 and ray[1] > 0


@pytest.mark.parametrize(('name', 'bound'), [('+-45', 45.0), ('+-180', 180.0)])
def test_unknown_orientation_rolls_and_turns_alike(root, name, bound):
    aligned = Vigor(root, 'train')
    data = Vigor(root, 'train', protocol=f'same-area {name}', seed=3)
    turns = []
    for epoch in range(4):
        for index in range(len(data)):
            sample = data.sample(index, epoch)
            turn = float(angles.difference(se3.yaw_of(sample.T_map_base), np.pi / 2))
            columns = angles.pano_roll_from_turn(turn, 32)
            assert columns == pytest.approx(round(columns), abs=1e-9)
            np.testing.assert_array_equal(
                sample.view.image, np.roll(aligned[index].view.image, round(columns), axis=1)
            )
            turns.append(np.degrees(turn))
    assert np.abs(turns).max() <= bound + 360 / 32 / 2
    assert np.max(turns) > 0.6 * bound and np.min(turns) < -0.6 * bound


def test_draws_depend_on_seed_epoch_and_index_alone(root):
    one = Vigor(root, 'train', protocol='same-area +-180', seed=1)
    two = Vigor(root, 'train', protocol='same-area +-180', seed=1)
    other = Vigor(root, 'train', protocol='same-area +-180', seed=2)

    def yaws(data, epoch):
        return [se3.yaw_of(data.sample(i, epoch).T_map_base) for i in range(len(data))]

    two.sample(5, 0)
    assert yaws(one, 7) == yaws(two, 7)
    assert yaws(one, 7) != yaws(one, 8)
    assert yaws(one, 7) != yaws(other, 7)
    test = Vigor(root, 'test', protocol='same-area +-180')
    assert yaws(test, 0) == yaws(test, 9)


def test_the_prior_gives_nothing_away(root):
    for protocol in PROTOCOLS:
        data = Vigor(root, 'test', protocol=protocol, labels='corrected')
        assert data.protocol.name == protocol
        for sample in data:
            x, y, yaw = se3.planar(sample.prior.T_map_base)
            np.testing.assert_allclose([x, y, yaw], [0, 0, np.pi / 2], atol=1e-9)
            half = 160 * vigor_labels.GSD_640[sample.sequence]
            assert sample.prior.cov[0, 0] == pytest.approx(half**2 / 3, rel=1e-3)


def test_ccvpe_orientations_count_counter_clockwise_by_order(root, tmp_path):
    degrees = np.arange(12) * 11.25
    np.save(tmp_path / 'o.npy', degrees)
    options = {'protocol': 'same-area +-180', 'orientations': tmp_path / 'o.npy'}
    yaws = [se3.yaw_of(s.T_map_base) for s in Vigor(root, 'test', **options)]
    # 11.25 degrees are one of the 32 columns: nothing is lost to rounding.
    np.testing.assert_allclose(
        angles.wrap(np.array(yaws) - angles.yaw_from_ccvpe_vigor_deg(degrees)), 0, atol=1e-9
    )
    # 90 degrees counter-clockwise of north is west.
    np.testing.assert_allclose(abs(yaws[8]), np.pi, atol=1e-9)
    part = Vigor(root, 'test', cities=['Chicago'], **options)
    np.testing.assert_allclose([se3.yaw_of(s.T_map_base) for s in part], yaws[9:])


def test_slicematch_orientations_count_clockwise_by_name(root, tmp_path):
    for city in vigor_labels.CITIES:
        data = Vigor(root, 'test', cities=[city])
        names = [data.files(i)[0].name for i in range(len(data))]
        lines = [f'{name} {22.5 * i}' for i, name in enumerate(names)]
        # Order does not matter.
        (tmp_path / f'{city}_Orientations_Degrees.txt').write_text('\n'.join(lines[::-1]) + '\n')
    data = Vigor(root, 'test', protocol='same-area +-180', orientations=tmp_path)
    yaws = np.array([se3.yaw_of(s.T_map_base) for s in data])
    expected = angles.yaw_from_slicematch_deg(np.tile([0.0, 22.5, 45.0], 4))
    np.testing.assert_allclose(yaws, expected, atol=1e-9)


def test_orientations_that_do_not_fit_are_refused(root, tmp_path):
    np.save(tmp_path / 'o.npy', np.zeros(11))
    options = {'protocol': 'same-area +-180', 'orientations': tmp_path / 'o.npy'}
    with pytest.raises(DataError, match=r'each of the 12 test panoramas'):
        Vigor(root, 'test', **options)[0]
    with pytest.raises(ConfigError, match='unknown heading'):
        Vigor(root, 'test', orientations=tmp_path / 'o.npy')
    with pytest.raises(ConfigError, match='unknown heading'):
        Vigor(root, 'train', **options)
    (tmp_path / 'few.txt').write_text('somebody,1.0,2.0,.jpg 12.5\n')
    with pytest.raises(DataError, match=r'no orientation for 12 of 12'):
        Vigor(root, 'test', protocol='same-area +-180', orientations=tmp_path / 'few.txt')[0]
    (tmp_path / 'few.txt').write_text('a,1,2,.jpg 12.5\na,1,2,.jpg 13.5\n')
    with pytest.raises(DataError, match=r'few.txt, line 2: a second, different'):
        Vigor(root, 'test', protocol='same-area +-180', orientations=tmp_path / 'few.txt')[0]


# ---- masks, pickling ----


def test_masks_come_with_their_tile(tmp_path, caplog):
    import cv2

    vigor_tree.write_city(tmp_path, 'Seattle', 'same_area_balanced_test', 2)
    with pytest.raises(
        DataError, match=r'Seattle.point_prompt_mask: no such folder.*masks: false'
    ):
        Vigor(tmp_path, 'test', cities=['Seattle'], masks=True)
    folder = tmp_path / 'Seattle' / 'point_prompt_mask'
    folder.mkdir()
    tile = Vigor(tmp_path, 'test', cities=['Seattle']).files(0)[1].name
    path = folder / tile.replace('.png', '_mask.tif')
    side = vigor_tree.TILE_SIDE
    mask = np.arange(side * side, dtype=np.uint8).reshape(side, side) % 5
    assert cv2.imwrite(str(path), mask)
    data = Vigor(tmp_path, 'test', cities=['Seattle'], masks=True)
    np.testing.assert_array_equal(data[0].patch_classes, mask)
    assert data.files(0)[-1] == path
    # The second has none: zeros, which are told of once, whoever reads.
    copy = pickle.loads(pickle.dumps(data))
    for reader in (data, copy, data):
        empty = reader[1].patch_classes
        assert empty.shape == (side, side) and empty.dtype == np.uint8 and not empty.any()
    assert [record.getMessage().split(' (')[0] for record in caplog.records] == [
        '1 of 2 samples have no semantic mask'
    ]
    assert len(data.files(1)) == 2
    assert any('1 of 2 listed masks are absent' in sentence for sentence in data.missing())
    assert Vigor(tmp_path, 'test', cities=['Seattle'])[0].patch_classes is None
    # A file that is damaged, or gone since, is no empty mask.
    assert cv2.imwrite(str(path), mask[:40])
    with pytest.raises(DataError, match='one uint8 class per pixel'):
        data[0]
    path.unlink()
    with pytest.raises(UnreadableError, match=r'_mask\.tif'):
        data[0]


def test_a_reader_travels_to_workers(root):
    data = Vigor(root, 'train', protocol='same-area +-45')
    before = data[3]
    copy = pickle.loads(pickle.dumps(data))
    np.testing.assert_array_equal(copy[3].view.image, before.view.image)
    np.testing.assert_array_equal(copy[3].T_map_base, before.T_map_base)
