# SPDX-License-Identifier: Apache-2.0
"""Which numbers of a graph are halved, and which are not."""

import numpy as np
from onnx import helper, numpy_helper, TensorProto

from geoloc_core.runtime.onnx_engine import OnnxEngine
from training.half_precision import to_half


def test_small_numbers_and_geometry_stay_single():
    """Half precision has no 1e-9, and no pixel coordinates of 2,000 with their fractions."""
    weights = numpy_helper.from_array(np.ones((8, 3, 1, 1), np.float32), 'w')
    turn = numpy_helper.from_array(np.eye(3, dtype=np.float32), 'turn')
    tiny_number = numpy_helper.from_array(np.float32(1e-9), 'tiny')
    nodes = [
        helper.make_node('Conv', ['x', 'w'], ['c']),
        helper.make_node('Relu', ['c'], ['r']),
        helper.make_node('Add', ['r', 'tiny'], ['a']),
        helper.make_node('MatMul', ['points', 'turn'], ['p']),
    ]
    sizes = {'x': [1, 3, 4, 5], 'points': [6, 3], 'a': [1, 8, 4, 5], 'p': [6, 3]}
    info = {n: helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in sizes.items()}
    graph = helper.make_graph(
        nodes, 'g', [info['x'], info['points']], [info['a'], info['p']],
        [weights, turn, tiny_number],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 20)], ir_version=9)
    made, count = to_half(model.SerializeToString())
    assert count == 2
    engine = OnnxEngine(made, threads=1)
    points = np.full((6, 3), 2000.123, np.float32)
    said = engine.run({'x': np.zeros((1, 3, 4, 5), np.float32), 'points': points})
    np.testing.assert_array_equal(said['p'], points)
    np.testing.assert_allclose(said['a'], np.full((1, 8, 4, 5), 1e-9), rtol=1e-6)
