# SPDX-License-Identifier: Apache-2.0
"""Decoded imagery around the robot, kept in memory and fetched ahead of need.

Cutting a patch out of a file costs tens of milliseconds of decoding; out of memory, one. So a
block around the robot stays decoded. When a request comes near its edge, a background thread
decodes the next block around the request, so that a driving robot does not wait for it.
"""

from concurrent.futures import Future, ThreadPoolExecutor
import contextlib
from dataclasses import dataclass
import logging
import math
import os
import threading

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import MapError
from geoloc_core.maps.pyramid import AbstractPyramid, Mask, Rgb, Scale, Window

_log = logging.getLogger(__name__)

_BYTES_PER_CELL = 4  # three colours and the mask
# Of the way from the middle of a block to where a request would leave it.
_PREFETCH_AT = 0.5
# A block read while the caller waits is the request and a little around it, of its side.
_QUICK_MARGIN = 0.125


@dataclass(frozen=True, eq=False)
class Block:
    """A decoded window.

    Attributes:
        window: Its place, level pixels, aligned to `scale`.
        scale: The level, and its pixels per cell.
        rgb: (rows, columns, 3) uint8.
        mask: (rows, columns) uint8, 255 = imagery; None if everywhere.
    """

    window: Window
    scale: Scale
    rgb: Rgb
    mask: Mask | None

    def cell_from_level(self) -> NDArray[np.float64]:
        """(2, 3) affine, level pixels -> cells, both with integers at centres."""
        step_u, step_v = self.scale.step_u, self.scale.step_v
        return np.array(
            [
                [1 / step_u, 0.0, (0.5 - self.window.col) / step_u - 0.5],
                [0.0, 1 / step_v, (0.5 - self.window.row) / step_v - 0.5],
            ]
        )


