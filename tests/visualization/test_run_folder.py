# SPDX-License-Identifier: Apache-2.0
"""Reading an evaluation's folder."""

import json
import shutil

import numpy as np
import pytest

from geoloc_core.errors import ConfigError
from geoloc_core.visualization.run_folder import read_run, Trajectory


@pytest.fixture
def copy(fake_run, tmp_path):
    return shutil.copytree(fake_run, tmp_path / 'run', ignore=shutil.ignore_patterns('*.jpg'))


def test_reads_everything(fake_run):
    run = read_run(fake_run)
    assert len(run.stamps_ns) == 600
    assert set(run.trajectories) == {'truth', 'geoloc', 'gnss', 'odometry'}
    assert run.map_bounds == (-145.0, -115.0, 185.0, 95.0)
    assert np.isnan(run.numbers['x'][:5]).all() and np.isfinite(run.numbers['truth_x']).all()
    assert set(run.pictures[24]) == {'match', 'view'}


def test_outage_is_found_in_the_fixes(fake_run):
    ((start, end),) = read_run(fake_run).outages
    seconds = read_run(fake_run).seconds([start, end])
    np.testing.assert_allclose(seconds, [20.0, 40.0])


def test_recorded_outages_win(copy):
    metrics = json.loads((copy / 'metrics.json').read_text())
    stamp = int(read_run(copy).stamps_ns[0])
    metrics['outages_ns'] = [[stamp, stamp + 10**9]]
    (copy / 'metrics.json').write_text(json.dumps(metrics))
    assert read_run(copy).outages == [(stamp, stamp + 10**9)]


def test_normalised_error_against_the_matrix_form(fake_run):
    run = read_run(fake_run)
    i = 300
    away = np.array(
        [
            run.numbers['x'][i] - run.numbers['truth_x'][i],
            run.numbers['y'][i] - run.numbers['truth_y'][i],
        ]
    )
    assert run.mahalanobis_squared[i] == pytest.approx(away @ np.linalg.inv(run.cov_xy[i]) @ away)
    assert run.major_std[i] ** 2 == pytest.approx(np.linalg.eigvalsh(run.cov_xy[i])[1])


def test_error_is_taken_at_the_own_stamps():
    truth = Trajectory(np.array([0, 10]) * 10**9, np.array([[0.0, 0.0], [10.0, 20.0]]))
    other = Trajectory(np.array([5, 11]) * 10**9, np.array([[5.0, 13.0], [0.0, 0.0]]))
    np.testing.assert_allclose(other.error_against(truth), [3.0, np.nan])


def test_optional_files_may_be_absent(copy):
    for file in copy.iterdir():
        if file.name not in ('frames.csv', 'metrics.json'):
            shutil.rmtree(file) if file.is_dir() else file.unlink()
    run = read_run(copy)
    assert run.map_image is None and not run.trajectories and not run.pictures


@pytest.mark.parametrize(
    ('name', 'content', 'word'),
    [
        ('frames.csv', None, 'missing'),
        ('frames.csv', 'stamp_ns,status\n', 'lacks the column'),
        ('metrics.json', None, 'missing'),
        ('metrics.json', '[1]', 'object'),
        ('metrics.json', '{', 'not JSON'),
        ('trajectory_gnss.tum', '1.0 two', 'TUM'),
    ],
)
def test_damage_is_named(copy, name, content, word):
    (copy / name).unlink()
    if content is not None:
        (copy / name).write_text(content)
    with pytest.raises(ConfigError, match=word):
        read_run(copy)


def test_no_frames_is_said(copy):
    header = (copy / 'frames.csv').read_text().splitlines()[0]
    (copy / 'frames.csv').write_text(header + '\n')
    with pytest.raises(ConfigError, match='no frame'):
        read_run(copy)


def test_empty_bounds_are_refused(fake_run, tmp_path):
    copy = shutil.copytree(fake_run, tmp_path / 'run')
    (copy / 'map.json').write_text('{"bounds": [1, 2, 1, 3]}')
    with pytest.raises(ConfigError, match='bounds'):
        read_run(copy)
