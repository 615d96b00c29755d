# SPDX-License-Identifier: Apache-2.0
"""geoloc model: lists, shows, checks and times bundles, and says what is wrong with one."""

from dataclasses import replace
import zipfile

import numpy as np
import pytest

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

from geoloc_core.errors import EngineError
from geoloc_core.runtime import engine_choice
from geoloc_core.runtime.bundle import load_bundle
from geoloc_core.runtime.bundle_files import one_file
from geoloc_core.runtime.engine_cache import EngineCache
from geoloc_core.runtime.onnx_engine import OnnxEngine
from geoloc_core.runtime.parity_sample import ParitySample
from geoloc_ros.cli.main import main
from geoloc_ros.cli.model_build import here
from tests.runtime.fake_gpu import fake_gpu, plan_of
from tests.runtime.test_parity import RECORD
from tests.runtime.tiny_bundle import write_bundle


@pytest.fixture
def folder(tmp_path):
    """A bundle with a record, and a sample that it answers to as its network did."""
    folder = write_bundle(tmp_path / 'tiny')
    bundle = load_bundle(folder)
    record = replace(RECORD, batch=1)
    (folder / 'model.json').write_text(replace(bundle.spec, export=record).to_json())
    engine = OnnxEngine(bundle.weights, threads=1)
    rng = np.random.default_rng(0)
    fed = {n: rng.normal(size=s).astype(np.float32) for n, s in engine.inputs.items()}
    sample = ParitySample(fed, engine.run(fed))
    (folder / 'sample.npz').write_bytes(sample.to_bytes())
    return folder


def said(capsys, *words):
    assert main(['model', *(str(w) for w in words)]) == 0
    return capsys.readouterr().out


def test_bundles_are_listed_with_what_is_wrong(folder, tmp_path, capsys, monkeypatch):
    (tmp_path / 'torn.geoloc').write_bytes(b'PK')
    text = said(capsys, 'list', tmp_path)
    assert 'tiny: tiny-correlation, cross-view, int8' in text
    assert 'torn.geoloc' in text and 'damaged' in text

    # Nor does one that may not be read keep the others from being listed.
    def refuse(place, *_):
        raise PermissionError(13, 'Permission denied', str(place))

    with monkeypatch.context() as changed:
        changed.setattr(zipfile, 'ZipFile', refuse)
        text = said(capsys, 'list', tmp_path)
    assert 'tiny-correlation' in text and 'torn.geoloc cannot be read: Permission denied' in text
    # Those that come with geoloc.
    assert 'geoloc' in said(capsys, 'list')


def test_all_that_is_known_is_shown(folder, capsys):
    text = said(capsys, 'info', folder)
    for words in (
        'Apache-2.0', 'opset 17', '(verified)', 'pinhole', 'int8 ranges', '64 pictures',
        'vigor: train of town', 'position 0.1 (worst 2) m', 'median position error 1.1 m',
        'not recorded', 'as it is',
    ):  # fmt: skip
        assert words in text, words


def test_the_sample_is_answered_as_the_network_did(folder, tmp_path, capsys):
    text = said(capsys, 'check', folder, '--threads', 1)
    assert 'runs on onnxruntime' in text and 'position: ' in text
    parts = {p.name: p.read_bytes() for p in folder.iterdir()}
    sample = ParitySample.from_bytes(parts['sample.npz'])
    moved = {'logits': np.roll(sample.answers['logits'], 9, axis=3)}
    other = ParitySample(sample.inputs, moved).to_bytes()
    place = tmp_path / 'other.geoloc'
    place.write_bytes(one_file({**parts, 'sample.npz': other}))
    assert main(['model', 'check', str(place)]) == 1
    assert 'calculates otherwise' in capsys.readouterr().err
    (folder / 'sample.npz').write_bytes(b'')
    assert main(['model', 'check', str(folder)]) == 1
    assert 'sample.npz is damaged' in capsys.readouterr().err


def test_stages_are_timed(folder, capsys):
    text = said(capsys, 'bench', folder, '--repeat', 2, '--threads', 1)
    for stage in ('image', 'patch', 'view', 'cut', 'normalise', 'engine', 'decode', 'frame'):
        assert f'\n{stage} ' in text, stage
    assert 'pinhole 1280 x 720' in text and 'p99' in text
    assert main(['model', 'bench', str(folder), '--repeat', '0']) == 1
    assert main(['model', 'bench', str(folder), '--threads', '0']) == 1
    assert 'expected 1 or more' in capsys.readouterr().err


def test_quantized_bundles_that_do_not_know_what_it_cost_say_so(folder, capsys):
    assert 'against the truth:  4 samples' in said(capsys, 'info', folder)
    bundle = load_bundle(folder)
    record = replace(RECORD, batch=1, accuracy=(), accuracy_samples=0)
    (folder / 'model.json').write_text(replace(bundle.spec, export=record).to_json())
    assert 'against the truth:  not measured' in said(capsys, 'info', folder)


def test_an_engine_for_the_gpu_that_is_here_is_built_compared_and_kept(
    folder, tmp_path, monkeypatch
):
    """With a GPU that is none: see `fake_gpu`."""
    bundle = load_bundle(folder)
    graph, cpu = bundle.graph(), bundle.open_engine(threads=1)
    distort = 0.0
    monkeypatch.setattr(
        engine_choice, 'build_in_child', lambda weights, *_: plan_of(weights, distort=distort)
    )
    _, cuda, flavour = fake_gpu()
    text = here(graph, cpu, flavour, cuda, EngineCache(tmp_path / 'engines'))
    assert 'built now' in text and 'answers like the CPU' in text
    text = here(graph, cpu, flavour, cuda, EngineCache(tmp_path / 'engines'))
    assert 'from the cache' in text
    # No room: the command has failed, though the engine would run.
    (tmp_path / 'file').write_text('')
    with pytest.raises(EngineError, match=r'is not kept: built now.*cannot be kept in'):
        here(graph, cpu, flavour, cuda, EngineCache(tmp_path / 'file' / 'engines'))
    distort = 0.2
    with pytest.raises(EngineError, match=r'answers otherwise than the CPU, by 0\.2 of its range'):
        here(graph, cpu, flavour, cuda, EngineCache(tmp_path / 'others'))


@pytest.mark.parametrize('command', ['list', 'info', 'check', 'bench', 'build'])
def test_help_teaches(command, capsys):
    with pytest.raises(SystemExit):
        main(['model', command, '--help'])
    assert 'example' in capsys.readouterr().out
