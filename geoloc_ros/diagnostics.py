# SPDX-License-Identifier: Apache-2.0
"""What the node knows about its own health: rates, ages, refusals, durations, in plain numbers.

No ROS here, and all ages in steady time: a paused simulation is not a dead sensor. Every method
may be called from any thread.
"""

from collections import Counter, deque
from collections.abc import Callable
import re
import threading
import time
from typing import Any

import numpy as np

WINDOW_S = 5.0
DURATIONS_KEPT = 200


class InputMonitor:
    """One input topic: how often it speaks and what was refused.

    Args:
        topic: Its name, for people.
        expected: Whether silence from the start is worth a warning.
        continuous: Whether silence after the first message is.
    """

    def __init__(self, topic: str, expected: bool, continuous: bool = True) -> None:
        self.topic = topic
        self.expected = expected
        self.continuous = continuous
        self.received = 0
        self.refused: Counter[str] = Counter()
        self.last_reason = ''
        self.lost_on_wire = 0
        self._lock = threading.Lock()
        self._times: deque[float] = deque(maxlen=5000)
        self._last_sequence: int | None = None

    def arrived(self, sequence: int | None = None) -> None:
        """Counts a message.

        Args:
            sequence: The publisher's running number where the middleware gives it; a gap means
                that messages were lost on the wire.
        """
        now = time.monotonic()
        with self._lock:
            self.received += 1
            self._times.append(now)
            if sequence is not None:
                # A second publisher or a restarted one starts its own count: only a small step
                # forward is a gap.
                if self._last_sequence is not None:
                    gap = sequence - self._last_sequence - 1
                    self.lost_on_wire += gap if 0 < gap < 1000 else 0
                self._last_sequence = sequence

    def refuse(self, status: str, reason: str) -> None:
        """Counts a message that was not used, and why."""
        with self._lock:
            self.refused[status] += 1
            self.last_reason = reason

    def values(self) -> dict[str, Any]:
        """Numbers for a diagnostic message."""
        now = time.monotonic()
        with self._lock:
            while self._times and now - self._times[0] > WINDOW_S and len(self._times) > 1:
                self._times.popleft()
            recent = [t for t in self._times if now - t <= WINDOW_S]
            age = now - self._times[-1] if self._times else float('inf')
            values: dict[str, Any] = {
                'received': self.received,
                'rate_hz': len(recent) / WINDOW_S,
                'age_s': age,
                'lost_on_wire': self.lost_on_wire,
            }
            values |= {f'refused_{status}': n for status, n in sorted(self.refused.items())}
            if self.last_reason:
                values['last_reason'] = self.last_reason
            return values

    def complaint(self) -> str:
        """What is wrong with this input now, or ''."""
        values = self.values()
        if not self.received:
            text = f'nothing received on {self.topic}: is it published, is it remapped?'
            return text if self.expected else ''
        if self.continuous and values['age_s'] > WINDOW_S:
            return f'{self.topic} is silent for {values["age_s"]:.0f} s'
        return ''


class Durations:
    """The latest durations of each stage."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stages: dict[str, deque[float]] = {}

    def add(self, timings_ms: dict[str, float]) -> None:
        """Adds one frame's stages, ms."""
        with self._lock:
            for stage, duration in timings_ms.items():
                self._stages.setdefault(stage, deque(maxlen=DURATIONS_KEPT)).append(duration)

    def values(self) -> dict[str, Any]:
        """Mean and 95th percentile of each stage, ms."""
        with self._lock:
            stages = {stage: np.array(samples) for stage, samples in self._stages.items()}
        values: dict[str, Any] = {}
        for stage, samples in stages.items():
            values[f'{stage}_mean'] = float(samples.mean())
            values[f'{stage}_p95'] = float(np.percentile(samples, 95))
        return values


class Complaints:
    """Says a thing when it is new and again every `period_s`, not a hundred times a second.

    Args:
        say: Where to say it.
        period_s: Pause before the same thing is said again.
    """

    def __init__(self, say: Callable[[str], None], period_s: float = 10.0) -> None:
        self._say = say
        self._period_s = period_s
        self._lock = threading.Lock()
        self._said: dict[tuple[str, str], tuple[float, int]] = {}

    def add(self, topic: str, text: str) -> None:
        """Complains about a topic; texts that differ in numbers only are the same complaint."""
        key = (topic, re.sub(r'[-+]?\d+(\.\d+)?(e[-+]?\d+)?', '#', text))
        now = time.monotonic()
        with self._lock:
            last, silent = self._said.get(key, (-float('inf'), 0))
            if now - last < self._period_s:
                self._said[key] = (last, silent + 1)
                return
            self._said[key] = (now, 0)
        more = f' ({silent} more like this since)' if silent else ''
        self._say(f'{topic}: {text}{more}')


def ellipse_axes_m(cov: Any) -> tuple[float, float]:
    """One-sigma (major, minor) axes of the horizontal position, m, of a (6, 6) covariance."""
    minor, major = np.sqrt(np.maximum(np.linalg.eigvalsh(np.asarray(cov)[:2, :2]), 0.0))
    return float(major), float(minor)
