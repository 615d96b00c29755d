# SPDX-License-Identifier: Apache-2.0
"""CVUSA and CVACT: round trip through the world's writers, the compass rose, and bad input."""

import pickle
import shutil

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from geoloc_core.errors import ConfigError, DataError
from geoloc_core.geometry import se3
from geoloc_core.simulation.layouts.cvact import CvactWriter
from geoloc_core.simulation.layouts.cvusa import CvusaWriter
from tests.training.datasets.compass import assert_compass, PLACES, write_compass
from training.datasets.base import UnreadableError
from training.datasets.pairs import Cvact, Cvusa
from training.datasets.sample import LabelKind

CASES = {'cvusa': (CvusaWriter, Cvusa, (616, 112)), 'cvact': (CvactWriter, Cvact, (384, 192))}


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    """name -> (root, rendered shots)."""
    made = {}
    for name, (writer, _, size) in CASES.items():
        root = tmp_path_factory.mktemp(name)
        made[name] = root, write_compass(writer(root), size=size)
    return made


@pytest.fixture
def copies(written, tmp_path):
    """A function that gives a copy of a written data set, to be damaged."""

    def copy(name):
        root = tmp_path / name
        shutil.copytree(written[name][0], root)
        return root

    return copy


# ---- round trip ----


@pytest.mark.parametrize('name', CASES)
@pytest.mark.parametrize('protocol', ['aligned', '+-180'])
def test_compass_rose(written, name, protocol):
    root, _ = written[name]
    writer, reader, _ = CASES[name]
    for split in reader.SPLITS if protocol == 'aligned' else ['train']:
        data = reader(root, split, protocol=protocol, seed=5)
        assert len(data) == len(PLACES) and not data.missing()
        for sample in data:
            assert_compass(sample, datum=writer.datum(0), min_visible=3)
            assert sample.label is LabelKind.GNSS and sample.cov[0, 0] == 25.0
            assert sample.prior is None and data.protocol is None


@pytest.mark.parametrize('name', CASES)
def test_places_come_back(written, name):
    root, shots = written[name]
    reader = CASES[name][1]
    for split in reader.SPLITS:
        mine = [shot for shot in shots if shot.split == split]
        for shot, sample in zip(mine, reader(root, split), strict=True):
            lat, lon, _ = shot.frame.geodetic_from_enu(shot.T_map_base[:3, 3])
            # Ten decimals of a degree, or UTM in float64: a hundredth of a millimetre.
            assert sample.datum.lat_deg == pytest.approx(lat, abs=1e-9)
            assert sample.datum.lon_deg == pytest.approx(lon, abs=1e-9)
            np.testing.assert_allclose(sample.T_map_base[:3, 3], 0, atol=1e-4)
            assert se3.yaw_of(sample.T_map_base) == pytest.approx(np.pi / 2)
            assert sample.view.camera == shot.camera


@pytest.mark.parametrize('name', CASES)
def test_same_places_give_the_same_bytes(written, name, tmp_path):
    root, shots = written[name]
    writer = CASES[name][0](tmp_path)
    writer.begin([shot.place for shot in shots])
    writer.finish()
    lists = [path for path in tmp_path.rglob('*') if path.is_file()]
    assert lists
    for path in lists:
        assert path.read_bytes() == (root / path.relative_to(tmp_path)).read_bytes(), path


def test_turned_test_panoramas_are_turned_once_and_for_all(written):
    root, _ = written['cvact']
    data = Cvact(root, 'test', protocol='+-180', seed=1)
    again = pickle.loads(pickle.dumps(data))
    yaws = [se3.yaw_of(sample.T_map_base) for sample in data]
    assert np.ptp(yaws) > 0.5
    assert yaws == [se3.yaw_of(again.sample(i, 3).T_map_base) for i in range(len(again))]
    train = Cvact(root, 'train', protocol='+-180', seed=1)
    assert se3.yaw_of(train.sample(0, 0).T_map_base) != se3.yaw_of(train.sample(0, 1).T_map_base)


# ---- what CVUSA does and does not know ----


def test_cvusa_without_locations_has_no_datum(copies):
    root = copies('cvusa')
    shutil.rmtree(root / 'split_locations')
    sample = Cvusa(root, 'validation')[0]
    assert sample.datum is None
    np.testing.assert_array_equal(sample.T_map_base[:2, 3], 0)
    # Web Mercator's zoom 19 in the middle of the USA.
    assert sample.patch.grid.gsd == pytest.approx(0.2337, abs=1e-3)


def test_cvusa_panorama_apart_from_the_middle(copies):
    root = copies('cvusa')
    path = root / 'split_locations' / 'all.csv'
    rows = [line.split(',') for line in path.read_text().splitlines()]
    # The panorama stands 0.0001 degrees further north: 11.1 m.
    rows[0][2] = f'{float(rows[0][2]) + 1e-4:.10f}'
    path.write_text('\n'.join(map(','.join, rows)))
    sample = Cvusa(root, 'train')[0]
    np.testing.assert_allclose(sample.T_map_base[:2, 3], [0, 11.1], atol=0.02)
    rows[0][3] = f'{float(rows[0][3]) + 0.01:.10f}'
    path.write_text('\n'.join(map(','.join, rows)))
    with pytest.raises(DataError, match='not a pair'):
        Cvusa(root, 'train')[0]


