# SPDX-License-Identifier: Apache-2.0
"""Can a robot's GPU run this graph? Asked of TensorRT-RTX, which needs no GPU to say.

Every test that exports a network asks it too, so that no layer creeps in that no robot can run.
"""

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


def assert_builds(graph, shapes, half=False):
    """Parses a graph and builds its engine; nothing where the library is not installed.

    Args:
        graph: Content of an .onnx file, single precision.
        shapes: Input name -> shape.
        half: Whether to ask for its form in half precision too.
    """
    if not installed:
        return
    from training.half_precision import to_half

    for form in (graph, to_half(graph)[0]) if half else (graph,):
        # It compares names of inputs and outputs with the graph's own.
        plan = build_in_child(form, BuildRequest(FLAVOUR, shapes), limit_s=LIMIT_S)
        assert len(plan) > 1000
