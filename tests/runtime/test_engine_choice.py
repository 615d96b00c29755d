# SPDX-License-Identifier: Apache-2.0
"""Which engine runs: asked for or found, from the cache or built, and what is said about it."""

import hashlib
from pathlib import Path
import threading
import warnings

import numpy as np
import pytest

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

from geoloc_core.errors import ConfigError, EngineError
from geoloc_core.runtime import bundle as bundles
from geoloc_core.runtime import engine_choice
from geoloc_core.runtime.engine_cache import EngineCache
from geoloc_core.runtime.engine_choice import (
    choose,
    EngineSettings,
    look_around,
    Machine,
    open_engine,
    tensorrt_engine,
)
from geoloc_core.runtime.onnx_engine import OnnxEngine
from geoloc_core.runtime.tensorrt_build import with_shapes
from geoloc_core.sources.model_matcher import yaw_bins
from tests.runtime.fake_gpu import Code, fake_gpu, plan_of
from tests.runtime.tiny_bundle import write_bundle

ENOUGH = 'cudaErrorMemoryAllocation'
BUNDLE = Path(__file__).parents[2] / 'config' / 'models' / 'geoloc'


@pytest.fixture
def bundle(tmp_path):
    return bundles.load_bundle(write_bundle(tmp_path / 'tiny'))


@pytest.fixture
def builds(monkeypatch):
    """Stands in for the builder: counts, and makes plans of the imaginary device."""

    class Builds(list):
        version, capability, distort, weights = '1.7.1', '8.9', 0.0, b''

    made = Builds()

    def build(weights, request, stop=None):
        made.append(request)
        if made.distort is None:
            raise EngineError('the builder refuses it')
        return plan_of(made.weights or weights, made.version, made.capability, made.distort)

    monkeypatch.setattr(engine_choice, 'build_in_child', build)
    return made


def machine(**more):
    runtime, cuda, flavour = fake_gpu(**more)
    return runtime, Machine(cuda, '', (flavour,))


def opened(bundle, machine, cache):
    cpu = OnnxEngine(bundle.weights, 1)
    settings = EngineSettings(cache=str(cache))
    engine = open_engine(bundle.graph(), cpu, settings, machine)
    engine.wait_ready()
    return engine, cpu


def frame(bundle, seed=5):
    random = np.random.default_rng(seed)
    shapes = bundle.graph().shapes
    return {n: random.normal(size=s).astype(np.float32) for n, s in shapes.items()}


# ---- which ----


def test_without_a_gpu_the_cpu_runs_and_says_why():
    assert choose('auto', Machine(no_gpu='there is no NVIDIA driver')).reason == (
        'auto: there is no NVIDIA driver'
    )
    assert choose('onnxruntime', Machine()).candidates == ()


def test_what_is_asked_for_by_name_must_be_here():
    with pytest.raises(EngineError, match='needs a GPU, but nothing; the engine auto'):
        choose('tensorrt', Machine(no_gpu='nothing'))
    _, there = machine()
    missing = Machine(there.cuda, '', (), {'tensorrt': 'tensorrt cannot be loaded'})
    with pytest.raises(EngineError, match='cannot be loaded; or take the engine auto'):
        choose('tensorrt', missing)
    with pytest.raises(ConfigError, match="engine 'cuda': choose one of auto"):
        choose('cuda', Machine())


def test_the_quickest_that_is_here_comes_first():
    _, there = machine()
    providers = ('TensorrtExecutionProvider', 'CUDAExecutionProvider')
    whole = Machine(there.cuda, '', there.flavours, {}, providers)
    chosen = choose('auto', whole)
    assert chosen.candidates == (*there.flavours, 'CUDAExecutionProvider')
    assert 'Imaginary RTX (8.9) with tensorrt_rtx 1.7.1' in chosen.reason
    assert choose('onnxruntime', whole).candidates == providers
    assert choose('tensorrt_rtx', whole).candidates == there.flavours
    bare = choose('auto', Machine(there.cuda, '', (), {'tensorrt': 'it is not installed'}))
    assert bare.candidates == () and 'nothing for it: it is not installed' in bare.reason


def test_this_machine_can_be_looked_at(monkeypatch):
    monkeypatch.setattr('geoloc_core.runtime.cuda._DRIVER', 'libnothing.so.1')
    seen = look_around()
    assert seen.cuda is None and 'no NVIDIA driver' in seen.no_gpu and seen.flavours == ()


# ---- built, kept, found again ----


def test_it_is_built_once_and_found_the_next_time(bundle, builds, tmp_path):
    for start in range(2):
        runtime, there = machine()
        engine, cpu = opened(bundle, there, tmp_path / 'engines')
        arrays = frame(bundle)
        for _ in range(2):
            found = engine.run(arrays)
            np.testing.assert_array_equal(found['logits'], cpu.run(arrays)['logits'])
        assert engine.name == 'tensorrt_rtx 1.7.1 on Imaginary RTX'
        assert len(builds) == 1
        kept = b'compiled for Imaginary RTX'
        assert there.flavours[0].module.loaded_kernels == ([kept] if start else [])
        engine.close()
        assert not runtime.on_device
    assert dict(builds[0].shapes) == dict(bundle.graph().shapes)


@pytest.mark.parametrize(
    'other', [{'version': '1.8.0'}, {'name': 'Imaginary GTX'}, {'capability': (12, 0)}]
)
def test_an_engine_of_another_version_or_gpu_is_built_anew(bundle, builds, tmp_path, other):
    opened(bundle, machine()[1], tmp_path)
    builds.version = other.get('version', '1.7.1')
    builds.capability = '.'.join(str(n) for n in other.get('capability', (8, 9)))
    _, there = machine(**other)
    engine, _ = opened(bundle, there, tmp_path)
    assert len(builds) == 2 and not engine.report().degraded


