# SPDX-License-Identifier: Apache-2.0
"""Tells a single bad stamp from a clock that has really jumped (a bag that loops)."""

from geoloc_core.estimation.odometry_buffer import NS

FORWARD_JUMP_NS = 600 * NS


class StreamClock:
    """Watches the stamps of one stream.

    One stamp far off is a fault of that message. A second one that continues from it means that
    the clock itself has jumped.
    """

    def __init__(self, jump_s: float) -> None:
        self._jump_ns = int(jump_s * NS)
        self._newest: int | None = None
        self._suspect: int | None = None

    def judge(self, stamp_ns: int) -> str:
        """Says 'ok', 'suspect' (do not use this one) or 'jumped' (start anew from this one)."""
        if stamp_ns <= 0:
            return 'suspect'
        newest = self._newest
        if newest is None or newest - self._jump_ns <= stamp_ns <= newest + FORWARD_JUMP_NS:
            self._newest = stamp_ns if newest is None else max(newest, stamp_ns)
            self._suspect = None
            return 'ok'
        if self._suspect is not None and 0 <= stamp_ns - self._suspect <= self._jump_ns:
            self._newest, self._suspect = stamp_ns, None
            return 'jumped'
        self._suspect = stamp_ns
        return 'suspect'
