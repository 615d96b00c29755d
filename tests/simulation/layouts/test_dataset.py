# SPDX-License-Identifier: Apache-2.0
"""A rendered data set: killed and continued, by any number of workers, it has the same bytes."""

from dataclasses import replace
from hashlib import sha256
import json
from pathlib import Path
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip('embreex')
pytest.importorskip('numba')

from geoloc_core.errors import ConfigError, DataError
from geoloc_core.simulation.conditions.settings import PRESETS
from geoloc_core.simulation.layouts import files, manifest
from geoloc_core.simulation.layouts.dataset import DatasetOptions, render_dataset
from geoloc_core.simulation.layouts.plan import sequences_for, share_out
from geoloc_core.simulation.layouts.vigor import VigorWriter

HELSINKI = Path(__file__).parents[3] / 'config' / 'world' / 'helsinki.geojson'
ROOMS = DatasetOptions('7scenes', 5, size=(32, 24), cities=2, seed=3)


def tree(root):
    """Every file with its content."""
    return {
        path.relative_to(root).as_posix(): sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob('*'))
        if path.is_file()
    }


@pytest.fixture
def coarse(monkeypatch):
    monkeypatch.setattr(VigorWriter, 'AERIAL_GSD', 0.5)


@pytest.fixture(scope='module')
def rooms(tmp_path_factory):
    root = tmp_path_factory.mktemp('rooms') / 'whole'
    render_dataset(root, ROOMS, workers=1)
    return tree(root)