def test_a_plan_that_claims_to_fit_and_does_not_is_built_anew(bundle, builds, tmp_path):
    cache = EngineCache(tmp_path)
    _, there = machine()
    flavour, graph = there.flavours[0], bundle.graph()
    entry = engine_choice.cache_entry(graph, flavour, '')
    cache.store(entry, plan_of(graph.weights, version='1.6.0'))
    engine = tensorrt_engine(graph, flavour, there.cuda, cache)
    assert len(builds) == 1
    assert 'the one from the cache did not run' in engine.report().reason
    assert cache.find(entry, there.cuda.gpu)[0].plan == plan_of(graph.weights)


def test_a_full_disk_costs_the_cache_and_nothing_else(bundle, builds, tmp_path):
    (tmp_path / 'file').write_text('')
    _, there = machine()
    engine = tensorrt_engine(
        bundle.graph(), there.flavours[0], there.cuda, EngineCache(tmp_path / 'file' / 'x')
    )
    arrays = frame(bundle)
    wanted = OnnxEngine(bundle.weights, 1).run(arrays)['logits']
    np.testing.assert_array_equal(engine.run(arrays)['logits'], wanted)
    assert 'cannot be kept' in engine.report().reason


@pytest.mark.parametrize('fault', ['builder', 'wrong', 'memory'])
def test_what_cannot_be_had_is_done_without(bundle, builds, tmp_path, fault):
    runtime, there = machine()
    if fault == 'memory':
        runtime.failing['cudaMalloc'] = Code.cudaErrorMemoryAllocation
    builds.distort = {'builder': None, 'wrong': 0.2, 'memory': 0.0}[fault]
    engine, cpu = opened(bundle, there, tmp_path)
    arrays = frame(bundle)
    np.testing.assert_array_equal(engine.run(arrays)['logits'], cpu.run(arrays)['logits'])
    report = engine.report()
    assert report.running == 'onnxruntime CPU' and report.degraded
    expected = {'builder': 'refuses it', 'wrong': 'differs from', 'memory': ENOUGH}[fault]
    assert expected in str(report)
    assert not runtime.on_device


def test_memory_that_runs_out_on_the_way_costs_no_frame(bundle, builds, tmp_path):
    runtime, there = machine()
    engine, cpu = opened(bundle, there, tmp_path)
    for seed in range(2):
        engine.run(frame(bundle, seed))
    assert engine.name.startswith('tensorrt_rtx') and not engine.report().degraded
    engine.news()
    runtime.failing['cudaGraphLaunch'] = Code.cudaErrorMemoryAllocation
    arrays = frame(bundle)
    np.testing.assert_array_equal(engine.run(arrays)['logits'], cpu.run(arrays)['logits'])
    (told,) = engine.news()
    assert ENOUGH in told and 'the CPU answers from this frame on' in told
    assert engine.name == 'onnxruntime CPU' and engine.report().degraded
    assert not runtime.on_device


def test_a_provider_that_does_not_come_up_is_no_fault_of_the_model(bundle):
    """Without CUDA onnxruntime takes the CPU and says nothing that a program would hear."""
    with pytest.raises(EngineError, match='CUDAExecutionProvider'), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        OnnxEngine(bundle.weights, 1, 'CUDAExecutionProvider')


def test_a_build_ends_with_its_engine(bundle, monkeypatch):
    begun = threading.Event()

    def build(weights, request, stop):
        begun.set()
        assert stop.wait(10)
        raise EngineError('the build was stopped')

    monkeypatch.setattr(engine_choice, 'build_in_child', build)
    _, there = machine()
    cpu = OnnxEngine(bundle.weights, 1)
    engine = open_engine(bundle.graph(), cpu, EngineSettings(cache='/nonexistent'), there)
    assert begun.wait(10)
    engine.close()
    assert engine.news() == ()


def test_a_graph_is_known_by_its_digest(bundle):
    graph = bundle.graph()
    assert graph.sha256 == hashlib.sha256(graph.weights).hexdigest()
    assert graph.precision == 'fp32' and graph.yaws == ''
    np.testing.assert_array_equal(graph.warm_up()['view'], graph.warm_up()['view'])


# ---- yaws ----


def test_yaws_are_those_that_a_gpu_takes_at_once(builds, tmp_path):
    """As few as are needed on the CPU; as many as its engine has on the GPU."""
    bundle = bundles.load_bundle(BUNDLE)
    out = bundle.spec.output
    if not out.yaw_input:
        pytest.skip('the bundle that ships has yaws of its own')
    half = np.radians(9.0)
    assert len(yaw_bins(out, half)) < out.yaw_bins
    asked = yaw_bins(out, half, out.yaw_bins)
    np.testing.assert_allclose(asked, np.linspace(-half, half, out.yaw_bins))
    np.testing.assert_array_equal(yaw_bins(out), yaw_bins(out, np.pi, out.yaw_bins))
    # The plan is of fixed sizes, as the graph is that it is built from.
    fixed, outputs = with_shapes(bundle.weights, bundle.graph().shapes)
    assert outputs == {out.name}
    builds.weights = fixed
    _, there = machine()
    engine, _ = opened(bundle, there, tmp_path)
    assert engine.inputs[out.yaw_input] == (out.yaw_bins,)
    arrays = bundle.graph().warm_up()
    few = {**arrays, out.yaw_input: arrays[out.yaw_input][:9]}
    # Prepared before the engine was there: the CPU takes them.
    assert engine.run(few)[out.name].shape[1] == 9 and engine.name == 'onnxruntime CPU'
    engine.run(arrays)
    assert engine.name.startswith('tensorrt_rtx')
    assert engine.run(arrays)[out.name].shape[1] == out.yaw_bins
