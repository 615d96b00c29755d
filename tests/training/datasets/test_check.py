# SPDX-License-Identifier: Apache-2.0
"""`geoloc data check` says what is wrong, where, and what to do."""

import cv2
import numpy as np
import pytest

from geoloc_core.errors import DataError
from geoloc_ros.cli.main import main
from tests.training.conftest import Tiny
from training.datasets import base, registry
from training.datasets.base import AbsentError
from training.datasets.check import _trouble_with, check_split, spread
from training.datasets.pictures import contact_sheet, draw_sample


@pytest.fixture
def tiny_registered(monkeypatch):
    """The command knows the tiny data set, and no other."""
    monkeypatch.setattr(registry, 'READERS', {'tiny': ('tiny', 'Tiny')})
    monkeypatch.setattr(registry, 'reader', lambda name: Tiny)


def test_spread_has_both_ends():
    assert spread(10, 3) == [0, 4, 9]
    assert spread(3, 10) == [0, 1, 2]
    assert spread(0, 5) == []


def test_a_whole_data_set_is_good(tiny):
    opened = []
    report = check_split(tiny, show=4, progress=lambda more, total: opened.append((more, total)))
    assert report.is_good and (report.samples, report.files, len(report.shown)) == (10, 10, 4)
    assert opened == [(1, 10)] * 10
    assert 'median 0.55 m' in report.label_summary() and 'beyond' not in report.label_summary()


def test_damage_is_found_and_counted(tiny, tiny_root):
    (tiny_root / '003.png').write_bytes(b'')
    (tiny_root / '000.png').write_bytes((tiny_root / '001.png').read_bytes()[:40])
    report = check_split(tiny, show=3)
    assert not report.is_good
    assert {path.name for path, _ in report.bad} == {'000.png', '003.png'}
    assert len(report.shown) == 2 and tiny.counts.read == 2


def test_a_far_label_is_counted(tiny, monkeypatch):
    monkeypatch.setattr(tiny, 'label_error_m', lambda index: 30.0 if index == 4 else None)
    assert 'max 30.00 m, 1 beyond 5 m' in check_split(tiny).label_summary()


def test_pose_is_drawn_where_it_is(tiny):
    """Green ink east of the patch's middle, the arrow turned to the left of east."""
    sample = tiny[8]
    picture = draw_sample(sample)
    patch = picture[22:, 480:960]
    r, g, b = np.moveaxis(patch.astype(int), -1, 0)
    v, u = np.nonzero((g > 180) & (r < 120) & (b < 140))
    scale = 320 / 20
    place = (sample.patch.grid.uv_from_xy((6.0, 1.0)) + 0.5) * scale - 0.5
    np.testing.assert_allclose([u.min(), v.max()], place + np.array([-6, 6]), atol=3)
    tip = place + 40 * np.array([np.cos(0.3), -np.sin(0.3)])
    assert np.hypot(u - tip[0], v - tip[1]).min() < 4
    assert contact_sheet([sample, tiny[1]]).shape[0] == 2 * (342 + 6)


@pytest.mark.usefixtures('tiny_registered')
def test_command_passes_a_whole_one(tiny_root, tmp_path, capsys):
    out = tmp_path / 'sheets'
    assert main(['data', 'check', str(tiny_root), '--out', str(out)]) == 0
    printed = capsys.readouterr().out
    assert 'train: 10 samples, 10 files opened, all readable' in printed
    assert 'labels against GPS' in printed
    assert cv2.imread(str(out / 'tiny_train.jpg')).shape[0] > 3000


@pytest.mark.usefixtures('tiny_registered')
def test_command_fails_on_a_torn_one(tiny_root, tmp_path, capsys):
    (tiny_root / '007.png').write_bytes(b'\x89PNG')
    assert main(['data', 'check', str(tiny_root), '--out', str(tmp_path), '--split', 'test']) == 1
    assert '007.png: cannot be read; expected a whole picture' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['--split', 'winter'], "no split 'winter'"),
        (['--set', 'colour=3'], 'does not take'),
        (['--set', 'nonsense'], 'expected NAME=VALUE'),
        (['--limit', '0'], 'one sample at least'),
    ],
)
@pytest.mark.usefixtures('tiny_registered')
def test_command_explains_wrong_arguments(tiny_root, capsys, arguments, words):
    assert main(['data', 'check', str(tiny_root), *arguments]) == 1
    printed = capsys.readouterr()
    assert words in printed.out + printed.err


@pytest.mark.usefixtures('tiny_registered')
def test_an_unknown_folder_is_told_from_its_neighbours(tiny_root, tmp_path, capsys):
    below = tiny_root / 'deep' / 'deeper'
    below.mkdir(parents=True)
    lonely = tmp_path / 'lonely' / 'a' / 'b' / 'c'
    lonely.mkdir(parents=True)
    for wrong, words in (
        (tmp_path, f'{tmp_path} is laid out like no data set'),
        (tmp_path, f'did you mean {tiny_root} (tiny)?'),
        (below, f'did you mean {tiny_root} (tiny)?'),
        (tiny_root / '001.png', 'is a file, not the folder of a data set'),
        (tiny_root / '001.png', f'did you mean {tiny_root} (tiny)?'),
        (lonely, '`geoloc data list` shows how each must lie on disk'),
        (tmp_path / 'nowhere', 'no such folder'),
    ):
        assert main(['data', 'check', str(wrong)]) == 1
        error = capsys.readouterr().err
        assert words in error and error.count('\n') == 1


