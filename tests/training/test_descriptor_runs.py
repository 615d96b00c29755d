# SPDX-License-Identifier: Apache-2.0
"""Teacher and student through the same loop and command as all other systems; their recipes."""

import csv
import json
from pathlib import Path
import sys

import pytest

from geoloc_core.models.weights import load_weights
from geoloc_core.runtime.descriptor_bundle import load_descriptor_bundle, NetworkDescriptor
from tests.training import rooms
from training.datasets.registry import READERS
from training.evaluate_descriptors import CLASSICAL
from training.evaluate_descriptors import main as evaluate
from training.export import main as export
from training.loop.settings import read_config
from training.objectives.relaxed_contrastive import RelaxedContrastiveSettings
from training.objectives.spatial_contrastive import SpatialContrastiveSettings
from training.train import main

RECIPES = Path(__file__).parents[2] / 'config' / 'train'
CONFIG = """
system:
  name: {system}
  settings:
    small: {{image_px: 24, patch_px: 6, width: 24, heads: 2, depth: 1}}
    large: {{image_px: 16, patch_px: 8, width: 32, heads: 2, depth: 1}}
    encoders: 1
    descriptor: compact
    size: 16
    same_place: {{cell: 0.5, shared: 4}}
objective: {{name: {objective}, settings: {{{settings}}}}}
data:
  reader: rooms
  root: .
  train: {{split: train}}
  validation: {{split: validation}}
  workers: 0
  augment: [{{step: crop_view, scale: [0.9, 1.0]}}, {{step: jitter_view}}]
batch_size: 12
epochs: {epochs}
optimizer: {{name: adamw, lr: 3.0e-3}}
validate: {{metric: recall_at_1}}
seed: 3
devices: {{accelerator: cpu, threads: 1}}
"""


@pytest.fixture
def reader(monkeypatch):
    monkeypatch.setitem(READERS, 'rooms', ('_rooms', 'Rooms'))
    monkeypatch.setitem(sys.modules, 'training.datasets._rooms', rooms)


def config(folder, system, objective, settings='', epochs=3):
    path = folder / f'{system}.yaml'
    text = CONFIG.format(system=system, objective=objective, settings=settings, epochs=epochs)
    path.write_text(text)
    return path


def recalls(folder):
    with (folder / 'metrics.csv').open(newline='') as file:
        return [float(row['validation_recall_at_1']) for row in csv.DictReader(file)]


@pytest.mark.slow
def test_a_teacher_teaches_a_student(reader, tmp_path, capsys):
    first = config(tmp_path, 'crossvit_teacher', 'spatial_contrastive', 'pairs: batch')
    assert main([str(first), '--out', str(tmp_path / 'teacher')]) == 0
    # Anchors are all 24 samples, twelve rows are six of them with their partners.
    with (tmp_path / 'teacher' / 'metrics.csv').open(newline='') as file:
        assert [row['step'] for row in csv.DictReader(file)] == ['4', '8', '12']
    weights = tmp_path / 'teacher' / 'model.safetensors'
    assert load_weights(weights).NAME == 'crossvit_teacher'
    said = f'teacher: {weights}, contrastive: 1.0'
    second = config(tmp_path, 'crossvit_student', 'relaxed_contrastive', said)
    out = tmp_path / 'student'
    assert main([str(second), '--out', str(out)]) == 0
    student = load_weights(out / 'model.safetensors')
    assert student.NAME == 'crossvit_student' and student.size == 16
    assert len(recalls(out)) == 3 and all(0 <= value <= 1 for value in recalls(out))
    # The teacher is no part of what is kept.
    assert not any('teacher' in name for name in student.state_dict())
    # Judged beside the teacher and a classical descriptor, each split looked for in the other.
    report = tmp_path / 'recall.json'
    words = [str(out), str(tmp_path / 'teacher'), '--classical', '--json', str(report)]
    assert evaluate([*words, '--split', 'validation']) == 0
    found = json.loads(report.read_text())
    assert set(found) == {str(out), str(tmp_path / 'teacher'), CLASSICAL}
    assert found[str(out)]['size'] == 16 and found[str(out)]['answerable'] == 24
    assert found[CLASSICAL]['queries'] == found[str(out)]['queries'] == 24
    assert 'r@20' in capsys.readouterr().out
    assert export([str(out), '--out', str(tmp_path / 'bundle'), '--samples', '2']) == 0
    assert 'answers with 16 numbers' in capsys.readouterr().out
    assert NetworkDescriptor(load_descriptor_bundle(tmp_path / 'bundle')).size == 16
    # In eight bits: ranges from the training split, and what they cost in places.
    words = [str(out), '--out', str(tmp_path / 'eight'), '--precision', 'int8']
    assert export([*words, '--samples', '24', '--tolerance', 'distance=2']) == 0
    record = load_descriptor_bundle(tmp_path / 'eight').spec.export
    assert record.quantized_on.startswith('rooms: train') and record.quantized_samples == 24
    assert [f.name for f in record.accuracy] == ['places not found at first try']
    assert record.accuracy_samples == 24
    assert export([*words[:2], str(tmp_path / 'c'), *words[3:], '--calibrate-on', 'x']) == 1
    assert 'takes its ranges from the training split of its run' in capsys.readouterr().err
    assert export([str(tmp_path / 'teacher'), '--out', str(tmp_path / 'b'), '--noise']) == 1
    assert 'train a student' in capsys.readouterr().err


def test_partners_are_drawn_alike_in_every_run(reader, tmp_path):
    path = config(tmp_path, 'crossvit_student', 'spatial_contrastive', epochs=1)
    for name in ('one', 'two'):
        assert main([str(path), '--out', str(tmp_path / name)]) == 0
    one = load_weights(tmp_path / 'one' / 'best.safetensors').state_dict()
    for name, value in load_weights(tmp_path / 'two' / 'best.safetensors').state_dict().items():
        assert (one[name] == value).all(), name


def test_errors_are_said_in_one_line(reader, tmp_path, capsys):
    path = config(tmp_path, 'crossvit_student', 'relaxed_contrastive')
    assert main([str(path), '--out', str(tmp_path / 'a')]) == 1
    assert 'teacher: is not given' in capsys.readouterr().err
    path = config(tmp_path, 'crossvit_student', 'spatial_contrastive')
    odd = ['--set', 'batch_size=13']
    assert main([str(path), '--out', str(tmp_path / 'b'), *odd]) == 1
    assert 'groups of 2' in capsys.readouterr().err
    metric = ['--set', 'validate.metric=nll']
    assert main([str(path), '--out', str(tmp_path / 'c'), *metric]) == 1
    assert 'recall_at_1' in capsys.readouterr().err


def test_recipes_are_as_published_where_they_say_so():
    teacher = read_config(RECIPES / 'crossvit_teacher.yaml')
    assert teacher.system.settings['spatial'] == {
        'points': 'rays',
        'ray_length': 10.0,
        'encoding': 'sine',
    }
    assert SpatialContrastiveSettings(**teacher.objective.settings) == SpatialContrastiveSettings()
    student = read_config(RECIPES / 'crossvit_student.yaml')
    settings = RelaxedContrastiveSettings(**student.objective.settings)
    assert settings.teacher == 'out/train/crossvit_teacher/model.safetensors'
    assert (settings.sigma, settings.delta, settings.relative) == (1.0, 1.0, True)
    assert student.data == teacher.data
