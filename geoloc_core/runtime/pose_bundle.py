# SPDX-License-Identifier: Apache-2.0
"""Bundles of pose networks: `model.onnx` and `pose.json`, verified before use."""

from dataclasses import dataclass
from pathlib import Path

from geoloc_core.pose_spec import PoseModelSpec
from geoloc_core.runtime.bundle_files import parts_of, read_verified
from geoloc_core.runtime.engine import Shape
from geoloc_core.runtime.network_bundle import AbstractBundle
from geoloc_core.runtime.parity_sample import read_sample

SPEC = 'pose.json'


@dataclass(frozen=True)
class PoseBundle(AbstractBundle[PoseModelSpec]):
    """Verified weights of a pose network and what they are."""

    SPEC_FILE = SPEC

    def input_shapes(self) -> dict[str, Shape]:
        """Colour, depth, and which of them there is: see `AbstractBundle`."""
        inputs = self.spec.inputs
        sides = (inputs.colour.height, inputs.colour.width)
        return {
            inputs.colour.name: (self.batch, inputs.colour.channels, *sides),
            inputs.depth.name: (self.batch, 2, *sides),
            inputs.present: (self.batch, 2),
        }

    def output_shapes(self) -> dict[str, Shape]:
        """Position, rotation and covariance: see `AbstractBundle`."""
        output = self.spec.output
        return {
            output.position: (self.batch, 3),
            output.rotation: (self.batch, 3, 3),
            output.cov: (self.batch, 6, 6),
        }

    @property
    def yaw_input(self) -> str:
        """None: see `AbstractBundle`."""
        return ''


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
