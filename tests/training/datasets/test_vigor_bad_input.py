# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a VIGOR on disk is named: the file, what was expected, what to do."""

import numpy as np
import pytest

from geoloc_core.errors import ConfigError, DataError
from tests.training.datasets import vigor_tree
from training.datasets import vigor_labels
from training.datasets.base import UnreadableError
from training.datasets.vigor import Vigor

STEM = 'same_area_balanced_test'
LABELS = f'splits__corrected/Seattle/{STEM}__corrected.txt'


@pytest.fixture
def root(tmp_path):
    vigor_tree.write_city(tmp_path, 'Seattle', STEM, 4)
    return tmp_path


def open_seattle(root, **options):
    return Vigor(root, 'test', cities=['Seattle'], **options)


def change_line(root, number, change):
    path = root / LABELS
    lines = path.read_text().splitlines()
    lines[number - 1] = change(lines[number - 1])
    path.write_text('\n'.join(lines) + '\n')


def test_no_folder_and_no_such_options(tmp_path, root):
    with pytest.raises(DataError, match=r'nowhere: no such folder.*\n.*panorama'):
        Vigor(tmp_path / 'nowhere', 'train')
    with pytest.raises(DataError, match="no split 'testing'"):
        Vigor(root, 'testing')
    for option in ({'protocol': 'same-area'}, {'labels': 'best'}, {'gsd': 0.114}):
        with pytest.raises(ConfigError, match='choose one of'):
            Vigor(root, 'test', **option)
    with pytest.raises(ConfigError, match='no selection'):
        Vigor(root, 'test', protocol='cross-area aligned', cities=['Seattle'])


def test_recognises_whole_and_partial_trees(root, tmp_path_factory):
    assert Vigor.recognises(root)
    empty = tmp_path_factory.mktemp('other')
    assert not Vigor.recognises(empty)
    (empty / 'Chicago' / 'panorama').mkdir(parents=True)
    assert Vigor.recognises(empty)


def test_absent_label_file_names_every_place_looked_in(root):
    (root / 'NewYork' / 'panorama').mkdir(parents=True)
    with pytest.raises(DataError, match='no corrected labels of NewYork') as error:
        len(Vigor(root, 'test'))
    for folder in ('splits', 'splits_new', 'splits__corrected'):
        for suffix in ('', '__corrected'):
            assert f'{folder}/NewYork/{STEM}{suffix}.txt' in str(error.value)
    missing = Vigor(root, 'test').missing()
    assert sum('no corrected labels of NewYork' in text for text in missing) == 1


def test_cities_of_which_there_is_no_trace_are_left_out_and_told(root):
    data = Vigor(root, 'test')
    assert data.cities == ('Seattle',) and len(data) == 4
    assert data.protocol.name == 'same-area aligned (Seattle only)'
    missing = data.missing()
    assert [text.split(':')[0] for text in missing] == ['NewYork', 'SanFrancisco', 'Chicago']
    # Who asks for a city by name must have it.
    with pytest.raises(DataError, match='no corrected labels of Chicago'):
        len(Vigor(root, 'test', cities=['Seattle', 'Chicago']))
    assert not open_seattle(root).missing()


def test_label_outside_its_tile(root):
    def far(line):
        tokens = line.split()
        tokens[2] = '321.0'
        return ' '.join(tokens)

    change_line(root, 3, far)
    with pytest.raises(DataError, match=r'corrected\.txt, line 3: .*outside its tile.*320 px'):
        open_seattle(root)[0]


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda line: line.rsplit(' ', 1)[0], r'line 2: 12 tokens; expected 13'),
        (lambda line: line.replace(' 50.0 ', ' fifty '), r'line 2: cannot be read: Seid0001'),
        (lambda line: line.replace(' 50.0 ', ' nan '), r'line 2: cannot be read: Seid0001'),
        (lambda line: line.replace(',.jpg', '.jpg'), r'line 2: cannot be read'),
        (lambda line: line.replace('satellite_47', 'satellite_470'), r'line 2: cannot be read'),
    ],
)
def test_damaged_line(root, change, words):
    change_line(root, 2, change)
    with pytest.raises(DataError, match=words):
        open_seattle(root)[0]


def test_a_label_file_reads_nothing_outside_of_the_data_set(root):
    change_line(root, 2, lambda line: line.replace(' satellite_', ' ../../satellite_', 1))
    with pytest.raises(DataError, match=r'outside of the data set'):
        open_seattle(root)[0]


def test_binary_or_empty_label_file(root):
    (root / LABELS).write_bytes(b'\x89PNG\r\n\xff\xfe')
    with pytest.raises(DataError, match='cannot be read as text'):
        open_seattle(root)[0]
    (root / LABELS).write_text('\n')
    with pytest.raises(DataError, match='no labels; expected a panorama'):
        open_seattle(root)[0]
    # A city may be without in a small set of one's own; with another it is told.
    vigor_tree.write_city(root, 'Chicago', STEM, 2)
    data = Vigor(root, 'test', cities=['Seattle', 'Chicago'])
    assert len(data) == 2 and data[1].sequence == 'Chicago'
    (text,) = data.missing()
    assert text.startswith('Seattle:') and 'is empty' in text


def test_windows_line_ends_and_blank_lines_do_no_harm(root):
    before = open_seattle(root)[3]
    path = root / LABELS
    path.write_bytes(path.read_bytes().replace(b'\n', b'\r\n') + b'\r\n')
    after = open_seattle(root)
    assert len(after) == 4
    np.testing.assert_array_equal(after[3].T_map_base, before.T_map_base)


