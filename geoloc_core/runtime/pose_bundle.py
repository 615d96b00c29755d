# SPDX-License-Identifier: Apache-2.0
"""Bundles of pose networks: a folder with `model.onnx` and `pose.json`, verified before use."""

from dataclasses import dataclass
import hashlib
from pathlib import Path

from geoloc_core.errors import BundleError
from geoloc_core.pose_spec import PoseModelSpec
from geoloc_core.runtime.bundle import agree, MAX_SPEC_BYTES, MAX_WEIGHTS_BYTES, read_part, WEIGHTS
from geoloc_core.runtime.engine import AbstractEngine, Shape
from geoloc_core.runtime.onnx_engine import OnnxEngine

SPEC = 'pose.json'


@dataclass(frozen=True)
class PoseBundle:
    """Verified weights of a pose network and what they are.

    Attributes:
        folder: Where they were read.
        spec: What they expect and return.
        weights: Content of model.onnx, whose sha256 is the specification's.
    """

    folder: Path
    spec: PoseModelSpec
    weights: bytes

    def open_engine(self, threads: int = 2) -> AbstractEngine:
        """Loads the weights into an engine that agrees with the specification.

        Raises:
            BundleError: The engine refuses them, or their inputs and outputs are others.
        """
        engine = OnnxEngine(self.weights, threads)
        inputs, output = self.spec.inputs, self.spec.output
        sides = (inputs.colour.height, inputs.colour.width)
        wanted: dict[str, Shape] = {
            inputs.colour.name: (1, inputs.colour.channels, *sides),
            inputs.depth.name: (1, 2, *sides),
            inputs.present: (1, 2),
        }
        agree('inputs', engine.inputs, wanted, SPEC)
        answers: dict[str, Shape] = {
            output.position: (1, 3),
            output.rotation: (1, 3, 3),
            output.cov: (1, 6, 6),
        }
        agree('outputs', engine.outputs, answers, SPEC)
        return engine


def is_pose_bundle(folder: str | Path) -> bool:
    """Whether a folder holds a bundle of a pose network rather than of a cross-view one."""
    return (Path(folder) / SPEC).is_file()


def load_pose_bundle(folder: str | Path) -> PoseBundle:
    """Reads and verifies a bundle.

    Raises:
        BundleError: A file is missing, too large, damaged or not what the specification says.
    """
    folder = Path(folder)
    text = read_part(folder / SPEC, MAX_SPEC_BYTES, SPEC)
    try:
        spec = PoseModelSpec.from_json(text.decode('utf-8'))
    except (BundleError, UnicodeDecodeError) as error:
        raise BundleError(f'{folder / SPEC}: {error}') from error
    weights = read_part(folder / WEIGHTS, MAX_WEIGHTS_BYTES, SPEC)
    digest = hashlib.sha256(weights).hexdigest()
    if digest != spec.sha256:
        raise BundleError(
            f'{folder / WEIGHTS} has sha256 {digest}, but {SPEC} says {spec.sha256}: the file is '
            'damaged or belongs to another bundle; copy the bundle again'
        )
    return PoseBundle(folder, spec, weights)
