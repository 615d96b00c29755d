# SPDX-License-Identifier: Apache-2.0
"""Bundles of pose networks: `model.onnx` and `pose.json`, verified before use."""

from dataclasses import dataclass
from pathlib import Path

from geoloc_core.export_record import leading
from geoloc_core.pose_spec import PoseModelSpec
from geoloc_core.runtime.bundle import agree
from geoloc_core.runtime.bundle_files import parts_of, read_verified
from geoloc_core.runtime.engine import AbstractEngine, Shape
from geoloc_core.runtime.engine_choice import EngineSettings, open_engine
from geoloc_core.runtime.graph import Graph, precision_of
from geoloc_core.runtime.onnx_engine import OnnxEngine
from geoloc_core.runtime.parity_sample import read_sample

SPEC = 'pose.json'


@dataclass(frozen=True)
class PoseBundle:
    """Verified weights of a pose network and what they are.

    Attributes:
        folder: Where they were read: a folder, or one file.
        spec: What they expect and return.
        weights: Content of model.onnx, whose sha256 is the specification's.
        sample: Content of sample.npz, see `parity_sample`; empty where there is none.
    """

    folder: Path
    spec: PoseModelSpec
    weights: bytes
    sample: bytes = b''

    def graph(self) -> Graph:
        """The network, for engines."""
        inputs, batch = self.spec.inputs, leading(self.spec.export)
        sides = (inputs.colour.height, inputs.colour.width)
        shapes: dict[str, Shape] = {
            inputs.colour.name: (batch, inputs.colour.channels, *sides),
            inputs.depth.name: (batch, 2, *sides),
            inputs.present: (batch, 2),
        }
        precision = precision_of(self.spec.export)
        return Graph(self.spec.system, self.weights, self.spec.sha256, precision, shapes)

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
        graph, output, batch = self.graph(), self.spec.output, leading(self.spec.export)
        cpu = OnnxEngine(self.weights, threads)
        agree('inputs', cpu.inputs, dict(graph.shapes), SPEC)
        answers: dict[str, Shape] = {
            output.position: (batch, 3),
            output.rotation: (batch, 3, 3),
            output.cov: (batch, 6, 6),
        }
        agree('outputs', cpu.outputs, answers, SPEC)
        return cpu if settings is None else open_engine(graph, cpu, settings)


def is_pose_bundle(folder: str | Path) -> bool:
    """Whether a folder (or one file) is a bundle of a pose network, not of a cross-view one."""
    return SPEC in parts_of(Path(folder))


def load_pose_bundle(folder: str | Path) -> PoseBundle:
    """Reads and verifies a bundle.

    Args:
        folder: Or its one file.

    Raises:
        BundleError: A part is missing, too large, damaged or not what the specification says.
    """
    folder = Path(folder)
    spec, weights = read_verified(folder, SPEC, PoseModelSpec.from_json)
    return PoseBundle(folder, spec, weights, read_sample(folder))
