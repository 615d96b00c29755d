# SPDX-License-Identifier: Apache-2.0
"""An engine of fixed sizes that answers like one whose input may be of any length."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import BundleError
from geoloc_core.runtime.engine import AbstractEngine, EngineReport, Shape
from geoloc_core.runtime.graph import FreeAxis


class PaddedEngine(AbstractEngine):
    """Fills an input up with its last value, and leaves out the answers to that."""

    def __init__(self, fixed: AbstractEngine, free: FreeAxis) -> None:
        """Takes an engine.

        Args:
            fixed: Its input `free.input` has a length, no less than will be asked.
            free: Input and output that belong together.
        """
        self._fixed = fixed
        self._free = free
        (self._length,) = fixed.inputs[free.input]

    @property
    def name(self) -> str:
        """See `AbstractEngine`."""
        return self._fixed.name

    @property
    def inputs(self) -> Mapping[str, Shape]:
        """See `AbstractEngine`."""
        return {**self._fixed.inputs, self._free.input: (-1,)}

    @property
    def outputs(self) -> Mapping[str, Shape]:
        """See `AbstractEngine`."""
        shapes = dict(self._fixed.outputs)
        sides = list(shapes[self._free.output])
        sides[self._free.axis] = -1
        return {**shapes, self._free.output: tuple(sides)}

    def run(self, arrays: Mapping[str, NDArray]) -> dict[str, NDArray]:
        """See `AbstractEngine`."""
        name, output, axis = self._free.input, self._free.output, self._free.axis
        asked = arrays.get(name, np.zeros(0))
        missing = self._length - len(asked)
        if not 0 <= missing < self._length:
            raise BundleError(f'{name} has length {len(asked)}, expected 1..{self._length}')
        filled = {**arrays, name: np.pad(asked, (0, missing), mode='edge')}
        answer = self._fixed.run(filled)
        answer[output] = np.take(answer[output], range(len(asked)), axis)
        return answer

    def report(self) -> EngineReport:
        """See `AbstractEngine`."""
        return self._fixed.report()

    def close(self) -> None:
        """See `AbstractEngine`."""
        self._fixed.close()
