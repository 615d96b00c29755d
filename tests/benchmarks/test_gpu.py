# SPDX-License-Identifier: Apache-2.0
"""The benchmark on a GPU: what it says where there is none, and what it counts."""

import pytest

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
pytest.importorskip('torch')

import torch

from geoloc_core.errors import EngineError
from geoloc_core.runtime import engine_choice
from geoloc_core.runtime.bundle import load_bundle
from geoloc_core.runtime.onnx_engine import OnnxEngine
from geoloc_core.runtime.tensorrt_build import with_shapes
from tests.benchmarks import gpu, gpu_runs
from tests.runtime.fake_gpu import fake_gpu, plan_of
from tests.runtime.tiny_bundle import write_bundle
from tests.training.export_networks import Wide
from training.cross_view_exporting import CrossViewSubject

PEAK = {'fp32': 1e12, 'fp16': 4e12, 'int8': 8e12, 'bytes': 1e11}


def test_without_a_gpu_it_says_so_and_measures_nothing(monkeypatch, capsys):
    monkeypatch.setattr('geoloc_core.runtime.cuda._DRIVER', 'libnothing.so.1')
    monkeypatch.setattr(gpu, 'write', None)
    assert gpu.main([]) == 0
    assert 'skipped: there is no NVIDIA driver' in capsys.readouterr().out


def test_with_a_gpu_all_rows_and_frames_are_stored(monkeypatch, capsys):
    _, cuda, _ = fake_gpu()
    stage = {'p50': 1.0, 'p99': 2.0}
    whole = {
        'on_gpu': {'frame_ms': stage}, 'on_cpu': {'frame_ms': stage},
        'apart_m': {'median': 0.0, 'worst': 0.25}, 'apart_deg': {'median': 0.0, 'worst': 0.5},
    }  # fmt: skip

    def alone(work, *arguments):
        if work is gpu.device_frames and arguments[1] == 'tensorrt':
            raise RuntimeError('out of memory')
        return {gpu.peaks: PEAK, gpu.device_frames: whole}.get(work, {})

    stored = {}
    monkeypatch.setattr('geoloc_core.runtime.cuda.open_cuda', lambda: cuda)
    monkeypatch.setattr(gpu, 'alone', alone)
    monkeypatch.setattr(gpu, 'write', lambda name, figures, command: stored.update(figures))
    assert gpu.main(['--systems', 'geoloc', '--batches', '1', '--precisions', 'fp16']) == 0
    assert 'geoloc x1 fp16' in stored and stored['peak'] == PEAK
    assert set(stored['frame']) == {'auto', 'onnxruntime'}
    assert stored['frame_on_gpu']['torch fp16'] == whole
    assert stored['frame_on_gpu']['tensorrt fp16'] == {'error': 'out of memory'}
    said = capsys.readouterr().out
    assert '1.000 / 2.000' in said and 'worst 0.25 m, 0.5 deg' in said


@pytest.mark.parametrize('precision', gpu.PRECISIONS)
def test_a_row_is_exported_built_compared_and_held_against_the_floor(monkeypatch, precision):
    torch.manual_seed(0)
    _, cuda, flavour = fake_gpu()

    def load(name):
        if name != flavour.name:
            raise EngineError(f'{name} is not installed')
        return flavour

    built = []

    def build(weights, request, stop=None):
        built.append(request)
        return plan_of(with_shapes(weights, request.shapes)[0])

    monkeypatch.setattr(gpu, 'subject_of', lambda system, settings: CrossViewSubject(Wide()))
    monkeypatch.setattr('geoloc_core.runtime.cuda.open_cuda', lambda: cuda)
    monkeypatch.setattr('geoloc_core.runtime.tensorrt_build.load_flavour', load)
    monkeypatch.setattr(engine_choice, 'build_in_child', build)
    for name, value in (('_WARM_UP', 1), ('_LEAST', 2), ('_PATIENCE_S', 0.0)):
        monkeypatch.setattr(gpu_runs, name, value)
    figures = gpu.row('wide', 2, precision, PEAK)
    found = figures['tensorrt_rtx']
    assert found['parity'] and found['ms_p50'] > 0 and found['per_s'] > 0, figures
    assert figures['tensorrt'] == {'absent': 'tensorrt is not installed'}
    assert figures['floor_ms'] > 0
    assert figures['over_floor'] == pytest.approx(found['ms_p50'] / figures['floor_ms'])
    # Two samples, and five yaws for both.
    assert {shape[0] for shape in built[0].shapes.values()} == {2, 5} and len(built) == 1
    # Torch has no eight bits; where it sees no GPU its cells say so, and the row stands.
    assert ('eager' in figures, 'compile' in figures) == ((precision != 'int8',) * 2)
    for name in {'eager', 'compile'} & set(figures):
        assert {'ms_p50', 'error'} & set(figures[name])


def test_the_floor_is_the_larger_of_both():
    assert gpu_runs.floor_ms(2e9, 1e6, PEAK, 'fp32') == {
        'floor_ms': pytest.approx(2.0), 'floor_set_by': 'arithmetic'
    }  # fmt: skip
    assert gpu_runs.floor_ms(2e9, 1e8, PEAK, 'fp16') == {
        'floor_ms': pytest.approx(1.0), 'floor_set_by': 'bandwidth'
    }  # fmt: skip


def test_an_engine_is_built_loaded_compared_and_timed(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_runs, '_LEAST', 2)
    monkeypatch.setattr(gpu_runs, '_PATIENCE_S', 0.0)
    builds = []
    monkeypatch.setattr(
        engine_choice,
        'build_in_child',
        lambda weights, *_: (
            builds.append(1) or plan_of(weights, distort=0.02 * len(builds) - 0.02)
        ),
    )
    graph = load_bundle(write_bundle(tmp_path / 'tiny')).graph()
    expected = OnnxEngine(graph.weights, 1).run(graph.warm_up())
    runtime, cuda, flavour = fake_gpu()
    figures = gpu_runs.in_tensorrt(graph, flavour, cuda, expected, 1)
    assert figures['parity'] and figures['off_cpu'] == 0.0 and figures['cuda_graph'] == 'used'
    assert figures['ms_p99'] >= figures['ms_p50'] > 0 and len(builds) == 1
    assert not runtime.on_device
    wrong = gpu_runs.in_tensorrt(graph, flavour, cuda, expected, 1)
    assert not wrong['parity'] and wrong['off_cpu'] == pytest.approx(0.02, rel=0.01)


def test_the_table_shows_medians_and_errors():
    rows = {
        'a x1 fp32': {
            'floor_ms': 0.5, 'over_floor': 4.0,
            'tensorrt_rtx': {'ms_p50': 2.0}, 'eager': {'error': 'out of memory'},
        },
        'b x8 int8': {'error': 'no form'},
    }  # fmt: skip
    first, second = gpu.table(rows).splitlines()[1:]
    assert '2.000' in first and 'error' in first and first.endswith('4')
    assert second.endswith('no form')
