# SPDX-License-Identifier: Apache-2.0
"""The two threads of the node: frames where the newest wins, sensor samples in order.

Callbacks of the executor only hand over and return, so that neither timers nor services ever wait
for inference. Both threads outlive whatever is thrown inside them. No ROS here.
"""

from collections import deque
from collections.abc import Callable
import threading
import time
from typing import Any, Generic, TypeVar

Item = TypeVar('Item')

STOP_TIMEOUT_S = 10.0


class LatestWorker(Generic[Item]):
    """Works on one item at a time; while it is busy, only the newest waits.

    Args:
        work: Called with each item, on the worker's own thread.
        dropped: Called with each item that a newer one pushed out, on the submitter's thread.
        failed: Called with an item and what `work` threw at it.
        name: Of the thread.
    """

    def __init__(
        self,
        work: Callable[[Item], None],
        dropped: Callable[[Item], None],
        failed: Callable[[Item, Exception], None],
        name: str = 'geoloc_worker',
    ) -> None:
        self._work = work
        self._dropped = dropped
        self._failed = failed
        self._condition = threading.Condition()
        self._slot: list[Item] = []
        self._busy = False
        self._running = True
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, item: Item) -> None:
        """Hands an item over; what was waiting is dropped."""
        with self._condition:
            old, self._slot = self._slot, [item] if self._running else []
            lost = old if self._running else [*old, item]
            self._condition.notify_all()
        for each in lost:
            self._dropped(each)

    def clear(self) -> None:
        """Drops what waits."""
        with self._condition:
            old, self._slot = self._slot, []
        for each in old:
            self._dropped(each)

    def wait_idle(self, timeout_s: float) -> bool:
        """Blocks until nothing waits or is worked on; False if that took too long."""
        with self._condition:
            return self._condition.wait_for(lambda: not self._slot and not self._busy, timeout_s)

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> bool:
        """Drops what waits and ends the thread once its current item is done.

        Returns:
            Whether the thread ended in time.
        """
        with self._condition:
            self._running = False
            self._condition.notify_all()
        self.clear()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._slot or not self._running)
                if not self._running:
                    return
                item = self._slot.pop()
                self._busy = True
            try:
                self._work(item)
            except Exception as error:  # the thread must live on, whatever a frame brings
                self._failed(item, error)
            finally:
                with self._condition:
                    self._busy = False
                    self._condition.notify_all()


class OrderedWorker:
    """Works through calls in the order they came; the oldest go when too many wait.

    Args:
        failed: Called with what a call threw.
        overflowed: Called with the number of calls given up at once.
        limit: Calls that may wait.
        name: Of the thread.
    """

    def __init__(
        self,
        failed: Callable[[Exception], None],
        overflowed: Callable[[int], None],
        limit: int = 5000,
        name: str = 'geoloc_sensors',
    ) -> None:
        self._failed = failed
        self._overflowed = overflowed
        self._limit = limit
        self._condition = threading.Condition()
        self._queue: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._submitted = 0
        self._done = 0
        self._running = True
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: Callable[..., None], *args: Any) -> None:
        """Puts a call in the queue."""
        given_up = 0
        with self._condition:
            if not self._running:
                return
            if len(self._queue) >= self._limit:
                self._queue.popleft()
                self._done += 1
                given_up = 1
            self._queue.append((work, args))
            self._submitted += 1
            self._condition.notify_all()
        if given_up:
            self._overflowed(given_up)

    def wait_for_earlier(self, timeout_s: float) -> bool:
        """Blocks until what was submitted before this call is done; False if too slow."""
        deadline = time.monotonic() + timeout_s
        with self._condition:
            goal = self._submitted
            return self._condition.wait_for(
                lambda: self._done >= goal or not self._running,
                max(deadline - time.monotonic(), 0.0),
            )

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> bool:
        """Forgets what waits and ends the thread; whether that happened in time."""
        with self._condition:
            self._running = False
            self._queue.clear()
            self._condition.notify_all()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._queue or not self._running)
                if not self._running:
                    return
                work, args = self._queue.popleft()
            try:
                work(*args)
            except Exception as error:  # one bad sample must not silence a sensor
                self._failed(error)
            finally:
                with self._condition:
                    self._done += 1
                    self._condition.notify_all()
