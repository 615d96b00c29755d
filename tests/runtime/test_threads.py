# SPDX-License-Identifier: Apache-2.0
"""A core is left to the rest of the robot."""

import cv2
import pytest

from geoloc_core.runtime import onnx_engine, threads
from geoloc_core.runtime.threads import cores, leave_a_core, threads_of
from tests.runtime.tiny_bundle import graph


@pytest.mark.parametrize(
    ('there_are', 'taken'), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 4), (6, 4), (64, 4)]
)
def test_as_many_as_there_are_but_one(monkeypatch, there_are, taken):
    monkeypatch.setattr(threads, 'cores', lambda: there_are)
    assert threads_of() == taken
    assert threads_of(7) == 7


def test_a_container_counts_its_own_cores(monkeypatch):
    monkeypatch.setattr('os.sched_getaffinity', lambda process: {0, 3, 5}, raising=False)
    assert cores() == 3


@pytest.mark.parametrize(('there_are', 'taken'), [(1, 1), (2, 1), (8, 7)])
def test_opencv_is_held_to_all_but_one(monkeypatch, there_are, taken):
    before = cv2.getNumThreads()
    monkeypatch.setattr(threads, 'cores', lambda: there_are)
    try:
        leave_a_core()
        assert cv2.getNumThreads() == taken
    finally:
        cv2.setNumThreads(before)


def test_threads_of_onnxruntime_are_counted_and_spin_only_while_they_run(monkeypatch):
    onnxruntime = pytest.importorskip('onnxruntime')
    seen = []

    class Session(onnxruntime.InferenceSession):
        def __init__(self, model, options, **others):
            seen.append(options)
            super().__init__(model, options, **others)

    monkeypatch.setattr(onnxruntime, 'InferenceSession', Session)
    monkeypatch.setattr(threads, 'cores', lambda: 4)
    onnx_engine.OnnxEngine(graph(), threads=0)
    (options,) = seen
    assert options.intra_op_num_threads == 3
    assert options.enable_cpu_mem_arena and not options.enable_mem_pattern
    assert options.get_session_config_entry('session.intra_op.allow_spinning') == '1'
    assert options.get_session_config_entry('session.force_spinning_stop') == '1'