class BlockCache:
    """The blocks of one pyramid. Safe to use from several threads."""

    def __init__(self, pyramid: AbstractPyramid, block_m: float, memory_mb: float) -> None:
        """Takes the pyramid, the wanted side of a block in m, and a limit for all blocks.

        `block_m` 0 reads what is asked and a little around it, and nothing ahead.
        """
        self._pyramid = pyramid
        self._block_m = block_m
        # Four: the block in use, the next one, one at another scale, and what decoding needs.
        self._max_cells = int(memory_mb * 2**20 / _BYTES_PER_CELL / 4)
        self._blocks: list[Block] = []  # most recently used first
        self._lock = threading.Lock()
        self._worker: ThreadPoolExecutor | None = None
        self._pending: Future[None] | None = None
        self._closed = False

    @property
    def max_cells(self) -> int:
        """The most cells one block may have."""
        return self._max_cells

    def get(self, scale: Scale, needed: Window, cell_m: float) -> Block:
        """A block that covers a window, from memory or read now; reads ahead if it is time.

        Args:
            scale: The level, and its pixels per cell.
            needed: Level pixels, cut to the level's extent.
            cell_m: Side of a cell on the ground, m; makes metres of `block_m`.

        Raises:
            MapError: The file is damaged.
        """
        block = self._find(scale, needed)
        if block is None:
            quick = self._cut(scale, _grown(needed, _QUICK_MARGIN))
            if math.prod(scale.cells(quick)) > self._max_cells:
                quick = scale.aligned(needed)
            block = Block(quick, scale, *self._pyramid.read_cells(scale, quick))
            self._keep(block)
        full = self._full_window(scale, needed, cell_m)
        if full is not None and self._is_time(block, needed, full):
            self._read_ahead(scale, full)
        return block

    def wait(self) -> None:
        """Waits until nothing is being read ahead."""
        with self._lock:
            pending = self._pending
        if pending is not None:
            pending.result()

    def close(self) -> None:
        """Stops reading ahead and forgets all blocks. Safe to call twice."""
        self._closed = True
        with self._lock:
            worker, self._worker = self._worker, None
            self._blocks.clear()
        if worker is not None:
            worker.shutdown(wait=True)

    def _find(self, scale: Scale, needed: Window) -> Block | None:
        with self._lock:
            fits = [b for b in self._blocks if b.scale == scale and b.window.covers(needed)]
            if not fits:
                return None
            # Of several, the one that leaves most room around the request.
            best = max(fits, key=lambda b: _room(b.window, needed, self._extent(scale)))
            self._blocks.sort(key=lambda b: b is not best)
            return best

    def _keep(self, block: Block) -> None:
        with self._lock:
            if self._closed:
                return
            others = [
                b
                for b in self._blocks
                if b.scale != block.scale or not block.window.covers(b.window)
            ]
            self._blocks = [block, *others]
            total = 0
            for number, kept in enumerate(self._blocks):
                total += math.prod(kept.scale.cells(kept.window))
                if number and total > 3 * self._max_cells:
                    del self._blocks[number:]
                    break

    def _extent(self, scale: Scale) -> Window:
        return scale.aligned(self._pyramid.levels[scale.level].extent)

    def _cut(self, scale: Scale, window: Window) -> Window:
        aligned = scale.aligned(window)
        return aligned.intersection(self._extent(scale)) or aligned

    def _full_window(self, scale: Scale, needed: Window, cell_m: float) -> Window | None:
        """The block to keep around a request, or None if memory does not allow for one."""
        columns, rows = scale.cells(scale.aligned(needed))
        side = min(self._block_m / cell_m, math.sqrt(self._max_cells) - 8)
        width, height = max(side, columns), max(side, rows)
        if side < 1.25 * max(columns, rows) or width * height > self._max_cells:
            return None
        margin_u = math.ceil((width - columns) / 2 * scale.step_u)
        margin_v = math.ceil((height - rows) / 2 * scale.step_v)
        around = Window(
            needed.col - margin_u,
            needed.row - margin_v,
            needed.width + 2 * margin_u,
            needed.height + 2 * margin_v,
        )
        return self._cut(scale, around)

    def _is_time(self, block: Block, needed: Window, full: Window) -> bool:
        if block.window.covers(full):
            return False
        extent = self._extent(block.scale)
        return _room(block.window, needed, extent) < (1 - _PREFETCH_AT) * _room(
            full, needed, extent
        )

    def _read_ahead(self, scale: Scale, window: Window) -> None:
        with self._lock:
            if self._closed or (self._pending is not None and not self._pending.done()):
                return  # the next request asks again
            if self._worker is None:
                self._worker = ThreadPoolExecutor(1, 'geoloc-map', initializer=_give_way)
            self._pending = self._worker.submit(self._read_block, scale, window)

    def _read_block(self, scale: Scale, window: Window) -> None:
        try:
            cells = self._pyramid.read_cells(scale, window, lambda: self._closed)
        except MapError as error:
            # The request that needs this place reads it again and raises.
            if not self._closed:
                _log.warning('reading the map ahead failed: %s', error)
            return
        self._keep(Block(window, scale, *cells))


def _give_way() -> None:
    """Lets the threads that serve the robot go first (Linux; elsewhere nothing happens)."""
    if hasattr(os, 'setpriority'):
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


def _grown(window: Window, fraction: float) -> Window:
    margin_u, margin_v = round(window.width * fraction), round(window.height * fraction)
    return Window(
        window.col - margin_u,
        window.row - margin_v,
        window.width + 2 * margin_u,
        window.height + 2 * margin_v,
    )


def _room(window: Window, needed: Window, extent: Window) -> float:
    """Pixels from a request to the nearest edge of a block behind which the map goes on."""
    sides = (
        (needed.col - window.col, window.col <= extent.col),
        (needed.row - window.row, window.row <= extent.row),
        (window.right - needed.right, window.right >= extent.right),
        (window.bottom - needed.bottom, window.bottom >= extent.bottom),
    )
    return min((room for room, at_end in sides if not at_end), default=math.inf)
