# SPDX-License-Identifier: Apache-2.0
"""geoloc world bag: what it writes is what was driven, and what cannot be done is named."""

import json

import numpy as np
import pytest

from geoloc_core.bags import topics
from geoloc_core.bags.reader import read_bag
from geoloc_core.simulation import world as worlds
from geoloc_core.simulation.robots.drive import make_drive
from geoloc_ros.bags.run import read_inputs
from geoloc_ros.cli.main import main
from geoloc_ros.demo_drive import write_drive
from geoloc_ros.parameters import load_params_file

pytest.importorskip('embreex')


@pytest.fixture(scope='module')
def small():
    return worlds.make_world(5, half_extent=80.0, blocks=2, ground_gsd=0.2)


def test_bag_is_written_with_everything_and_read_back(tmp_path, monkeypatch, small, capsys):
    monkeypatch.setattr(worlds, 'make_world', lambda seed: small)
    options = '--seed 2 --duration 2 --rate 2 --robot delivery --depth --storage sqlite3'
    out = tmp_path / 'out'
    arguments = f'world bag --out {out} {options} --sensors easy --map-gsd 0.8'.split()
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert 'geoloc evaluate' in printed and '4 pictures' in printed
    drive = make_drive(small, seed=2, duration=2.0, rate_hz=2.0, outage=None, robot='delivery')
    with read_bag(out / 'drive') as reader:
        assert reader.topics[topics.DEPTH].count == 4
        inputs = read_inputs(reader)
        poses, known = inputs.truth.at(inputs.frame_stamps_ns)
        for stamp, pose in zip(inputs.frame_stamps_ns[known], poses[known], strict=True):
            expected = drive.trajectory.at((int(stamp) - drive.start_ns) * 1e-9)
            np.testing.assert_allclose(pose, expected, atol=2e-3)
        depth = next(iter(reader.messages([topics.DEPTH]))).message
        assert depth.encoding == '16UC1' and (depth.height, depth.width) == (300, 480)
        mm = depth.data.view(np.uint16)
        assert 0.3 < (mm > 0).mean() < 1.0 and mm[mm > 0].min() >= 600
    params = load_params_file(out / 'params.yaml')
    assert params['matcher.base_height_m'] == pytest.approx(0.15)
    facts = json.loads((out / 'drive.json').read_text())
    assert facts['map_shift_m'] == [0.0, 0.0] and facts['satellites_mean'] > 4


def test_into_a_hall_makes_a_survey_of_it_as_well(tmp_path, monkeypatch, capsys):
    city = worlds.make_world(0, half_extent=110.0, blocks=2, ground_gsd=0.5)
    monkeypatch.setattr(worlds, 'make_world', lambda seed: city)
    out = tmp_path / 'out'
    options = '--into-hall --duration 5 --rate 0.04 --map-gsd 1.0'
    assert main(f'world bag --out {out} {options}'.split()) == 0
    printed = capsys.readouterr().out
    assert 'geoloc place build' in printed and f'place_map={out / "hall.place"}' in printed
    for name in ('drive', 'survey'):
        with read_bag(out / name) as reader:
            inputs = read_inputs(reader)
            assert reader.topics[topics.DEPTH].count == len(inputs.frame_stamps_ns) >= 2
            # Tied to the Earth, as the map of the hall will be.
            assert inputs.truth_datum == city.datum
    params = load_params_file(out / 'params.yaml')
    assert params['depth.enabled'] and params['continuity.max_speed'] > 0
    assert params['matcher.base_height_m'] == pytest.approx(0.15)


def test_depth_in_metres_keeps_what_is_unknown_unknown(tmp_path, small):
    drive = make_drive(small, seed=2, duration=0.3, outage=None, depth=True)
    bag, _ = write_drive(tmp_path, drive, map_gsd=1.0, depth_encoding='32FC1')
    with read_bag(bag) as reader:
        depth = next(iter(reader.messages([topics.DEPTH]))).message
    metres = depth.data.view(np.float32)
    assert np.isnan(metres).any() and np.nanmin(metres) >= 0.6 and np.nanmax(metres) <= 20.0


@pytest.mark.parametrize(
    ('options', 'named'),
    [
        ('--duration -3', '--duration is -3'),
        ('--camera fisheye --depth', '--depth goes with --camera pinhole'),
        ('--outage 30 20', 'START before END'),
        ('--workers 0', '--workers is 0'),
        ('--seed -1', '--seed is -1'),
        ('--conditions terrible', 'terrible'),
        ('--into-hall --robot car', 'goes on pavements'),
        ('--into-hall --camera panorama', 'needs the pinhole camera'),
    ],
)
def test_impossible_options_are_named(tmp_path, options, named, capsys):
    assert main(['world', 'bag', '--out', str(tmp_path / 'o'), *options.split()]) == 1
    assert named in capsys.readouterr().err


def test_help_teaches(capsys):
    with pytest.raises(SystemExit):
        main(['world', 'bag', '--help'])
    printed = capsys.readouterr().out
    assert 'examples:' in printed and 'geoloc evaluate' in printed
