# SPDX-License-Identifier: Apache-2.0
"""Settings are checked, files are read safely, and a draw depends on its own setting alone."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from geoloc_core.errors import ConfigError
from geoloc_core.simulation.conditions.draws import draw_aerial, draw_ground
from geoloc_core.simulation.conditions.files import parse_conditions
from geoloc_core.simulation.conditions.lens import is_perfect
from geoloc_core.simulation.conditions.settings import (
    AerialConditions,
    Conditions,
    describe_conditions,
    GroundConditions,
    PRESETS,
)
from geoloc_core.simulation.render.appearance import Appearance, Light


def test_names_dictionaries_and_files_give_conditions(tmp_path):
    assert parse_conditions('none') == Conditions()
    assert parse_conditions(PRESETS['hard']) is PRESETS['hard']
    wanted = {'preset': 'easy', 'ground': {'rain': 1, 'exposure_ev': [-2, 2]}}
    parsed = parse_conditions(wanted)
    assert parsed.ground.rain == 1.0 and parsed.ground.exposure_ev == (-2.0, 2.0)
    assert replace(parsed.ground, rain=0.0, exposure_ev=(-0.5, 0.5)) == PRESETS['easy'].ground
    assert parsed.aerial == PRESETS['easy'].aerial
    file = tmp_path / 'mine.yaml'
    file.write_text('preset: easy\nground: {rain: 1, exposure_ev: [-2, 2]}\naerial:\n')
    assert parse_conditions(file) == parsed
    (tmp_path / 'empty.yaml').write_text('')
    assert parse_conditions(str(tmp_path / 'empty.yaml')) == Conditions()
    assert parse_conditions({'ground': {'iso': 400}}).ground.iso == (400.0, 400.0)


@pytest.mark.parametrize(
    ('value', 'words'),
    [
        ('harder', 'none, easy, hard'),
        ({'ground': {'rainn': 1.0}}, 'rainn.*known are exposure_ev, motion_blur_px'),
        ({'sky': {}}, 'unknown setting sky; known are preset, ground, aerial'),
        ({'preset': 'worst'}, "preset 'worst', expected one of none, easy, hard"),
        ({'ground': [1]}, 'ground must hold settings by name'),
        ({'ground': {'rain': 1.5}}, 'rain: expected a number in 0..1'),
        ({'ground': {'rain': True}}, 'rain: expected a number'),
        ({'ground': {'exposure_ev': [2, -2]}}, r'exposure_ev: .*got \[2, -2\]'),
        ({'ground': {'exposure_ev': [0, float('nan')]}}, 'exposure_ev: expected two numbers'),
        ({'ground': {'exposure_ev': [0, 1, 2]}}, 'exposure_ev: expected two numbers'),
        ({'ground': {'exposure_ev': '1'}}, 'exposure_ev: expected two numbers'),
        ({'ground': {'jpeg_quality': [0, 50]}}, 'jpeg_quality: .*5 <= low'),
        ({'aerial': {'shift_std_m': -1}}, 'shift_std_m: expected a number in 0..50 .m, one sigma'),
        ({'aerial': {'years': [0, 99]}}, 'years'),
    ],
)
def test_what_makes_no_sense_is_named(value, words):
    with pytest.raises(ConfigError, match=words):
        parse_conditions(value)


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('ground: {rain: 1', 'not a YAML file'),
        ('- 1\n- 2\n', 'expected settings by name, got list'),
        ('ground: !!python/object/apply:os.system [true]', 'not a YAML file'),
    ],
)
def test_damaged_files_are_named(tmp_path, text, words):
    file = tmp_path / 'bad.yaml'
    file.write_text(text)
    with pytest.raises(ConfigError, match=words) as error:
        parse_conditions(file)
    assert 'bad.yaml' in str(error.value)
    with pytest.raises(ConfigError, match='cannot be read'):
        parse_conditions(tmp_path / 'absent.yaml')


def test_every_setting_is_in_the_table():
    tables = describe_conditions().split('\n\n')
    for side, table in zip((GroundConditions, AerialConditions), tables, strict=False):
        lines = table.splitlines()
        for item in fields(side):
            row = next(line for line in lines if line.startswith(f'| `{item.name}`'))
            assert row.count('|') == 7 and item.metadata['text'] in row


def test_the_page_shows_the_table_as_it_is():
    """To renew it: print(describe_conditions()) below the page's first paragraphs."""
    page = Path(__file__).parents[3] / 'docs' / 'conditions.md'
    assert describe_conditions().strip() in page.read_text(encoding='utf-8')


def test_none_is_the_very_day_of_the_world():
    """The preset 'none' must not be a second opinion on what a plain picture is."""
    ground, aerial = draw_ground(Conditions(), 9, 4), draw_aerial(Conditions(), 9, 4)
    assert is_perfect(ground)
    assert ground.tilt_rpy == (0.0, 0.0, 0.0) and (ground.T_base_tilted == np.eye(4)).all()
    assert aerial.shift_m == (0.0, 0.0) and aerial.lean == (0.0, 0.0)
    for appearance in (ground.appearance, aerial.appearance):
        light = replace(appearance.light, haze_m=Light().haze_m)
        assert light.azimuth == pytest.approx(Light().azimuth, abs=1e-12)
        assert light.elevation == pytest.approx(Light().elevation, abs=1e-12)
        assert replace(light, azimuth=2.2, elevation=0.75) == Light()
        plain = replace(appearance, light=Light(), seed=0)
        assert plain == Appearance()


