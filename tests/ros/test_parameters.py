# SPDX-License-Identifier: Apache-2.0
"""The one list of parameters, and everything that is made from it."""

from dataclasses import fields, is_dataclass
import math
from pathlib import Path

import pytest
import yaml

from geoloc_core.errors import ConfigError, GeolocError
from geoloc_core.estimation.config import LocalizerConfig
from geoloc_ros import assembly, parameters
from geoloc_ros.parameter_ranges import ESTIMATOR_SETTINGS

ROOT = Path(__file__).resolve().parents[2]


def test_the_shipped_file_is_what_the_code_declares():
    text = (ROOT / 'config/geoloc.yaml').read_text(encoding='utf-8')
    assert text == parameters.yaml_text(), 'python -m geoloc_ros.parameters config/geoloc.yaml'


def test_the_readme_shows_the_same_table():
    path = ROOT / 'README.md'
    text = path.read_text(encoding='utf-8') if path.exists() else ''
    if '<!-- parameters -->' not in text:
        pytest.skip('README has no table of parameters yet')
    shown = text.split('<!-- parameters -->')[1].split('<!-- /parameters -->')[0]
    assert shown.strip() == parameters.markdown_table().strip(), 'python -m geoloc_ros.parameters'


def test_the_shipped_file_loads_to_the_defaults():
    loaded = parameters.load_params_file(ROOT / 'config/geoloc.yaml')
    expected = parameters.defaults()
    assert loaded.keys() == expected.keys()
    for name, value in expected.items():
        assert repr(loaded[name]) == repr(value), name


def test_every_parameter_says_what_it_does_and_accepts_its_default():
    for p in parameters.PARAMETERS:
        assert len(p.text) > 10, p.name
        assert p.type in parameters.TYPES
        assert repr(p.checked(p.default)) == repr(p.default), p.name
    names = [p.name for p in parameters.PARAMETERS]
    assert len(names) == len(set(names))


def test_every_number_has_a_range():
    for p in parameters.PARAMETERS:
        if p.type in ('integer', 'double', 'double_array'):
            assert p.low is not None and p.high is not None, p.name


def test_every_setting_of_the_estimator_can_be_set():
    config = LocalizerConfig()
    declared = {p.name for p in parameters.PARAMETERS}
    for part in fields(config):
        record = getattr(config, part.name)
        if is_dataclass(record):
            missing = {f'{part.name}.{f.name}' for f in fields(record)} - declared
            # The lever arm comes from /tf_static or frames.antenna_xyz.
            assert missing <= {'gnss.antenna_in_base'}


def test_every_range_is_of_a_setting_that_exists():
    for prefix, record, ranges in ESTIMATOR_SETTINGS:
        unknown = ranges.keys() - {f.name for f in fields(record)}
        assert not unknown, (prefix, unknown)


def test_parameters_reach_the_records():
    params = parameters.validated(
        {
            'smoother.lag_s': 7,
            'odometry.yaw_source': 'gyro',
            'gnss.gate_sigma': 4.5,
            'time.clock_jump_s': 9.0,
            'frames.antenna_xyz': [0.1, 0.2, 0.3],
            'matcher.gsd': 0.3,
            'matcher.search.max_m': 12.0,
            'source.ambiguity': 0.4,
        }
    )
    config = assembly.build_config(params)
    assert config.smoother.lag_s == 7.0
    assert config.odometry.yaw_source == 'gyro'
    assert config.gnss.gate_sigma == 4.5
    assert config.clock_jump_s == 9.0
    assert config.gnss.antenna_in_base == (0.1, 0.2, 0.3)
    source = assembly.build_source(params)
    assert source.matcher.config.gsd == 0.3
    assert source.matcher.config.search.max_m == 12.0
    assert source.config.ambiguity == 0.4


def test_defaults_of_the_parameters_are_those_of_the_records():
    assert repr(assembly.build_config(parameters.defaults())) == repr(LocalizerConfig())


@pytest.mark.parametrize(
    ('name', 'value', 'text'),
    [
        ('smoother.lag_s', -1.0, 'allowed is'),
        ('smoother.lag_s', math.nan, 'allowed is'),
        ('smoother.lag_s', 'long', 'expected type double'),
        ('output.path_length', 2.5, 'expected type integer'),
        ('image.transport', 'pigeon', "'raw', 'compressed'"),
        ('frames.camera_xyz', [1.0, 2.0], 'has 2 values, expected 3'),
        ('frames.camera_xyz', [1.0, 2.0, 1e6], 'allowed is'),
        ('output.publish_tf', 1, 'expected type bool'),
        ('no.such.thing', 1, "no parameter 'no.such.thing'"),
    ],
)
def test_bad_values_are_refused_by_name(name, value, text):
    with pytest.raises(ConfigError, match=text):
        parameters.validated({name: value})


def test_a_file_of_ones_own(tmp_path):
    path = tmp_path / 'robot.yaml'
    content = {
        '/**': {
            'ros__parameters': {
                'use_sim_time': True,
                'qos_overrides': {'image': {'depth': 2}},
                'smoother': {'lag_s': 5},
            }
        },
        'other_node': {'ros__parameters': {'nonsense': 1}},
        'geoloc': {'ros__parameters': {'map.path': 'here.tif'}},
    }
    path.write_text(yaml.safe_dump(content))
    loaded = parameters.load_params_file(path)
    assert loaded['smoother.lag_s'] == 5.0
    assert loaded['map.path'] == 'here.tif'


@pytest.mark.parametrize('text', ['a: [', '- 1', '/**: {ros__parameters: {map: {pth: x}}}'])
def test_bad_files_are_named(tmp_path, text):
    path = tmp_path / 'bad.yaml'
    path.write_text(text)
    with pytest.raises(ConfigError, match=r'bad\.yaml'):
        parameters.load_params_file(path)
    with pytest.raises(ConfigError, match=r'absent\.yaml'):
        parameters.load_params_file(tmp_path / 'absent.yaml')


@pytest.mark.parametrize(
    'values',
    [
        {'datum.lat_deg': 48.0},
        {'smoother.lag_s': 0.1},
        {'map.path': 'absent.tif'},
    ],
)
def test_settings_that_contradict_each_other(values):
    params = parameters.validated(values)
    with pytest.raises(GeolocError):
        assembly.build_localizer(params)


def test_half_a_mount_is_refused():
    params = parameters.validated({'frames.camera_xyz': [1.0, 0.0, 1.0]})
    with pytest.raises(ConfigError, match='give both'):
        assembly.mounts_from_parameters(params)
    assert assembly.mounts_from_parameters(parameters.defaults()) == {}
