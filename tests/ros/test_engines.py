# SPDX-License-Identifier: Apache-2.0
"""The node on a GPU that is none: it answers before, with, and after the engine there."""

import threading
from types import SimpleNamespace

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

from diagnostic_msgs.msg import DiagnosticStatus

from geoloc_core.runtime import engine_choice
from geoloc_core.runtime.bundle import load_bundle
from geoloc_ros import health
from tests.ros.rig import START_NS, view_of
from tests.runtime.fake_gpu import fake_gpu, plan_of
from tests.runtime.tiny_bundle import write_bundle

S = 10**9


def engine_status(r):
    """(level, text) of the newest diagnostics of the engine."""
    for message in reversed(r.got['/diagnostics']):
        for status in message.status:
            if status.name == 'geoloc: engine':
                return status.level, status.message
    return None, ''


@pytest.fixture
def gpu(monkeypatch):
    """A GPU, and the gate behind which its engine is built."""
    runtime, cuda, flavour = fake_gpu()
    there = engine_choice.Machine(cuda, '', (flavour,))
    gate = threading.Event()

    def build(weights, request, stop=None):
        assert gate.wait(30)
        return plan_of(weights)

    monkeypatch.setattr(engine_choice, 'look_around', lambda wanted='auto': there)
    monkeypatch.setattr(engine_choice, 'build_in_child', build)
    return runtime, gate


def test_frames_are_answered_before_with_and_after_the_gpu(rig, map_path, gpu, tmp_path):
    runtime, gate = gpu
    bundle = write_bundle(tmp_path / 'tiny')
    r = rig(
        {
            'map.path': map_path,
            'model.path': str(bundle),
            'model.engine_cache': str(tmp_path / 'engines'),
        }
    )
    r.start()
    r.localize(START_NS)
    r.ready(START_NS)
    (engine,) = r.node.session.localizer.engines
    picture = view_of(r.node.session.map_source, 0.4, -0.3, 0.02)
    reasons = []

    def frame(number):
        stamp = START_NS + number * S // 10
        r.image(stamp, picture)
        status, why = r.status_of(stamp)
        assert status == 'OK', why
        reasons.append(why)
        return engine.name

    assert frame(1) == 'onnxruntime CPU'
    r.wait(lambda: 'it is being made' in engine_status(r)[1], 'diagnostics')
    assert engine_status(r)[0] == DiagnosticStatus.OK

    gate.set()
    engine.wait_ready()
    frame(2)  # the proof: both answer
    assert frame(3) == 'tensorrt_rtx 1.7.1 on Imaginary RTX'
    assert 'answers from now on' in reasons[1] and 'engine' not in reasons[2]
    r.wait(lambda: engine_status(r)[1].startswith('tensorrt_rtx'), 'diagnostics')

    runtime.gone = True
    assert frame(4) == 'onnxruntime CPU'
    assert 'DevicesUnavailable; the CPU answers from this frame on' in reasons[3]
    assert frame(5) == 'onnxruntime CPU' and 'engine' not in reasons[4]
    r.wait(lambda: engine_status(r)[0] == DiagnosticStatus.WARN, 'diagnostics')
    assert 'DevicesUnavailable' in engine_status(r)[1]
    assert len(r.got['geoloc/pose']) == 5


def test_each_of_several_networks_has_a_status_of_its_own(tmp_path):
    bundle = load_bundle(write_bundle(tmp_path / 'tiny'))
    matcher, regressor = (bundle.open_engine(threads=1) for _ in range(2))
    regressor.system = 'vmloc'

    def told(*engines):
        session = SimpleNamespace(localizer=SimpleNamespace(engines=engines))
        found = health._engines(session)
        networks = [v.value for s in found for v in s.values if v.key == 'network']
        return [s.name for s in found], networks

    names, networks = told(matcher, regressor)
    assert names == ['geoloc: engine tiny-correlation', 'geoloc: engine vmloc']
    assert networks == ['tiny-correlation', 'vmloc']
    assert told(matcher) == (['geoloc: engine'], ['tiny-correlation'])


def test_an_engine_that_is_not_here_is_refused_at_configure(rig, map_path, tmp_path, monkeypatch):
    monkeypatch.setattr('geoloc_core.runtime.cuda._DRIVER', 'libnothing.so.1')
    bundle = write_bundle(tmp_path / 'tiny')
    r = rig({'map.path': map_path, 'model.path': str(bundle), 'model.engine': 'tensorrt'})
    r.node.trigger_configure()
    assert r.node.session is None
    assert 'engine tensorrt needs a GPU, but there is no NVIDIA driver' in r.node._why
