# SPDX-License-Identifier: Apache-2.0
"""Notices that a run diverged, without waiting for a GPU at every step."""

from pathlib import Path

import torch
from torch import Tensor

from geoloc_core.errors import GeolocError


class DivergedError(GeolocError):
    """The loss or a gradient is no number any more."""


class Watch:
    """Remembers, on the device, the first step of which a number was not finite."""

    def __init__(self, device: torch.device, world: int) -> None:
        """Begins with nothing seen.

        Args:
            device: Where the numbers are.
            world: Number of processes, all of which check together.
        """
        self._world = world
        self._first_bad = torch.full((), -1, device=device)
        self._seen: list[tuple[int, tuple[str, ...], Tensor]] = []

    def see(self, step: int, keys: tuple[str, ...], numbers: Tensor, good: Tensor) -> None:
        """Takes note of a step; nothing waits for the device.

        Args:
            step: Its number.
            keys: Of this process's samples.
            numbers: (N,) terms of the loss, the gradient's norm last.
            good: () bool, whether those of them that must be finite are.
        """
        self._first_bad = torch.where((self._first_bad >= 0) | good, self._first_bad, step)
        self._seen.append((step, keys, numbers))

    def check(self, state: Path) -> None:
        """Ends the run if any step since the last check went wrong; this waits for the device.

        Args:
            state: Where the last good state is, for the message.

        Raises:
            DivergedError: Names step, terms and samples.
        """
        first = int(self._first_bad.item())
        seen, self._seen = self._seen, []
        if first < 0:
            return
        step, keys, numbers = next(s for s in seen if s[0] == first)
        # One process's loss spoils the gradient of all: the samples of that one are named.
        fine = bool(torch.isfinite(numbers[:-1]).all())
        rows = [(fine, keys)] * self._world
        if self._world > 1:
            torch.distributed.all_gather_object(rows, (fine, keys))
        suspects = [k for good, k in rows if not good] or [k for _, k in rows]
        raise DivergedError(
            f'step {step}: loss or gradient is no number any more (terms, and the length of the '
            f'gradient: {", ".join(f"{v:.4g}" for v in numbers.tolist())}). The samples of that '
            f'batch: {", ".join(key for part in suspects for key in part)}. The last good state, '
            f'{state}, is kept. Look at those samples, or begin a new run with a lower '
            'optimizer.lr, a lower clip_norm or precision: 32-true'
        )
