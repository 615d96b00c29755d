# SPDX-License-Identifier: Apache-2.0
"""A verified ONNX graph, and what an engine must know of it. All families of bundles have one."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoloc_core.export_record import ExportRecord
from geoloc_core.runtime.engine import Shape

# Largest difference of two runtimes' answers, as a share of an answer's range. Single precision
# is rounded to ten bits where a GPU multiplies (TF32), half precision everywhere.
TOLERANCES = {'fp32': 0.01, 'fp16': 0.03, 'int8': 0.1}


@dataclass(frozen=True)
class Graph:
    """A network for engines.

    Attributes:
        system: The method, for people.
        weights: Content of an .onnx file.
        sha256: Of that, hexadecimal.
        precision: 'fp32', 'fp16' or 'int8': that of its arithmetic. Inputs and outputs are
            float32 in all of them.
        shapes: Input name -> shape that it is to be run with, no side open.
        yaws: Name of the input of yaws, (K,) rad, of which a graph takes any number and an engine
            of fixed sizes as many as its shape says; '' for none.
    """

    system: str
    weights: bytes
    sha256: str
    precision: str
    shapes: Mapping[str, Shape]
    yaws: str = ''

    def warm_up(self) -> dict[str, NDArray[np.float32]]:
        """Inputs to try an engine with: noise, the same every time."""
        random = np.random.default_rng(0)
        arrays = {
            name: random.normal(size=shape).astype(np.float32)
            for name, shape in self.shapes.items()
        }
        if self.yaws:
            (count,) = self.shapes[self.yaws]
            arrays[self.yaws] = np.linspace(-1.0, 1.0, count, dtype=np.float32)
        return arrays

    @property
    def tolerance(self) -> float:
        """How far another runtime's answers may be from the CPU's, see `TOLERANCES`."""
        return TOLERANCES.get(self.precision, TOLERANCES['fp32'])


def precision_of(record: ExportRecord | None) -> str:
    """Precision of a bundle's graph; bundles written before there were records are fp32."""
    return 'fp32' if record is None else record.precision
