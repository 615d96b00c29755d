# SPDX-License-Identifier: Apache-2.0
"""What bundles of all families are: verified weights, and the engine that they are opened into.

A family says which shapes its specification promises; everything else is here.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Generic

from geoloc_core.errors import BundleError
from geoloc_core.export_record import leading
from geoloc_core.runtime.bundle_files import S
from geoloc_core.runtime.engine import AbstractEngine, Shape
from geoloc_core.runtime.engine_choice import EngineSettings, open_engine
from geoloc_core.runtime.graph import Graph, precision_of
from geoloc_core.runtime.onnx_engine import OnnxEngine


@dataclass(frozen=True)
class AbstractBundle(ABC, Generic[S]):
    """Verified weights and what they are.

    Attributes:
        SPEC_FILE: Name of the specification in the bundle.
        RUNS_IN_TORCH: Whether the engine `torch` knows networks of this family; for the others it
            counts as `auto`.
        folder: Where they were read: a folder, or one file.
        spec: What they expect and return.
        weights: Content of model.onnx, whose sha256 is the specification's.
        sample: Content of sample.npz, see `parity_sample`; empty where there is none.
    """

    SPEC_FILE: ClassVar[str]
    RUNS_IN_TORCH: ClassVar[bool] = False

    folder: Path
    spec: S
    weights: bytes
    sample: bytes = b''

    @abstractmethod
    def input_shapes(self) -> dict[str, Shape]:
        """Input name -> shape that the specification promises, no side open."""

    @abstractmethod
    def output_shapes(self) -> dict[str, Shape]:
        """Output name -> shape that the specification promises."""

    @property
    @abstractmethod
    def yaw_input(self) -> str:
        """Name of the input of yaws, see `Graph.yaws`; '' for none."""

    @property
    def batch(self) -> int:
        """Samples that the graph is run with at a time."""
        return leading(self.spec.export)

    def require_single(self) -> None:
        """Refuses a network for batches: a robot has one frame at a time.

        Raises:
            BundleError: It is one.
        """
        if self.batch != 1:
            raise BundleError(
                f'{self.folder}: the model takes {self.batch} frames at a time, a robot has one: '
                'export it with --batch 1'
            )

    def graph(self) -> Graph:
        """The network, for engines."""
        spec = self.spec
        precision = precision_of(spec.export)
        return Graph(
            spec.system, self.weights, spec.sha256, precision, self.input_shapes(), self.yaw_input
        )

    def open_engine(
        self, threads: int = 2, settings: EngineSettings | None = None
    ) -> AbstractEngine:
        """Loads the weights into an engine that agrees with the specification.

        Args:
            threads: Of one inference on the CPU.
            settings: Which engine; None for onnxruntime on the CPU.

        Raises:
            BundleError: The engine refuses them, or their inputs and outputs are others.
            EngineError: The engine asked for is not here.
        """
        engine = self._opened(threads, settings)
        engine.system = self.spec.system
        return engine

    def _opened(self, threads: int, settings: EngineSettings | None) -> AbstractEngine:
        outputs = self.output_shapes()
        cpu = OnnxEngine(self.weights, threads)
        self._require_same('inputs', cpu.inputs, self.input_shapes())
        self._require_same('outputs', cpu.outputs, outputs)
        if settings is None:
            return cpu
        if settings.engine == 'torch' and self.RUNS_IN_TORCH:
            from geoloc_core.runtime.torch_engine import TorchEngine

            (output,) = outputs
            return TorchEngine(settings.torch_weights, cpu.inputs, output, self.yaw_input, threads)
        return open_engine(self.graph(), cpu, settings)

    def _require_same(
        self, what: str, found: Mapping[str, Shape], expected: Mapping[str, Shape]
    ) -> None:
        """Refuses names or shapes that differ from the specification (-1 agrees with all)."""
        same = set(found) == set(expected) and all(
            len(found[name]) == len(shape)
            and all(a in (-1, b) for a, b in zip(found[name], shape, strict=True))
            for name, shape in expected.items()
        )
        if not same:
            raise BundleError(
                f'the model has {what} {dict(found)}, but {self.SPEC_FILE} says {dict(expected)}'
            )
