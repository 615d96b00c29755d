# SPDX-License-Identifier: Apache-2.0
"""Running means that stay on the device: reading a number waits for it, so it is done seldom."""

from collections.abc import Mapping

import torch
from torch import Tensor


class Meters:
    """Sums of named scalars.

    Terms may come and go (a loss that begins later): each is divided by its own count.
    """

    def __init__(self) -> None:
        """Begins empty."""
        self._sums: dict[tuple[str, ...], Tensor] = {}
        self._counts: dict[tuple[str, ...], int] = {}

    def add(self, names: tuple[str, ...], values: Tensor) -> None:
        """Counts one value of each name; nothing waits for the device.

        Args:
            names: N of them.
            values: (N,) float32.
        """
        # Not in place: `values` may be shared with another meter.
        before = self._sums.get(names)
        self._sums[names] = values.clone() if before is None else before + values
        self._counts[names] = self._counts.get(names, 0) + 1

    def share(self, world: int) -> None:
        """Makes the sums those of all processes (their mean), which must all call this.

        Args:
            world: Number of processes.
        """
        if world > 1:
            for values in self._sums.values():
                torch.distributed.all_reduce(values)
                values /= world

    def means(self) -> dict[str, float]:
        """Name -> mean; this waits for the device."""
        sums: dict[str, float] = {}
        counts: dict[str, int] = {}
        for names, values in self._sums.items():
            for name, value in zip(names, values.tolist(), strict=True):
                sums[name] = sums.get(name, 0.0) + value
                counts[name] = counts.get(name, 0) + self._counts[names]
        return {name: sums[name] / counts[name] for name in sums}

    def state(self) -> list:
        """For saving."""
        return [[list(n), v.cpu(), self._counts[n]] for n, v in self._sums.items()]

    def restore(self, state: list, device: torch.device) -> None:
        """Goes on from what `state` gave."""
        self._sums = {tuple(n): v.to(device) for n, v, _ in state}
        self._counts = {tuple(n): c for n, _, c in state}


def scalars_of(losses: Mapping[str, Tensor]) -> tuple[tuple[str, ...], Tensor]:
    """Names and a vector (N,) float32 of an objective's terms."""
    # Terms may be plain numbers: a weight that changes, a share of samples.
    device = next(v.device for v in losses.values() if isinstance(v, Tensor))
    values = [torch.as_tensor(v, device=device).detach().float() for v in losses.values()]
    return tuple(losses), torch.stack([v.reshape(()) for v in values])
