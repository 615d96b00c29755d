# SPDX-License-Identifier: Apache-2.0
"""TensorRT on a GPU that is none: what is put where, in what order, and what can fail."""

import numpy as np
import pytest

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

from geoloc_core.errors import BundleError, EngineError
from geoloc_core.runtime.cuda import Cuda, open_cuda
from geoloc_core.runtime.onnx_engine import OnnxEngine
from geoloc_core.runtime.tensorrt_engine import TensorRtEngine
from tests.runtime.fake_gpu import Code, fake_gpu, FakeCudaRuntime, plan_of
from tests.runtime.tiny_bundle import CELLS, graph, PATCH, VIEW

WEIGHTS = graph()


def inputs(seed):
    random = np.random.default_rng(seed)
    return {
        'view': random.normal(size=(1, 3, VIEW, VIEW)).astype(np.float32),
        'patch': random.normal(size=(1, 3, PATCH[1], PATCH[0])).astype(np.float32),
    }


@pytest.mark.parametrize('kernels', [True, False])
def test_it_answers_like_the_graph_run_after_run(kernels):
    _, cuda, flavour = fake_gpu(kernels=kernels)
    engine = TensorRtEngine(plan_of(WEIGHTS), flavour, cuda)
    cpu = OnnxEngine(WEIGHTS, 1)
    answers = []
    for seed in range(3):
        answers.append(engine.run(inputs(seed)))
        np.testing.assert_array_equal(answers[-1]['logits'], cpu.run(inputs(seed))['logits'])
    # What was answered before is not written over.
    assert not np.array_equal(answers[0]['logits'], answers[2]['logits'])
    assert engine.inputs == cpu.inputs and engine.outputs == cpu.outputs
    assert engine.outputs['logits'] == (1, 3, CELLS[1], CELLS[0])
    assert bool(engine.kernels()) == kernels
    assert 'tensorrt_rtx 1.7.1 on Imaginary RTX' in str(engine.report())


def test_later_runs_are_one_launch():
    runtime, cuda, flavour = fake_gpu()
    engine = TensorRtEngine(plan_of(WEIGHTS), flavour, cuda)
    engine.run(inputs(0))
    assert engine.report().values['cuda_graph'] == 'used'
    runtime.calls.clear()
    engine.run(inputs(1))
    assert runtime.calls == ['cudaSetDevice', 'cudaGraphLaunch', 'cudaStreamSynchronize']


def test_without_graphs_it_runs_step_by_step():
    runtime, cuda, flavour = fake_gpu()
    runtime.failing['cudaGraphInstantiate'] = Code.cudaErrorStreamCaptureUnsupported
    engine = TensorRtEngine(plan_of(WEIGHTS), flavour, cuda)
    wanted = OnnxEngine(WEIGHTS, 1).run(inputs(1))['logits']
    engine.run(inputs(0))
    np.testing.assert_array_equal(engine.run(inputs(1))['logits'], wanted)
    assert 'CaptureUnsupported' in engine.report().values['cuda_graph']


def test_what_lies_on_the_device_stays_there():
    runtime, cuda, flavour = fake_gpu()
    engine = TensorRtEngine(plan_of(WEIGHTS), flavour, cuda)
    answer = np.zeros((1, 3, CELLS[1], CELLS[0]), np.float32)
    there = {'logits': answer.ctypes.data}
    for seed in range(3):
        given = inputs(seed)
        runtime.calls.clear()
        engine.run_on_device({name: value.ctypes.data for name, value in given.items()}, there)
        wanted = OnnxEngine(WEIGHTS, 1).run(given)['logits']
        np.testing.assert_array_equal(answer, wanted)
    # Two inputs, the network as one launch, one output.
    copy = 'cudaMemcpyAsync'
    assert runtime.calls == [
        'cudaSetDevice', copy, copy, 'cudaGraphLaunch', copy, 'cudaStreamSynchronize'
    ]  # fmt: skip
    np.testing.assert_array_equal(engine.run(given)['logits'], wanted)
    with pytest.raises(BundleError, match='expected'):
        engine.run_on_device({'view': 0}, there)
    with pytest.raises(BundleError, match='expected'):
        engine.run_on_device(dict.fromkeys(given, 0), {})
    runtime.gone = True
    with pytest.raises(EngineError, match='DevicesUnavailable'):
        engine.run_on_device(dict.fromkeys(given, 0), there)
    engine.close()
    with pytest.raises(EngineError, match='closed'):
        engine.run_on_device(dict.fromkeys(given, 0), there)


def test_everything_is_given_back():
    runtime, cuda, flavour = fake_gpu()
    engine = TensorRtEngine(plan_of(WEIGHTS), flavour, cuda)
    engine.run(inputs(0))
    assert runtime.on_device and runtime.pinned
    engine.close()
    assert not (runtime.on_device or runtime.pinned or runtime.streams)
    with pytest.raises(EngineError, match='closed'):
        engine.run(inputs(0))


@pytest.mark.parametrize(
    ('plan', 'message'),
    [
        (plan_of(WEIGHTS, version='1.6.0'), 'another version or device'),
        (plan_of(WEIGHTS, capability='12.0'), 'another version or device'),
        (b'no plan at all', 'invalid here: MALFORMED'),
    ],
)
def test_a_plan_that_does_not_belong_here_is_refused(plan, message):
    runtime, cuda, flavour = fake_gpu()
    with pytest.raises(EngineError, match=message):
        TensorRtEngine(plan, flavour, cuda)
    assert not runtime.on_device


def test_a_full_device_is_refused_and_nothing_stays_on_it():
    runtime, cuda, flavour = fake_gpu(memory=4 * 3 * VIEW * VIEW + 100)
    with pytest.raises(EngineError, match='cudaMalloc failed with cudaErrorMemoryAllocation'):
        TensorRtEngine(plan_of(WEIGHTS), flavour, cuda)
    assert not (runtime.on_device or runtime.pinned)


def test_a_device_that_disappears_is_an_engine_error():
    runtime, cuda, flavour = fake_gpu()
    engine = TensorRtEngine(plan_of(WEIGHTS), flavour, cuda)
    engine.run(inputs(0))
    runtime.gone = True
    with pytest.raises(EngineError, match='DevicesUnavailable'):
        engine.run(inputs(1))
    engine.close()


def test_other_inputs_are_the_callers_fault():
    _, cuda, flavour = fake_gpu()
    engine = TensorRtEngine(plan_of(WEIGHTS), flavour, cuda)
    with pytest.raises(BundleError, match='expected'):
        engine.run({'view': inputs(0)['view']})
    with pytest.raises(BundleError, match='shape'):
        engine.run({**inputs(0), 'view': np.zeros((1, 3, VIEW, VIEW + 1), np.float32)})


def test_no_library_is_asked_where_there_is_no_device(monkeypatch):
    with pytest.raises(EngineError, match='no GPU'):
        Cuda(FakeCudaRuntime(devices=0))
    monkeypatch.setattr('geoloc_core.runtime.cuda._DRIVER', 'libnothing.so.1')
    with pytest.raises(EngineError, match='no NVIDIA driver'):
        open_cuda()