def test_a_draw_is_its_number_alone():
    hard = PRESETS['hard']
    forward = [draw_ground(hard, 3, i) for i in range(6)]
    backward = [draw_ground(hard, 3, i) for i in reversed(range(6))][::-1]
    assert forward == backward
    assert len({d.appearance.light.azimuth for d in forward}) == 6
    assert draw_ground(hard, 4, 0) != forward[0]
    assert draw_aerial(hard, 3, 2) == draw_aerial(hard, 3, 2)
    assert draw_aerial(hard, 3, 2) != draw_aerial(hard, 3, 1)


# Which fields of a day a setting may change.
GROUND = {
    'exposure_ev': {'exposure_ev'}, 'motion_blur_px': {'motion_blur_px'},
    'defocus_px': {'defocus_px'}, 'iso': {'iso'}, 'dirt': {'dirt'},
    'vignetting_ev': {'vignetting_ev'}, 'cars_per_km': {'cars_per_km'},
    'people_per_km': {'people_per_km'}, 'roll_deg': {'tilt_rpy'}, 'pitch_deg': {'tilt_rpy'},
    'overcast': {'appearance'}, 'sun_azimuth_deg': {'appearance'},
}  # fmt: skip
AERIAL = {
    'lean_m_per_m': {'lean'}, 'shift_std_m': {'shift_m'}, 'tint': {'tint'}, 'veil': {'veil'},
    'blur_px': {'blur_px'}, 'noise': {'noise'}, 'crowns': {'crowns'},
    'contrast': {'contrast'}, 'saturation': {'saturation'}, 'moved_cars': {'moved_cars'},
    'repainted': {'repainted'},
}  # fmt: skip


@pytest.mark.parametrize(
    ('side', 'name', 'expected'),
    [('ground', k, v) for k, v in GROUND.items()] + [('aerial', k, v) for k, v in AERIAL.items()],
)
def test_a_setting_changes_its_own_draw_only(side, name, expected):
    base = PRESETS['easy']
    value = {
        'roll_deg': (5, 9), 'pitch_deg': (5, 9), 'sun_azimuth_deg': (10, 20), 'overcast': (0.8, 1),
        'jpeg_quality': (20, 30), 'crowns': (2, 3), 'contrast': (2, 3), 'saturation': (2, 3),
        'dirt': (0.3, 0.4), 'veil': (0.5, 0.6), 'lean_m_per_m': (0.4, 0.9), 'moved_cars': 0.0,
        'shift_std_m': 9.0, 'tint': 0.4, 'repainted': 1.0,
    }.get(name, (3, 4))  # fmt: skip
    other = replace(base, **{side: replace(getattr(base, side), **{name: value})})
    draw = draw_ground if side == 'ground' else draw_aerial
    before, after = draw(base, 5, 1), draw(other, 5, 1)
    changed = {f.name for f in fields(before) if getattr(before, f.name) != getattr(after, f.name)}
    assert changed == expected


def test_draws_stay_in_their_range_and_fill_it():
    hard = PRESETS['hard']
    days = [draw_ground(hard, 0, i) for i in range(200)]
    low, high = hard.ground.exposure_ev
    values = np.array([d.exposure_ev for d in days])
    assert low <= values.min() < low + 0.3 and high - 0.3 < values.max() <= high
    nights = np.mean([d.appearance.night > 0 for d in days])
    assert abs(nights - hard.ground.night) < 0.1
    for day in days:
        rains = day.rain_mm_h > 0
        assert not (day.lens_drops and not rains)
        assert not (rains and day.appearance.wet < 0.5)
        roll = np.degrees(day.tilt_rpy[0])
        assert hard.ground.roll_deg[0] <= roll <= hard.ground.roll_deg[1]
    shifts = np.array([draw_aerial(hard, 0, i).shift_m for i in range(200)])
    np.testing.assert_allclose(shifts.std(axis=0), hard.aerial.shift_std_m, rtol=0.2)
    np.testing.assert_allclose(shifts.mean(axis=0), 0, atol=0.25)


def test_seasons_differ_and_meet_at_new_year():
    def at(month):
        ground = replace(GroundConditions(), month=(month, month), snow=1.0)
        return draw_ground(Conditions(ground=ground), 0).appearance

    january, july, october = at(0.5), at(6.5), at(9.5)
    assert january.snow > 0 and july.snow == 0 and october.snow == 0
    assert january.leaf < 0.2 and july.leaf == 1.0
    # Autumn: leaves turn red and yellow.
    assert october.vegetation_rgb[0] > 1.25 > 1.1 > october.vegetation_rgb[1]
    assert at(0).vegetation_rgb == at(12).vegetation_rgb == at(24).vegetation_rgb
