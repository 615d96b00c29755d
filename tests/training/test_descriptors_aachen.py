# SPDX-License-Identifier: Apache-2.0
"""Descriptors learn on Aachen's layout, without depth, by what a reconstruction found."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from geoloc_core.formats.nvm import camera_lines
from geoloc_core.geometry import se3
from geoloc_core.models.weights import load_weights
from training.evaluate_descriptors import main as evaluate
from training.loop.settings import read_config
from training.train import main

RECIPES = Path(__file__).parents[2] / 'config' / 'train'
H, W = 30, 40
# Before two walls, 100 apart, so many cameras each, a step apart, looking along +z.
CAMERAS, STEP, AWAY = 6, 0.5, 100.0
SMALL = [
    'system.settings.small={image_px: 24, patch_px: 6, width: 24, heads: 2, depth: 1}',
    'system.settings.large={image_px: 16, patch_px: 8, width: 32, heads: 2, depth: 1}',
    'system.settings.encoders=1',
    'data.options.validation=0.5',
    'data.options.guard=0',
    'data.reduce={view_size: [32, 32]}',
    'data.workers=0',
    'batch_size=6',
    'epochs=1',
    'validate.every_epochs=1',
    'devices={accelerator: cpu, threads: 1}',
]


@pytest.fixture
def root(tmp_path):
    """A city of two walls; each picture sees the points that fall into it."""
    rng = np.random.default_rng(0)
    poses, pixels = {}, {}
    wall = np.concatenate([rng.uniform([-4, -3, 9], [7, 3, 10], (200, 3)) for _ in range(2)])
    wall[200:, 0] += AWAY
    for i in range(2 * CAMERAS):
        side, k = divmod(i, CAMERAS)
        name = f'db/{i}.jpg'
        poses[name] = se3.make(np.eye(3), [AWAY * side + STEP * k, 0.0, 0.0])
        pixels[name] = (wall[:, :2] - poses[name][:2, 3]) / wall[:, 2:] * 40 + [W / 2, H / 2]
        path = tmp_path / 'aachen/images/images_upright' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), rng.integers(0, 255, (H, W, 3), np.uint8))
    rows = []
    for p, xyz in enumerate(wall):
        inside = [
            c for c, uv in enumerate(pixels.values()) if ((uv[p] >= 0) & (uv[p] < [W, H])).all()
        ]
        seen = ' '.join(f'{c} {p} 0 0' for c in inside)
        rows.append(f'{xyz[0]} {xyz[1]} {xyz[2]} 9 9 9 {len(inside)} {seen}')
    folder = tmp_path / 'aachen/3D-models'
    folder.mkdir()
    lines = list(camera_lines(poses, dict.fromkeys(poses, 40.0)))[:-1]
    text = '\n'.join([*lines, str(len(rows)), *rows, '0'])
    (folder / 'aachen_cvpr2018_db.nvm').write_text(text + '\n')
    lines = [f'{name} SIMPLE_RADIAL {W} {H} 40.0 20.0 15.0 -0.02' for name in poses]
    (folder / 'database_intrinsics.txt').write_text('\n'.join(lines))
    return tmp_path / 'aachen'


def run(name, root, out, *more):
    words = [word for setting in [*SMALL, *more] for word in ('--set', setting)]
    path = RECIPES / f'crossvit_{name}_aachen.yaml'
    return main([str(path), '--data', str(root), '--out', str(out), *words])


def test_teacher_and_student_learn_by_the_recipes(root, tmp_path):
    assert run('teacher', root, tmp_path / 'teacher') == 0
    weights = tmp_path / 'teacher' / 'model.safetensors'
    student = tmp_path / 'student'
    assert run('student', root, student, f'objective.settings.teacher={weights}') == 0
    assert load_weights(student / 'model.safetensors').NAME == 'crossvit_student'
    # Judged by the same points: each picture at one wall has the others of that wall to be found.
    report = tmp_path / 'recall.json'
    words = [str(student), '--data', str(root), '--database', 'train', '--json', str(report)]
    assert evaluate([*words, '--split', 'validation']) == 0
    (found,) = json.loads(report.read_text()).values()
    assert (found['queries'], found['database'], found['answerable']) == (6, 6, 0)
    assert evaluate([*words, '--split', 'train']) == 0
    (found,) = json.loads(report.read_text()).values()
    assert (found['queries'], found['answerable']) == (6, 6) and found['recall_at_5'] == 1.0


def test_what_is_lacking_is_said_in_one_line(root, tmp_path, capsys):
    alone = 'objective={name: spatial_contrastive, settings: {pairs: batch}}'
    assert run('student', root, tmp_path / 'a', alone, 'data.options.points=false') == 1
    assert 'set data.options.points: true' in capsys.readouterr().err
    assert (
        run('student', root, tmp_path / 'b', alone, 'system.settings.same_place.shared=999') == 1
    )
    assert 'share 999 points' in capsys.readouterr().err
    path = root / '3D-models/aachen_cvpr2018_db.nvm'
    text = path.read_text()
    path.write_text(text[: text.index('\n400\n')] + '\n0\n')
    assert run('student', root, tmp_path / 'c', alone) == 1
    assert 'cameras and no point that they see' in capsys.readouterr().err


def test_recipes_follow_the_paper():
    teacher, student = (
        read_config(RECIPES / f'crossvit_{name}_aachen.yaml') for name in ('teacher', 'student')
    )
    published = {'cell': 0, 'shared': 8, 'box': 'deviation', 'least_side': 0}
    for config in (teacher, student):
        assert config.system.settings['same_place'] == published
        assert config.data.options['points'] and config.data.reader == 'aachen'
    assert student.objective.settings['teacher'].split('/')[-2] == 'crossvit_teacher_aachen'
