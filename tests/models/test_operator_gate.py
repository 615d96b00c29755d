# SPDX-License-Identifier: Apache-2.0
"""What robots run, TensorRT-RTX takes: asked on the CPU, without a GPU.

Tests of the systems ask for single precision wherever they export (`export_parity`). Here are the
bundle that ships, all systems in half precision too, and the proof that the gate shuts.
"""

from pathlib import Path

import pytest

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
pytest.importorskip('torch')

from onnx import helper, TensorProto
import torch

from geoloc_core.errors import EngineError
from geoloc_core.models.rotations import chordal_mean
from geoloc_core.runtime.any_bundle import load_any
from geoloc_core.runtime.engine_cache import EngineCache
from geoloc_core.runtime.onnx_engine import OnnxEngine
from geoloc_core.runtime.tensorrt_build import build_in_child, build_plan, BuildRequest
from geoloc_ros.cli.main import main
from tests.models.operator_gate import assert_builds, FLAVOUR, needs_flavour
from tests.models.test_crossvit import tiny_student
from tests.training.pose_networks import small
from tests.training.test_export_variants import SMALL
from training import onnx_graph
from training.cross_view_exporting import CrossViewSubject
from training.descriptor_exporting import DescriptorSubject
from training.onnx_graph import random_inputs
from training.pose_exporting import PoseSubject

BUNDLE = Path(__file__).parents[2] / 'config' / 'models' / 'geoloc'
POSES = ('vmloc', 'pose_concatenation', 'atloc')


class MeanOfRotations(torch.nn.Module):
    def forward(self, rotations):
        return chordal_mean(rotations)


def graph_of(operator, shape, **attributes):
    """One operation on an input of a shape."""
    node = helper.make_node(operator, ['x'], ['y'], **attributes)
    x = helper.make_tensor_value_info('x', TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info('y', TensorProto.FLOAT, None)
    made = helper.make_graph([node], 'one', [x], [y])
    opsets = [helper.make_opsetid('', 17)]
    return helper.make_model(made, opset_imports=opsets, ir_version=9).SerializeToString()


@needs_flavour
def test_the_bundle_that_ships():
    graph = load_any(BUNDLE).graph()
    assert_builds(graph.weights, dict(graph.shapes), half=graph.precision == 'fp32')


@needs_flavour
def test_the_gate_shuts():
    shape = {'x': (1, 3, 4)}
    assert build_plan(graph_of('Relu', [1, 3, 'open']), BuildRequest(FLAVOUR, shape))
    with pytest.raises(EngineError, match=r'cannot take the graph in.*NonZero'):
        build_plan(graph_of('NonZero', [1, 3, 4]), BuildRequest(FLAVOUR, shape))
    with pytest.raises(EngineError, match=r'is \[1, 3, 4\], it cannot be \[1, 3, 5\]'):
        build_plan(graph_of('Relu', [1, 3, 4]), BuildRequest(FLAVOUR, {'x': (1, 3, 5)}))
    with pytest.raises(EngineError, match="has inputs \\['x'\\], shapes are given for \\['z'\\]"):
        build_plan(graph_of('Relu', [1, 3, 4]), BuildRequest(FLAVOUR, {'z': (1, 3, 4)}))
    with pytest.raises(EngineError, match=r'does not name the compute capability 9\.0'):
        build_plan(graph_of('Relu', [1, 3, 4]), BuildRequest(FLAVOUR, shape, ('9.0',)))
    with pytest.raises(EngineError, match='cannot be read'):
        build_plan(b'no graph', BuildRequest(FLAVOUR, shape))


@needs_flavour
def test_the_mean_of_rotations_does_not_keep_the_compiler():
    rotations = torch.eye(3).expand(1, 4, 3, 3).contiguous()
    graph = onnx_graph.graph_of(
        MeanOfRotations(), (rotations,), ['rotations'], ['nearest'], 'mean'
    )
    # As a chain of matrix products it was not done within minutes.
    assert_builds(graph, {'rotations': (1, 4, 3, 3)})


@needs_flavour
def test_a_child_builds_and_says_what_it_refuses():
    request = BuildRequest(FLAVOUR, {'x': (1, 3, 4)})
    assert len(build_in_child(graph_of('Relu', [1, 3, 4]), request)) > 1000
    with pytest.raises(EngineError, match='NonZero'):
        build_in_child(graph_of('NonZero', [1, 3, 4]), request)


def test_a_library_that_is_not_installed_is_named():
    with pytest.raises(EngineError, match='JetPack'):
        build_plan(graph_of('Relu', [1, 3]), BuildRequest('tensorrt', {'x': (1, 3)}))
    with pytest.raises(EngineError, match='choose tensorrt or tensorrt_rtx'):
        build_plan(graph_of('Relu', [1, 3]), BuildRequest('trt', {'x': (1, 3)}))


@needs_flavour
def test_the_command_builds_ahead_of_time(tmp_path, monkeypatch, capsys):
    from tests.runtime.tiny_bundle import write_bundle

    monkeypatch.setattr('geoloc_core.runtime.cuda._DRIVER', 'libnothing.so.1')
    bundle = write_bundle(tmp_path / 'tiny')
    cache = tmp_path / 'engines'
    assert main(['model', 'build', str(bundle), '--cache', str(cache)]) == 0
    said = capsys.readouterr().out
    assert 'compute capability 8.0 and later' in said and 'not run' in said
    assert {p.suffix for p in cache.iterdir()} == {'.plan', '.json'}
    # The node of a robot with such a GPU finds it.
    from geoloc_core.runtime.cuda import Gpu
    from geoloc_core.runtime.engine_choice import cache_entry
    from geoloc_core.runtime.tensorrt_build import load_flavour

    wanted = cache_entry(load_any(bundle).graph(), load_flavour(FLAVOUR), 'any')
    assert EngineCache(cache).find(wanted, Gpu('RTX', '8.9', 8000))[0] is not None
    assert main(['model', 'build', str(bundle), '--flavour', 'tensorrt']) == 1
    assert 'tensorrt' in capsys.readouterr().err


@needs_flavour
@pytest.mark.slow
@pytest.mark.parametrize('name', [*SMALL, *POSES, 'crossvit_student'])
def test_every_system_in_both_precisions(name):
    subject = subject_of(name)
    arrays = random_inputs(subject.model) if name in SMALL else subject.noise(0)
    graph = subject.graph(1)
    # What a graph does not use is no input of it.
    shapes = {each: tuple(arrays[each].shape) for each in OnnxEngine(graph, 1).inputs}
    assert_builds(graph, shapes, half=True)


def subject_of(name):
    """A small network, as it is exported."""
    if name in SMALL:
        return CrossViewSubject(SMALL[name]())
    if name == 'crossvit_student':
        return DescriptorSubject(tiny_student())
    return PoseSubject(small(name).eval(), 'nowhere')


@needs_flavour
def test_a_child_that_takes_too_long_is_ended():
    request = BuildRequest(FLAVOUR, {'x': (1, 3, 4)})
    with pytest.raises(EngineError, match=r'did not end within 0\.01 s'):
        build_in_child(graph_of('Relu', [1, 3, 4]), request, limit_s=0.01)