def test_manifest_says_how_it_was_made(tmp_path):
    root = tmp_path / 'data'
    told, done = [], []
    content = render_dataset(root, ROOMS, progress=done.append, say=told.append)
    stored = json.loads((root / 'world.json').read_text())
    assert stored == json.loads(json.dumps(content))
    assert stored['complete'] and stored['counts']['pictures'] == 5 == sum(done)
    assert stored['options']['seed'] == 3 and 'workers' not in stored['options']
    lines = ''.join(
        f'{digest}  {name}\n' for name, digest in tree(root).items() if name != 'world.json'
    )
    assert stored['tree_sha256'] == sha256(lines.encode()).hexdigest()
    assert not (root / files.PARTIAL).exists() and told
    # Once more: nothing to do, nothing changes.
    before = {path: path.stat().st_mtime_ns for path in root.rglob('*.png')}
    assert render_dataset(root, ROOMS)['tree_sha256'] == stored['tree_sha256']
    assert before == {path: path.stat().st_mtime_ns for path in root.rglob('*.png')}


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the library catches it to tidy up."""


@pytest.mark.parametrize('after', [0, 5, 14])
def test_interrupted_anywhere_it_ends_the_same(tmp_path, monkeypatch, rooms, after):
    root = tmp_path / 'data'
    real, count = files.write_bytes, []

    def dying(folder, path, data):
        # The manifest comes first; a process that dies leaves a piece of a file behind.
        count.append(path)
        if len(count) > after + 1:
            partial = folder / files.PARTIAL / 'half'
            partial.parent.mkdir(exist_ok=True, parents=True)
            partial.write_bytes(data[: len(data) // 2])
            raise Killed
        real(folder, path, data)

    monkeypatch.setattr(files, 'write_bytes', dying)
    with pytest.raises(Killed):
        render_dataset(root, ROOMS, workers=1)
    monkeypatch.setattr(files, 'write_bytes', real)
    assert not json.loads((root / 'world.json').read_text())['complete']
    for name, digest in tree(root).items():
        if name != 'world.json' and not name.startswith(files.PARTIAL):
            assert rooms[name] == digest, f'{name} is not whole'
    render_dataset(root, ROOMS, workers=2)
    assert tree(root) == rooms


def test_city_has_the_same_bytes_with_any_workers(tmp_path, coarse):
    options = DatasetOptions(
        'vigor', 4, (64, 32), cities=1, half_extent=60.0, blocks=1, conditions=PRESETS['easy']
    )
    one = render_dataset(tmp_path / 'one', options, workers=1)
    three = render_dataset(tmp_path / 'three', options, workers=3)
    assert one == three and tree(tmp_path / 'one') == tree(tmp_path / 'three')
    panoramas = list((tmp_path / 'one' / 'NewYork' / 'panorama').iterdir())
    assert len(panoramas) == 4 and one['bytes'] > 1000
    # A mask that is lost comes again, alone.
    lost = min((tmp_path / 'one' / 'NewYork' / 'point_prompt_mask').iterdir())
    before = {path: path.stat().st_mtime_ns for path in lost.parents[1].glob('satellite/*')}
    lost.unlink()
    assert render_dataset(tmp_path / 'one', options, workers=1) == one
    assert before == {path: path.stat().st_mtime_ns for path in before}


@pytest.mark.slow
@pytest.mark.usefixtures('coarse')
def test_a_real_town_names_its_map(tmp_path):
    options = DatasetOptions('vigor', 2, (64, 32), cities=1, osm=HELSINKI)
    made = render_dataset(tmp_path / 'town', options, workers=2)
    assert '© OpenStreetMap' in (tmp_path / 'town' / 'ATTRIBUTION.txt').read_text('utf-8')
    assert len(list((tmp_path / 'town' / 'NewYork' / 'panorama').iterdir())) == 2
    assert len(made['options']['osm']) == 64
    with pytest.raises(ConfigError, match='osm was'):
        render_dataset(tmp_path / 'town', replace(options, osm=None))


def test_an_osm_file_has_to_be_there_and_outdoors(tmp_path):
    with pytest.raises(ConfigError, match='indoors'):
        DatasetOptions('tum', 2, osm=HELSINKI)
    with pytest.raises(ConfigError, match='no such file'):
        DatasetOptions('vigor', 4, osm=tmp_path / 'nowhere.geojson')


def test_other_options_are_refused(tmp_path, rooms):
    root = tmp_path / 'data'
    manifest.claim(root, ROOMS.as_json())
    other = DatasetOptions('7scenes', 5, size=(32, 24), cities=2, seed=4)
    with pytest.raises(ConfigError, match='seed was 3, now 4'):
        render_dataset(root, other)
    hard = DatasetOptions('7scenes', 5, (32, 24), 2, 3, PRESETS['hard'])
    with pytest.raises(ConfigError, match='conditions was'):
        render_dataset(root, hard)


def test_a_folder_of_another_revision_is_refused(tmp_path):
    options = DatasetOptions('vigor', 4, (64, 32), cities=1)
    old = {name: value for name, value in options.as_json().items() if name != 'revision'}
    manifest.claim(tmp_path, old)
    with pytest.raises(ConfigError, match='revision was null, now 2; name another folder'):
        render_dataset(tmp_path, options)
    # Layouts whose files never changed go on with the folders they have.
    assert 'revision' not in ROOMS.as_json()


def test_a_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / 'photo.jpg').write_bytes(b'mine')
    with pytest.raises(ConfigError, match='not empty'):
        render_dataset(tmp_path, ROOMS)
    assert [path.name for path in tmp_path.iterdir()] == ['photo.jpg']


def test_a_damaged_manifest_is_named(tmp_path):
    (tmp_path / 'world.json').write_text('{"options": ')
    with pytest.raises(DataError, match=r'world\.json is damaged'):
        render_dataset(tmp_path, ROOMS)


@pytest.mark.parametrize(
    ('change', 'text'),
    [
        ({'layout': 'vigour'}, 'unknown layout'),
        ({'count': 0}, 'need one at least'),
        ({'cities': 9}, 'at most one city'),
        ({'size': (8, 4)}, 'too small'),
        ({'half_extent': 10.0}, 'at least'),
    ],
)
def test_impossible_options_are_refused(change, text):
    with pytest.raises(ConfigError, match=text):
        DatasetOptions(**{**ROOMS.__dict__, **change})


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    def full(self, data):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(Path, 'write_bytes', full)
    with pytest.raises(OSError, match=r'frame.*png|world\.json') as error:
        files.write_bytes(tmp_path, tmp_path / 'a' / 'frame.png', b'x')
    assert error.value.errno == 28 and not list((tmp_path / files.PARTIAL).iterdir())


def test_shares():
    assert share_out(10, 4) == [3, 3, 2, 2]
    assert sequences_for(2) == 2 and sequences_for(10) == 3 and sequences_for(1200) == 10


SCRIPT = """
import sys
from geoloc_core.simulation.layouts.dataset import DatasetOptions, render_dataset
render_dataset(sys.argv[1], DatasetOptions('7scenes', 24, size=(160, 120), cities=2), workers=2)
"""


@pytest.mark.slow
def test_kill_9_and_go_on(tmp_path):
    root = tmp_path / 'killed'
    command = [sys.executable, '-c', SCRIPT, str(root)]
    for wanted in (5, 23):
        process = subprocess.Popen(command)
        while process.poll() is None and len(list(root.rglob('*.png'))) < wanted:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not json.loads((root / 'world.json').read_text())['complete']
    subprocess.run(command, check=True)
    options = DatasetOptions('7scenes', 24, size=(160, 120), cities=2)
    render_dataset(tmp_path / 'whole', options, workers=1)
    assert tree(root) == tree(tmp_path / 'whole')
