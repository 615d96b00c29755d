# SPDX-License-Identifier: Apache-2.0
"""A model bundle: `model.onnx` and `model.json`, verified before anything runs.

Nothing in a bundle is executed but the ONNX graph: no pickle, no code.
"""

from dataclasses import dataclass
from pathlib import Path

from geoloc_core.errors import BundleError
from geoloc_core.geometry.cameras import AbstractCamera, camera_kind
from geoloc_core.runtime.bundle_files import read_verified
from geoloc_core.runtime.engine import Shape
from geoloc_core.runtime.network_bundle import AbstractBundle
from geoloc_core.runtime.parity_sample import read_sample
from geoloc_core.spec import ModelSpec

SPEC = 'model.json'
# A map this much coarser than the model's training data shows it nothing it knows.
MAX_GSD_RATIO = 2.0


@dataclass(frozen=True)
class ModelBundle(AbstractBundle[ModelSpec]):
    """Verified weights of a cross-view network and what they are."""

    SPEC_FILE = SPEC
    RUNS_IN_TORCH = True

    def input_shapes(self) -> dict[str, Shape]:
        """View and patch, and yaws if they are asked for: see `AbstractBundle`."""
        inputs, out = self.spec.inputs, self.spec.output
        shapes: dict[str, Shape] = {
            r.name: (self.batch, r.channels, r.height, r.width)
            for r in (inputs.view, inputs.patch)
        }
        if out.yaw_input:
            shapes[out.yaw_input] = (out.yaw_bins,)
        return shapes

    def output_shapes(self) -> dict[str, Shape]:
        """The volume: see `AbstractBundle`."""
        out = self.spec.output
        return {out.name: (self.batch, out.yaw_bins, out.height, out.width)}

    @property
    def yaw_input(self) -> str:
        """See `AbstractBundle`."""
        return self.spec.output.yaw_input

    def require_fit(self, camera: AbstractCamera | None = None, map_gsd: float = 0.0) -> None:
        """Refuses a camera or a map that the model was not made for, and a model for batches.

        Args:
            camera: Of the robot; None leaves it unchecked.
            map_gsd: Finest m/px of the map; 0 leaves it unchecked.

        Raises:
            BundleError: Says what does not fit.
        """
        spec = self.spec.inputs
        self.require_single()
        if camera is not None:
            kind = camera_kind(camera)
            if kind not in spec.camera_kinds:
                raise BundleError(
                    f'{self.folder}: the model was made for {" or ".join(spec.camera_kinds)} '
                    f'cameras, this one is {kind}: choose a bundle for {kind} cameras (geoloc '
                    'model info says what one is for), or another camera'
                )
        if map_gsd > MAX_GSD_RATIO * spec.patch_gsd:
            raise BundleError(
                f'{self.folder}: the model needs a map of {spec.patch_gsd} m/px, this one has '
                f'{map_gsd:.3g} m/px'
            )


def load_bundle(folder: str | Path) -> ModelBundle:
    """Reads and verifies a bundle.

    Args:
        folder: Or its one file.

    Raises:
        BundleError: A part is missing, too large, damaged or not what the specification says.
    """
    folder = Path(folder)
    spec, weights = read_verified(folder, SPEC, ModelSpec.from_json)
    return ModelBundle(folder, spec, weights, read_sample(folder))