def test_cvusa_classes_and_other_zooms(copies):
    root = copies('cvusa')
    data = Cvusa(root, 'validation', classes=True, protocol='+-180')
    sample = data[0]
    assert sample.view_classes.shape == sample.view.image.shape[:2]
    with pytest.raises(ConfigError, match='zoom 17'):
        Cvusa(root, 'validation', zoom=17)
    other = Cvusa(root, 'validation', zoom=20)
    assert any('nothing lies in' in text and '/20' in text for text in other.missing())
    shutil.copytree(root / 'bingmap' / '19', root / 'bingmap' / '20')
    assert other[0].patch.grid.gsd == pytest.approx(sample.patch.grid.gsd / 2)


def test_cvusa_in_its_own_subfolder(written, tmp_path):
    shutil.copytree(written['cvusa'][0], tmp_path / 'CVPR_subset')
    assert Cvusa.recognises(tmp_path) and not Cvact.recognises(tmp_path)
    assert len(Cvusa(tmp_path, 'train')) == len(PLACES)


# ---- bad input ----


@pytest.mark.parametrize('name', CASES)
def test_absent_pictures_are_named_and_counted(copies, name):
    root = copies(name)
    data = CASES[name][1](root, 'validation')
    panorama, tile = data.files(1)
    tile.unlink()
    panorama.write_bytes(panorama.read_bytes()[:200])
    (text,) = data.missing()
    assert '1 of 4 listed aerial pictures are absent' in text and tile.name in text
    with pytest.raises(UnreadableError):
        data[1]
    assert len(list(data)) == 3


@pytest.mark.parametrize('name', CASES)
def test_no_lists_no_folder_no_option(copies, name, tmp_path):
    root, reader = copies(name), CASES[name][1]
    assert reader.recognises(root)
    with pytest.raises(DataError, match='no such folder'):
        reader(tmp_path / 'none', 'train')
    with pytest.raises(DataError, match='no split'):
        reader(root, 'everything')
    with pytest.raises(ConfigError, match='protocol'):
        reader(root, 'train', protocol='+-45')
    for path in (root / 'ACT_data.mat', root / 'splits' / 'train-19zl.csv'):
        path.unlink(missing_ok=True)
    with pytest.raises(DataError, match='absent'):
        reader(root, 'train')[0]
    assert len(reader(root, 'train').missing()) == 1


def test_damaged_cvusa_lists(copies):
    path = copies('cvusa') / 'splits' / 'train-19zl.csv'
    root, good = path.parents[1], path.read_text()
    path.write_text(good + good.splitlines()[1] + '\n')
    with pytest.raises(DataError, match=r'train-19zl\.csv, line 5: 0000002 is listed twice'):
        len(Cvusa(root, 'train'))
    path.write_text(good.replace('bingmap/19/0000003.jpg,', ''))
    with pytest.raises(DataError, match=r'line 3: .*expected bingmap'):
        len(Cvusa(root, 'train'))
    path.write_text(good.replace('bingmap/19/0000003', '../../0000003'))
    with pytest.raises(DataError, match='outside of the data set'):
        len(Cvusa(root, 'train'))
    path.write_text('')
    with pytest.raises(DataError, match='lists no pairs'):
        len(Cvusa(root, 'train'))
    path.write_text(good.replace('0000001', '0000099'))
    with pytest.raises(DataError, match=r'all\.csv has 8 lines, none for 0000099'):
        Cvusa(root, 'train')[0]


def test_panoramas_of_another_shape(copies):
    for name, shape in (('cvusa', '1232 x 224'), ('cvact', 'twice as wide')):
        data = CASES[name][1](copies(name), 'train')
        panorama, tile = data.files(0)
        panorama.write_bytes(tile.read_bytes())
        with pytest.raises(DataError, match=shape):
            data[0]


def test_damaged_cvact_list(copies):
    path = copies('cvact') / 'ACT_data.mat'
    root = path.parent
    good = {k: v for k, v in loadmat(path).items() if not k.startswith('__')}

    def written_with(**changes):
        savemat(path, {**good, **changes})
        return Cvact(root, 'train')

    swapped = written_with(utm=good['utm'][:, ::-1])
    assert swapped[0].datum == written_with()[0].datum
    with pytest.raises(DataError, match='expected an easting'):
        written_with(utm=good['utm'] / 1000)[0]
    with pytest.raises(DataError, match='counts from 1 to 12'):
        len(written_with(trainSet={'trainInd': np.array([[1], [13]])}))
    with pytest.raises(DataError, match='twice'):
        len(written_with(trainSet={'trainInd': np.array([[1], [1]])}))
    with pytest.raises(DataError, match='lists no pairs'):
        len(written_with(trainSet={'trainInd': np.zeros((0, 1))}))
    with pytest.raises(DataError, match=r'cannot be read .*trainSet\.trainInd'):
        len(written_with(trainSet=np.zeros(3)))
    path.write_bytes(b'not a matlab file')
    with pytest.raises(DataError, match='cannot be read'):
        len(Cvact(root, 'train'))
