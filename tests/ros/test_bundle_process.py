# SPDX-License-Identifier: Apache-2.0
"""The node's process with the bundle that ships: torch is never imported."""

from pathlib import Path
import subprocess
import sys

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('onnxruntime')

from tests.benchmarks.engine_node import measure_node
from tests.benchmarks.engines import alone

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / 'config' / 'models' / 'geoloc'
# All that the node imports, and one inference by what it would run.
_PROGRAM = f"""
import sys
import geoloc_ros.node
from geoloc_ros import assembly, parameters
source = assembly.build_source(parameters.validated({{'model.path': {str(BUNDLE)!r}}}))
from geoloc_core.runtime.any_bundle import silent_inputs
engine = source.matcher.bundle.open_engine(1)
answers = engine.run(silent_inputs(engine))
print(sorted(answers), 'torch' in sys.modules, 'onnx' in sys.modules)
"""


def test_nothing_that_the_node_imports_imports_torch():
    done = subprocess.run(
        [sys.executable, '-c', _PROGRAM], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.stdout.strip() == "['logits'] False False", done.stderr


@pytest.mark.slow
def test_the_living_node_answers_without_torch(tmp_path):
    # In a process of its own: it sets up the environment of the middleware.
    figures = alone(measure_node, BUNDLE, tmp_path, 3)
    assert not figures.torch
    # Python, ROS, the map, OpenCV, gtsam and the network, all of it.
    assert 0 < figures.rss_mb < 350 and figures.first_pose_s > 0
