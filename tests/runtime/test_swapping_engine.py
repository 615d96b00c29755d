# SPDX-License-Identifier: Apache-2.0
"""An engine that is replaced while it is used: when it is believed, and when it is given up."""

import threading

import numpy as np
import pytest

from geoloc_core.errors import EngineError
from geoloc_core.runtime.engine import AbstractEngine
from geoloc_core.runtime.swapping_engine import difference, SwappingEngine


class Doubling(AbstractEngine):
    """Answers with twice what it is given, and counts; may be told to do otherwise."""

    def __init__(self, name, factor=2.0):
        self.called, self.factor, self.fails, self.closed = name, factor, None, False
        self.runs = []

    @property
    def name(self):
        return self.called

    @property
    def inputs(self):
        return {'x': (-1,)}

    @property
    def outputs(self):
        return {'y': (-1,)}

    def run(self, arrays):
        self.runs.append(arrays['x'])
        if self.fails is not None:
            raise self.fails
        return {'y': self.factor * arrays['x']}

    def close(self):
        self.closed = True


WARM_UP = {'x': np.linspace(-1, 1, 5, dtype=np.float32)}
FRAME = {'x': np.linspace(1, 3, 4, dtype=np.float32)}


def made(fast, gate=None):
    """A swapping engine whose quicker one is `fast`, once the gate opens."""

    def make(stop):
        if gate is not None:
            assert gate.wait(10)
        if isinstance(fast, Exception):
            raise fast
        return fast

    return SwappingEngine(Doubling('slow'), make, WARM_UP, 0.01, 'quick is wanted')


def answers(engine):
    np.testing.assert_allclose(engine.run(FRAME)['y'], 2 * FRAME['x'], rtol=0.01)


def test_frames_are_answered_while_it_is_being_made_and_by_it_afterwards():
    fast, gate = Doubling('fast'), threading.Event()
    engine = made(fast, gate)
    answers(engine)
    assert engine.name == 'slow' and 'it is being made' in str(engine.report())
    assert not engine.report().degraded and not fast.runs
    gate.set()
    engine.wait_ready()
    assert engine.name == 'slow' and 'waits for a frame' in str(engine.report())
    answers(engine)
    assert engine.name == 'fast' and str(engine.report()) == 'fast: quick is wanted'
    assert engine.news() == ('engine: fast answers from now on',)
    assert engine.news() == ()
    # The proof on the warm-up, the proof on the frame; now it alone.
    before = len(engine._cpu.runs)
    answers(engine)
    assert len(fast.runs) == 3 and len(engine._cpu.runs) == before


@pytest.mark.parametrize(
    ('fast', 'why'),
    [
        (EngineError('the parser refuses it'), 'the parser refuses it'),
        (RuntimeError('bindings'), 'RuntimeError: bindings'),
        (Doubling('wrong', 2.2), 'differs from that of the CPU'),
        (Doubling('nothing', float('nan')), 'not finite'),
    ],
)
def test_one_that_cannot_be_made_or_is_wrong_is_never_used(fast, why):
    engine = made(fast)
    engine.wait_ready()
    answers(engine)
    report = engine.report()
    assert engine.name == 'slow' and report.degraded and why in str(report)
    assert why in engine.news()[0]
    assert not isinstance(fast, Doubling) or fast.closed


def test_one_that_is_right_on_noise_and_wrong_on_a_frame_is_given_up():
    fast = Doubling('fast')
    engine = made(fast)
    engine.wait_ready()
    fast.factor = 1.9
    answers(engine)
    assert engine.report().degraded and fast.closed


@pytest.mark.parametrize('fault', ['raises', 'not finite'])
def test_a_device_that_fails_on_the_way_costs_no_frame(fault):
    fast = Doubling('fast')
    engine = made(fast)
    engine.wait_ready()
    for _ in range(2):
        answers(engine)
    engine.news()
    if fault == 'raises':
        fast.fails = EngineError('the GPU is gone')
    else:
        fast.factor = float('inf')
    answers(engine)
    assert engine.name == 'slow' and engine.report().degraded and fast.closed
    (told,) = engine.news()
    assert 'the CPU answers from this frame on' in told
    tried = len(fast.runs)
    answers(engine)
    assert len(fast.runs) == tried


def test_it_can_be_closed_while_the_other_is_being_made():
    fast, stopped = Doubling('fast'), []

    def make(stop):
        stopped.append(stop.wait(10))
        return fast

    engine = SwappingEngine(Doubling('slow'), make, WARM_UP, 0.01, 'quick')
    engine.close()
    assert stopped == [True] and fast.closed
    assert engine.news() == ()


def test_differences_are_shares_of_the_range():
    a = {'y': np.array([0.0, 10.0])}
    assert difference(a, {'y': np.array([0.0, 9.0])}) == pytest.approx(0.1)
    # Of a constant answer, shares of its size.
    assert difference({'y': np.array([4.0])}, {'y': np.array([5.0])}) == pytest.approx(0.25)
    with pytest.raises(EngineError, match='shape'):
        difference(a, {'y': np.zeros(3)})
    with pytest.raises(EngineError, match='expected'):
        difference(a, {'z': a['y']})
