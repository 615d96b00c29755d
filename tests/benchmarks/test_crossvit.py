# SPDX-License-Identifier: Apache-2.0
"""The benchmark of descriptors: its runs are ones that can be made."""

from pathlib import Path

import pytest

from geoloc_core.models.registry import make_model
from tests.benchmarks.crossvit import main, ROOT, runs
from training.loop.settings import read_config


def test_runs_can_be_made():
    made = {}
    for name, recipe, settings in runs(120, Path('runs'), streets=True):
        config = read_config(ROOT / 'config' / 'train' / f'{recipe}.yaml', tuple(settings))
        model = make_model(config.system.name, config.system.settings)
        assert (model.view.height, model.patches_a_side) == (120, 7)
        made[name] = config, model
    config, teacher = made['teacher_depth_rotary']
    assert teacher.settings.spatial.encoding == 'rotary' and teacher.measured
    assert not made['teacher'][1].measured
    # Each teacher differs in one thing from the one before it.
    steps = [made[name][1].settings.spatial for name in list(made)[:3]]
    assert [(step.points, step.encoding) for step in steps] == [
        ('rays', 'sine'),
        ('depth', 'sine'),
        ('depth', 'rotary'),
    ]
    assert {model.same_place for _, model in made.values()} == {teacher.same_place}
    assert teacher.same_place.cell == 0.5
    objective = made['student_depth_rotary'][0].objective
    assert objective.settings['teacher'] == 'runs/teacher_depth_rotary/model.safetensors'
    assert made['student_alone'][0].objective.name == 'spatial_contrastive'
    with pytest.raises(ValueError, match='multiple of 120'):
        list(runs(100, Path('runs'), streets=True))


@pytest.mark.slow
def test_a_world_is_rendered_learned_and_judged(tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(
        'tests.benchmarks.crossvit.write', lambda name, figures, command: kept.append(figures)
    )
    # Less than this, and no test walk comes by where another has been.
    words = ['--count', '72', '--rooms', '2', '--streets', '1']
    words += ['--epochs', '1', '--batch', '8', '--px', '120']
    assert main([*words, '--folder', str(tmp_path)]) == 0
    (figures,) = kept
    assert list(figures) == [
        *('teacher', 'teacher_depth', 'teacher_depth_rotary'),
        *('student', 'student_depth_rotary', 'student_alone', 'vlad_of_sift'),
    ]
    assert all(0 <= row['recall_at_1'] <= row['recall_at_20'] <= 1 for row in figures.values())
    assert len({row['queries'] for row in figures.values()}) == 1
    for row in figures.values():
        assert row['queries'] == row['rooms']['queries'] + row['streets']['queries']
