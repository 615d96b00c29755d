# SPDX-License-Identifier: Apache-2.0
"""Bundles of pose networks: `model.onnx` and `pose.json`, verified before use."""

from dataclasses import dataclass
from pathlib import Path

from geoloc_core.export_record import leading
from geoloc_core.pose_spec import PoseModelSpec
from geoloc_core.runtime.bundle import agree
from geoloc_core.runtime.bundle_files import parts_of, read_verified
from geoloc_core.runtime.engine import AbstractEngine, Shape
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

    def open_engine(self, threads: int = 2) -> AbstractEngine:
        """Loads the weights into an engine that agrees with the specification.

        Raises:
            BundleError: The engine refuses them, or their inputs and outputs are others.
        """
        engine = OnnxEngine(self.weights, threads)
        inputs, output, batch = self.spec.inputs, self.spec.output, leading(self.spec.export)
        sides = (inputs.colour.height, inputs.colour.width)
        wanted: dict[str, Shape] = {
            inputs.colour.name: (batch, inputs.colour.channels, *sides),
            inputs.depth.name: (batch, 2, *sides),
            inputs.present: (batch, 2),
        }
        agree('inputs', engine.inputs, wanted, SPEC)
        answers: dict[str, Shape] = {
            output.position: (batch, 3),
            output.rotation: (batch, 3, 3),
            output.cov: (batch, 6, 6),
        }
        agree('outputs', engine.outputs, answers, SPEC)
        return engine


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