def test_one_panorama_twice(root):
    first = (root / LABELS).read_text().splitlines()[0]
    change_line(root, 4, lambda line: first)
    with pytest.raises(DataError, match=r'line 4: panorama Seid0000.* already on line 1'):
        open_seattle(root)[0]


def test_one_id_at_two_places(root):
    change_line(root, 4, lambda line: line.replace('Seid0003', 'Seid0000'))
    with pytest.raises(DataError, match='two panoramas are called Seattle_Seid0000'):
        open_seattle(root)[0]


def test_training_never_sees_the_test(root):
    vigor_tree.write_city(root, 'Seattle', 'same_area_balanced_train', 2, first=3)
    for split in ('train', 'validation'):
        with pytest.raises(DataError, match=r'share 1 panoramas, e\.g\. Seid0003.*see the test'):
            len(Vigor(root, split, cities=['Seattle']))
    vigor_tree.write_city(root, 'Seattle', 'same_area_balanced_train', 2, first=4)
    assert len(Vigor(root, 'train', cities=['Seattle'])) == 2


def test_two_files_claim_to_be_the_labels(root):
    other = root / 'splits_new' / 'Seattle' / f'{STEM}__corrected.txt'
    other.parent.mkdir(parents=True)
    other.write_text((root / LABELS).read_text())
    assert len(open_seattle(root)) == 4
    other.write_text((root / LABELS).read_text().replace(' 50.0 ', ' 51.0 '))
    with pytest.raises(DataError, match=r'two files claim.*differ.*splits_new'):
        len(open_seattle(root))


def test_half_downloaded_city(root):
    folder = root / 'Seattle' / 'panorama'
    gone = sorted(folder.iterdir())[:2]
    for path in gone:
        path.unlink()
    data = open_seattle(root)
    (text,) = data.missing()
    assert 'Seattle: 2 of 4 listed panoramas are absent' in text
    assert str(folder) in text and gone[0].name in text
    read = list(data)
    assert len(read) == 2 and data.counts.read == 2
    assert {path for path, _ in data.counts.unreadable} == set(gone)


def test_city_without_pictures(root):
    for path in (root / 'Seattle' / 'satellite').iterdir():
        path.unlink()
    (text,) = open_seattle(root).missing()
    assert '4 of 4 listed tiles are absent: nothing lies in' in text and 'satellite' in text


def test_tiles_of_another_version(root):
    for path in (root / 'Seattle' / 'satellite').iterdir():
        path.rename(path.with_name(path.name.replace('satellite_47', 'satellite_48')))
    (text,) = open_seattle(root).missing()
    assert 'none of those listed' in text and 'different versions' in text


def test_old_tiles_in_jpeg(root):
    for path in (root / 'Seattle' / 'satellite').iterdir():
        path.rename(path.with_suffix('.jpg'))
    (text,) = open_seattle(root).missing()
    assert 'as .jpg' in text and 'older' in text and 'name .png' in text


def test_damaged_picture_is_named_and_never_invented(root):
    data = open_seattle(root)
    pano, tile = data.files(1)
    pano.write_bytes(pano.read_bytes()[:50])
    with pytest.raises(UnreadableError) as error:
        data[1]
    assert str(pano) in str(error.value)
    tile.write_bytes(b'')
    with pytest.raises(UnreadableError):
        data[1]


def test_pictures_of_impossible_shape(root):
    data = open_seattle(root)
    pano, tile = data.files(0)
    vigor_tree._write(root / 'wide.png', vigor_tree.picture(16, 40, 0))
    good = pano.read_bytes()
    pano.write_bytes((root / 'wide.png').read_bytes())
    with pytest.raises(DataError, match=r'40 x 16; expected a whole panorama'):
        data[0]
    pano.write_bytes(good)
    tile.write_bytes((root / 'wide.png').read_bytes())
    with pytest.raises(DataError, match='expected a square tile'):
        data[0]


# ---- the two label sets under one name ----


def many_labels(scale, count=400, swap=False):
    """Labels of many panoramas whose offsets are `scale` times those of the GPS tags."""
    rng = np.random.default_rng(0)
    lines = []
    for number in range(count):
        d_row, d_col = rng.uniform(-140, 140, 2)
        _, line, _ = vigor_tree.label('Seattle', number, d_row, d_col)
        tokens = line.split()
        for k in (2, 3):
            tokens[k] = f'{round(float(tokens[k]) * scale)}.0'
        if swap:
            tokens[2], tokens[3] = tokens[3], tokens[2]
        lines.append(' '.join(tokens))
    return '\n'.join(lines) + '\n'


def test_original_labels_under_a_name_of_corrected_ones(root):
    path = root / LABELS
    original = vigor_labels.GSD_640['Seattle'] / vigor_labels.ORIGINAL_GSD
    path.write_text(many_labels(original))
    with pytest.raises(DataError, match=r"holds the original labels.*labels='original'"):
        len(open_seattle(root))
    plain = root / 'splits' / 'Seattle' / f'{STEM}.txt'
    plain.parent.mkdir(parents=True)
    path.rename(plain)
    assert len(open_seattle(root, labels='original')) == 400
    assert len(open_seattle(root, labels='gps')) == 400
    plain.write_text(many_labels(1.0))
    assert len(open_seattle(root)) == 400
    with pytest.raises(DataError, match='holds the corrected labels'):
        len(open_seattle(root, labels='original'))


def test_rows_and_columns_swapped(root):
    (root / LABELS).write_text(many_labels(1.0, swap=True))
    with pytest.raises(DataError, match='rows and columns swapped'):
        len(open_seattle(root))
