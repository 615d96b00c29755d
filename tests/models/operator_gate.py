# SPDX-License-Identifier: Apache-2.0
"""Can a robot's GPU run this graph? Asked of TensorRT-RTX, which needs no GPU to say.

Every test that exports a network asks it too, so that no layer creeps in that no robot can run.
`test_operator_gate.py` keeps the list of all networks.
"""

from concurrent.futures import ThreadPoolExecutor
import importlib.util

import pytest

from geoloc_core.runtime.tensorrt_build import build_in_child, BuildRequest

FLAVOUR = 'tensorrt_rtx'
# Seconds are usual; what the compiler does not finish must not hold up the tests.
LIMIT_S = 300.0
installed = importlib.util.find_spec(FLAVOUR) is not None
needs_flavour = pytest.mark.skipif(
    not installed, reason='tensorrt_rtx is not installed: pip install tensorrt-rtx-cu12'
)


def assert_builds(graph, shapes):
    """Parses a graph and builds its engine, in single precision as it is and in half precision.

    Nothing where the library is not installed.

    Args:
        graph: Content of an .onnx file, single precision.
        shapes: Input name -> shape.
    """
    if not installed:
        return
    from training.half_precision import to_half

    def build(form):
        # It compares names and sizes of inputs, and names of outputs, with the graph's own.
        return build_in_child(form, BuildRequest(FLAVOUR, shapes), limit_s=LIMIT_S)

    # Each builds in a process of its own, so both can at once.
    with ThreadPoolExecutor(2) as pool:
        plans = list(pool.map(build, (graph, to_half(graph)[0])))
    assert min(len(plan) for plan in plans) > 1000