@pytest.mark.usefixtures('tiny_registered')
def test_a_named_layout_one_level_off_is_told(tiny_root, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Tiny, 'keys', property(_no_keys))
    assert main(['data', 'check', str(tmp_path), '--layout', 'tiny']) == 1
    captured = capsys.readouterr()
    assert f'does not look like tiny; did you mean {tiny_root} (tiny)?' in captured.err
    assert 'no list' not in captured.out
    # At the right level the fault itself is shown, once for all splits that have it.
    assert main(['data', 'check', str(tiny_root)]) == 1
    assert 'train, test: cannot be opened: no list' in capsys.readouterr().out


@pytest.mark.usefixtures('tiny_registered')
def test_a_closed_folder_nearby_is_passed_over(tiny_root, tmp_path, capsys, monkeypatch):
    (tmp_path / 'closed').mkdir()
    recognises = Tiny.recognises

    def asks(root):
        if root.name == 'closed':
            raise PermissionError(13, 'Permission denied', str(root))
        return recognises(root)

    monkeypatch.setattr(Tiny, 'recognises', staticmethod(asks))
    assert main(['data', 'check', str(tmp_path)]) == 1
    assert f'did you mean {tiny_root} (tiny)?' in capsys.readouterr().err


def _no_keys(self):
    raise DataError('no list')


@pytest.mark.usefixtures('tiny_registered')
def test_summary_ends_the_report(tiny_root, tmp_path, capsys):
    assert main(['data', 'check', str(tiny_root), '--limit', '4', '--out', str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert 'train: 4 of 10 samples, 4 files opened' in printed
    assert printed.splitlines()[-1].startswith('good: train 10, test 10; 0:00:')
    (tiny_root / '000.png').unlink()
    (tiny_root / '000.png').write_bytes(b'')
    assert main(['data', 'check', str(tiny_root), '--split', 'test', '--out', str(tmp_path)]) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith('NOT GOOD: test 10 with faults')


def test_list_shows_trees_and_options(capsys):
    assert main(['data', 'list']) == 0
    printed = capsys.readouterr().out
    assert all(f'\n{name}   splits: ' in f'\n{printed}' for name in registry.READERS)
    assert main(['data', 'list', 'cvusa']) == 0
    printed = capsys.readouterr().out
    # Own options, those of the common base, and what they mean.
    assert 'zoom=19' in printed and 'std_xy_m=5.0' in printed
    assert 'zoom: Of the aerial pictures' in printed


def test_a_city_from_above_is_not_too_large(tmp_path, monkeypatch):
    """Cameras have bounds; one aerial picture of a whole city is beyond them, and whole."""
    monkeypatch.setattr(base, 'MAX_PIXELS', 100)
    path = tmp_path / 'city.png'
    cv2.imwrite(str(path), np.zeros((20, 30, 3), np.uint8))
    with pytest.raises(DataError, match='at most 100 pixels'):
        base.read_rgb(path)
    assert base.read_raw(path, max_pixels=600).shape == (20, 30, 3)
    assert _trouble_with(path) is None
    assert 'no such file' in _trouble_with(tmp_path / 'gone.png')[1]


@pytest.mark.usefixtures('tiny_registered')
@pytest.mark.parametrize(
    ('error', 'asked', 'code', 'words'),
    [
        (AbsentError('no list'), [], 0, 'test: not here: no list'),
        (AbsentError('no list'), ['--split', 'test'], 1, 'test: not here: no list'),
        (DataError('torn list'), [], 1, 'test: cannot be opened: torn list'),
    ],
)
def test_a_split_may_be_left_out_but_not_damaged(
    tiny_root, tmp_path, capsys, monkeypatch, error, asked, code, words
):
    everything = Tiny.keys.fget

    def keys(self):
        if self.split == 'test':
            raise error
        return everything(self)

    monkeypatch.setattr(Tiny, 'keys', property(keys))
    assert main(['data', 'check', str(tiny_root), '--out', str(tmp_path), *asked]) == code
    assert words in capsys.readouterr().out


@pytest.mark.usefixtures('tiny_registered')
def test_an_option_of_the_wrong_kind_is_explained(tiny_root, capsys, monkeypatch):
    def refuses(self, root, split, *, seed=0):
        raise TypeError('seed must be a number')

    monkeypatch.setattr(Tiny, '__init__', refuses)
    assert main(['data', 'check', str(tiny_root), '--set', 'seed=winter']) == 1
    assert '--set seed=winter: seed must be a number' in capsys.readouterr().err
