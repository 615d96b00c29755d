# SPDX-License-Identifier: Apache-2.0
"""Runs on the CPU until something quicker is ready and proven, and again once that fails.

The quicker engine is made on a thread of its own while frames are answered by the CPU. It is
believed after two comparisons with the CPU: on noise, and on the first frame that comes then. From
there on it answers; a frame that it cannot answer is answered by the CPU, and so are all later
ones.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
import threading

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import EngineError, GeolocError
from geoloc_core.runtime.engine import AbstractEngine, EngineReport, Shape

Arrays = Mapping[str, NDArray]
# Makes the quicker engine; the event is set once it is not wanted any more.
Maker = Callable[[threading.Event], AbstractEngine]
_STOP_S = 5.0


class SwappingEngine(AbstractEngine):
    """An engine that may be replaced while it is used."""

    def __init__(
        self, cpu: AbstractEngine, make: Maker, warm_up: Arrays, tolerance: float, wanted: str
    ) -> None:
        """Begins to make the quicker engine.

        Args:
            cpu: What answers meanwhile, and whenever the other one fails.
            make: Makes the other one; takes as long as it takes, raises an `EngineError`.
            warm_up: Inputs to compare both on, once it is there.
            tolerance: Largest difference of their answers, as a share of an answer's range.
            wanted: What is being made and why, for people.

        Raises:
            BundleError: The CPU cannot run the warm-up.
        """
        self._cpu = cpu
        self._make = make
        self._warm_up = dict(warm_up)
        self._expected = cpu.run(self._warm_up)
        self._tolerance = tolerance
        self._wanted = wanted
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._fast: AbstractEngine | None = None
        self._proven = False
        self._failed = ''
        self._news: list[str] = []
        self._thread = threading.Thread(target=self._prepare, name='geoloc_engine', daemon=True)
        self._thread.start()

    @property
    def name(self) -> str:
        """See `AbstractEngine`."""
        fast = self._fast
        return fast.name if fast is not None and self._proven else self._cpu.name

    @property
    def inputs(self) -> Mapping[str, Shape]:
        """See `AbstractEngine`; they may become fixed when the quicker engine is there."""
        fast = self._fast
        return self._cpu.inputs if fast is None else fast.inputs

    @property
    def outputs(self) -> Mapping[str, Shape]:
        """See `AbstractEngine`."""
        return self._cpu.outputs

    def run(self, arrays: Arrays) -> dict[str, NDArray]:
        """See `AbstractEngine`."""
        fast = self._fast
        # What was prepared before it was there may be of sizes that it does not take.
        if fast is None or not _takes(fast.inputs, arrays):
            return self._cpu.run(arrays)
        try:
            answer = fast.run(arrays)
            _require_numbers(answer)
            if self._proven:
                return answer
            expected = self._cpu.run(arrays)
            _require_alike(expected, answer, self._tolerance)
        except EngineError as error:
            self._give_up(f'{error}; the CPU answers from this frame on')
            return self._cpu.run(arrays)
        self._proven = True
        self._tell(f'{fast.name} answers from now on')
        return expected

    def report(self) -> EngineReport:
        """See `AbstractEngine`."""
        fast, failed = self._fast, self._failed
        if failed:
            return EngineReport(self._cpu.name, f'{self._wanted}; but {failed}', True)
        if fast is None:
            return EngineReport(self._cpu.name, f'{self._wanted}; it is being made')
        told = fast.report()
        if not self._proven:
            text = f'{self._wanted}; it is made and waits for a frame to prove itself'
            return EngineReport(self._cpu.name, text, False, told.values)
        return EngineReport(told.running, self._wanted, False, told.values)

    def news(self) -> tuple[str, ...]:
        """See `AbstractEngine`."""
        with self._lock:
            news, self._news = self._news, []
        return tuple(news)

    def wait_ready(self) -> None:
        """See `AbstractEngine`."""
        self._thread.join()

    def close(self) -> None:
        """See `AbstractEngine`."""
        self._stop.set()
        self._thread.join(_STOP_S)
        with self._lock:
            fast, self._fast = self._fast, None
        if fast is not None:
            fast.close()

    def _prepare(self) -> None:
        """The thread: makes the other engine and compares it on the warm-up."""
        made: AbstractEngine | None = None
        try:
            made = self._make(self._stop)
            answer = made.run(self._warm_up)
            _require_numbers(answer)
            _require_alike(self._expected, answer, self._tolerance)
        except Exception as error:  # whatever it is, the robot goes on without
            known = isinstance(error, GeolocError)
            self._give_up(str(error) if known else f'{type(error).__name__}: {error}')
            if made is not None:
                made.close()
            return
        with self._lock:
            if not self._stop.is_set():
                self._fast, made = made, None
        if made is not None:
            made.close()

    def _give_up(self, why: str) -> None:
        with self._lock:
            fast, self._fast, self._failed = self._fast, None, why
        if not self._stop.is_set():
            self._tell(why)
        if fast is not None:
            # Of a device that is gone nothing can be given back.
            with suppress(EngineError):
                fast.close()

    def _tell(self, text: str) -> None:
        with self._lock:
            self._news.append(f'engine: {text}')


def difference(expected: Mapping[str, NDArray], found: Mapping[str, NDArray]) -> float:
    """Largest difference of two engines' answers, as a share of the range of each output.

    Raises:
        EngineError: Their names or shapes differ.
    """
    worst = 0.0
    if set(expected) != set(found):
        raise EngineError(f'it answers with {sorted(found)}, expected {sorted(expected)}')
    for name, wanted in expected.items():
        if found[name].shape != wanted.shape:
            raise EngineError(f'{name} has shape {found[name].shape}, expected {wanted.shape}')
        wide = wanted.astype(np.float64)
        span = float(np.ptp(wide)) or float(np.abs(wide).max()) or 1.0
        worst = max(worst, float(np.abs(wide - found[name]).max()) / span)
    return worst


def _takes(inputs: Mapping[str, Shape], arrays: Arrays) -> bool:
    """Whether arrays have the sizes that an engine wants."""
    return inputs.keys() == arrays.keys() and all(
        len(shape) == arrays[name].ndim
        and all(a in (-1, b) for a, b in zip(shape, arrays[name].shape, strict=True))
        for name, shape in inputs.items()
    )


def _require_alike(expected: Arrays, found: Arrays, tolerance: float) -> None:
    off = difference(expected, found)
    if not off <= tolerance:
        raise EngineError(
            f'its answer differs from that of the CPU by {off:.2g} of its range, allowed are '
            f'{tolerance:g}'
        )


def _require_numbers(answer: Arrays) -> None:
    for name, values in answer.items():
        if not np.isfinite(values).all():
            raise EngineError(f'its {name} is not finite everywhere')
