# SPDX-License-Identifier: Apache-2.0
"""What robots run, TensorRT-RTX takes: asked on the CPU, without a GPU.

Tests that export a network ask for it, in both precisions (`assert_builds`), so that no graph is
made twice. Here are the bundle that ships, the list of all networks, and the proof that the gate
shuts.
"""

from pathlib import Path
import re

import pytest

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
pytest.importorskip('torch')

from onnx import helper, TensorProto

from geoloc_core.errors import EngineError
from geoloc_core.models.registry import known_models
from geoloc_core.runtime.any_bundle import load_any
from geoloc_core.runtime.engine_cache import EngineCache
from geoloc_core.runtime.onnx_engine import OnnxEngine
from geoloc_core.runtime.tensorrt_build import build_in_child, build_plan, BuildRequest
from geoloc_ros.cli.main import main
from tests.models.crossvit_networks import tiny_student
from tests.models.operator_gate import assert_builds, FLAVOUR, needs_flavour
from tests.training.pose_networks import small
from tests.training.test_export_variants import SMALL
from training.cross_view_exporting import CrossViewSubject
from training.descriptor_exporting import DescriptorSubject
from training.onnx_graph import random_inputs
from training.pose_exporting import PoseSubject

BUNDLE = Path(__file__).parents[2] / 'config' / 'models' / 'geoloc'
# Networks, and the test of the quick suite that exports them and asks.
ASKED = {
    'hc_net': 'tests/models/test_hc_net.py',
    'ccvpe': 'tests/models/test_ccvpe.py',
    'g2sweakly': 'tests/models/test_g2sweakly.py',
    'geodistill': 'tests/models/test_geodistill.py',
    'fusion_transformer': 'tests/models/test_fusion_transformer.py',
    'orienternet_aerial': 'tests/models/test_orienternet_aerial.py',
    'geoloc': 'tests/models/test_geoloc_net.py',
    'vmloc': 'tests/training/test_pose_exporting.py',
    'atloc': 'tests/training/test_pose_exporting.py',
    'pose_concatenation': 'tests/models/test_operator_gate.py',
    'crossvit_student': 'tests/training/test_descriptor_exporting.py',
}
NEVER_EXPORTED = {'crossvit_teacher'}


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
    assert graph.precision == 'fp32'
    assert_builds(graph.weights, dict(graph.shapes))


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
    # For one kind of GPU it is found by no other.
    one = tmp_path / 'one'
    assert main(['model', 'build', str(bundle), '--cache', str(one), '--target', '8.6']) == 0
    assert 'compute capability 8.6' in capsys.readouterr().out
    assert EngineCache(one).find(wanted, Gpu('RTX', '8.6', 8000))[0] is not None
    assert EngineCache(one).find(wanted, Gpu('RTX', '8.9', 8000))[0] is None
    assert main(['model', 'build', str(bundle), '--cache', str(one), '--target', '9.0']) == 1
    assert 'does not name the compute capability 9.0' in capsys.readouterr().err
    assert main(['model', 'build', str(bundle), '--flavour', 'tensorrt']) == 1
    assert 'tensorrt' in capsys.readouterr().err


def test_no_network_is_left_out():
    # Another test may have made a network of its own known.
    assert set(known_models()) - NEVER_EXPORTED - set(ASKED) <= {'tiny_judged', 'tiny'}
    root = Path(__file__).parents[2]
    for name, file in ASKED.items():
        assert re.search(r'assert_(builds|exports)\(', (root / file).read_text()), name


@needs_flavour
@pytest.mark.parametrize(
    'name',
    # All the others are asked for where they are exported.
    [n if n == 'pose_concatenation' else pytest.param(n, marks=pytest.mark.slow) for n in ASKED],
)
def test_every_network_as_it_is_exported(name):
    subject = subject_of(name)
    arrays = random_inputs(subject.model) if name in SMALL else subject.noise(0)
    graph = subject.graph(1)
    # What a graph does not use is no input of it.
    assert_builds(graph, {n: tuple(arrays[n].shape) for n in OnnxEngine(graph, 1).inputs})


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
