# SPDX-License-Identifier: Apache-2.0
"""Whatever is given to the command: one line that names it and says what to do, no traceback."""

import shutil

import numpy as np
import pytest

pytest.importorskip('rosbags')

from geoloc_core.bags import messages, topics
from geoloc_core.bags.writer import BagWriter
from geoloc_ros.cli.main import build_parser, main
from tests.bags.conftest import START, write_drive
from tests.maps.rasters import place_around, textured, write_mbtiles, write_tif


@pytest.fixture(scope='module')
def things(tmp_path_factory):
    """A folder with what people get wrong: bags and maps, good, torn, empty, of another kind."""
    folder = tmp_path_factory.mktemp('things')
    write_drive(folder / 'good')
    with BagWriter(folder / 'blind') as bag:
        for i in range(5):
            bag.write(topics.ODOMETRY, messages.odometry_msg(START + i * 10**8, np.eye(4)))
    with BagWriter(folder / 'void'):
        pass
    shutil.copytree(folder / 'good', folder / 'cut')
    recording = next((folder / 'cut').glob('*.mcap'))
    recording.write_bytes(recording.read_bytes()[:-2000])
    noise = np.random.default_rng(0).integers(0, 256, 500, np.uint8).tobytes()
    for name in ('noise.bag', 'noise.mcap', 'noise.mbtiles', 'noise.tif'):
        (folder / name).write_bytes(noise)
    write_mbtiles(folder / 'none.mbtiles', {})
    write_tif(
        folder / 'map.tif',
        textured(200, 300),
        'EPSG:32632',
        place_around(49.0, 8.4, 'EPSG:32632', 0.5, 300, 200),
    )
    (folder / 'torn.tif').write_bytes((folder / 'map.tif').read_bytes()[:9000])
    (folder / 'empty').mkdir()
    (folder / 'torn.yaml').write_text('map: {path: [')
    (folder / 'misspelt.yaml').write_text("map: {pth: '/x.tif'}")
    return folder


CASES = [
    ('bag info nowhere', 'no bag at nowhere'),
    ('bag info noise.bag', 'cannot be read as a bag'),
    ('bag info noise.mcap', 'cannot be read as a bag'),
    ('bag info empty', 'cannot be read as a bag'),
    ('bag info cut', 'cut off can often be mended'),
    ('bag from-kitti empty out', 'expected <date>_drive_<number>_sync'),
    ('bag from-kitti empty out --gnss-cut 5', 'START:END'),
    ('bag refine-mount blind', 'blind does not say where'),
    ('evaluate nowhere', 'no bag at nowhere'),
    ('evaluate blind --out o', 'blind has no camera images'),
    ('evaluate void --out o', 'void has no camera images'),
    ('evaluate good --offset 1000 --out o', 'no camera images from number 1000'),
    ('evaluate good --map torn.tif --out o', 'torn'),
    ('evaluate good --map none.mbtiles --out o', 'has no tiles'),
    ('evaluate good --map map.tif --out map.tif', 'map.tif'),
    ('evaluate good --params torn.yaml', 'torn.yaml is not YAML'),
    ('evaluate good --params misspelt.yaml', "did you mean 'map.path'?"),
    ('evaluate good --params nowhere.yaml', 'nowhere.yaml cannot be read'),
    ('evaluate good --set map.path=[', 'the value is not YAML'),
    ('evaluate good --set map.path', 'expected NAME=VALUE'),
    ('evaluate good --set map.path=5', 'expected type string'),
    ('evaluate good --set datum.lat_deg=48 --out o', 'give both or none'),
    ('evaluate good --topic image=/odom', 'cannot be image'),
    ('evaluate good --topic image=/nothing', 'has no topic /nothing; it has: '),
    ('evaluate good --map map.tif --set model.path=empty --out o', 'model.json cannot be read'),
    ('replay nowhere', 'no bag at nowhere'),
    ('replay void', 'nothing in void can be played'),
    ('report empty', 'metrics.json is missing'),
    ('model info nowhere', 'a bundle is a folder, or'),
    ('model check empty', 'a bundle is a folder, or'),
    ('map info nowhere.tif', 'does not exist; expected a GeoTIFF'),
    ('map info noise.tif', 'is it torn'),
    ('map info noise.mbtiles', 'not a sound MBTiles archive'),
    ('map info none.mbtiles', 'has no tiles'),
    ('map info empty', 'expected files like'),
    ('map info map.tif --picture nowhere/x.png', 'cannot be written'),
    ('map check torn.tif', 'torn'),
    ('map prefetch map.tif -o nowhere/a.mbtiles', 'there is no folder'),
    ('map prefetch map.tif -o empty', 'empty cannot be written'),
    ('map prefetch map.tif -o a.mbtiles --bag blind', 'has no valid NavSatFix'),
    ('map from-drive nowhere --out a.tif', 'no bag at nowhere'),
    ('map from-drive blind --out a.tif', 'give the datum'),
    ('map from-drive good --out nowhere/a.tif', 'there is no folder'),
    ('map from-drive good --out a.tif --poses nowhere.tum', 'no trajectory file nowhere.tum'),
    ('demo --duration 5', 'at least 20 s'),
    ('demo --rate 0', 'expected a positive number'),
]


@pytest.mark.parametrize(('line', 'text'), CASES, ids=[line for line, _ in CASES])
def test_one_line_that_says_what_is_wrong(things, monkeypatch, capsys, line, text):
    monkeypatch.chdir(things)
    assert main(line.split()) == 1
    said = capsys.readouterr().err
    errors = [each for each in said.replace('\r', '\n').splitlines() if 'geoloc: ' in each]
    assert len(errors) == 1 and errors[0].startswith('geoloc: ') and text in errors[0], said
    assert 'Traceback' not in said and said.rstrip().endswith(errors[0]), said


def test_every_command_tells_what_it_is_for():
    """Also each of its arguments: a help text without words teaches nobody."""

    def walk(parser, name):
        assert parser.description or parser.epilog or parser._subparsers, name
        for action in parser._actions:
            if hasattr(action, '_name_parser_map'):
                for command, child in action.choices.items():
                    walk(child, f'{name} {command}')
            else:
                assert action.help, f'{name} {action.option_strings or action.dest}'

    walk(build_parser(), 'geoloc')
