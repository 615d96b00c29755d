# SPDX-License-Identifier: Apache-2.0
"""A model bundle: `model.onnx` and `model.json`, verified before anything runs.

Nothing in a bundle is executed but the ONNX graph: no pickle, no code.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from geoloc_core.errors import BundleError
from geoloc_core.export_record import leading
from geoloc_core.geometry.cameras import AbstractCamera, camera_kind
from geoloc_core.runtime.bundle_files import read_verified
from geoloc_core.runtime.engine import AbstractEngine, Shape
from geoloc_core.runtime.engine_choice import EngineSettings, open_engine
from geoloc_core.runtime.graph import Graph, precision_of
from geoloc_core.runtime.onnx_engine import OnnxEngine
from geoloc_core.runtime.parity_sample import read_sample
from geoloc_core.spec import ModelSpec

SPEC = 'model.json'
# A map this much coarser than the model's training data shows it nothing it knows.
MAX_GSD_RATIO = 2.0


@dataclass(frozen=True)
class ModelBundle:
    """Verified weights and what they are.

    Attributes:
        folder: Where they were read: a folder, or one file.
        spec: What they expect and return.
        weights: Content of model.onnx, whose sha256 is the specification's.
        sample: Content of sample.npz, see `parity_sample`; empty where there is none.
    """

    folder: Path
    spec: ModelSpec
    weights: bytes
    sample: bytes = b''

    def graph(self) -> Graph:
        """The network, for engines."""
        spec, out, batch = self.spec, self.spec.output, leading(self.spec.export)
        rasters = (spec.inputs.view, spec.inputs.patch)
        shapes: dict[str, Shape] = {
            r.name: (batch, r.channels, r.height, r.width) for r in rasters
        }
        if out.yaw_input:
            shapes[out.yaw_input] = (out.yaw_bins,)
        precision = precision_of(spec.export)
        return Graph(spec.system, self.weights, spec.sha256, precision, shapes, out.yaw_input)

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
        graph, out, batch = self.graph(), self.spec.output, leading(self.spec.export)
        cpu = OnnxEngine(self.weights, threads)
        agree('inputs', cpu.inputs, dict(graph.shapes))
        agree('outputs', cpu.outputs, {out.name: (batch, out.yaw_bins, out.height, out.width)})
        if settings is None:
            return cpu
        if settings.engine == 'torch':
            from geoloc_core.runtime.torch_engine import TorchEngine

            return TorchEngine(
                settings.torch_weights, cpu.inputs, out.name, out.yaw_input, threads
            )
        return open_engine(graph, cpu, settings)

    def require_fit(self, camera: AbstractCamera | None = None, map_gsd: float = 0.0) -> None:
        """Refuses a camera or a map that the model was not made for, and a model for batches.

        Args:
            camera: Of the robot; None leaves it unchecked.
            map_gsd: Finest m/px of the map; 0 leaves it unchecked.

        Raises:
            BundleError: Says what does not fit.
        """
        spec, batch = self.spec.inputs, leading(self.spec.export)
        if batch != 1:
            raise BundleError(
                f'{self.folder}: the model takes {batch} frames at a time, a robot has one: '
                'export it with --batch 1'
            )
        if camera is not None:
            kind = camera_kind(camera)
            if kind not in spec.camera_kinds:
                raise BundleError(
                    f'{self.folder}: the model was made for {" or ".join(spec.camera_kinds)} '
                    f'cameras, this one is {kind}'
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


def agree(
    what: str, found: Mapping[str, Shape], expected: dict[str, Shape], spec: str = SPEC
) -> None:
    """Refuses names or shapes that differ from the specification (-1 agrees with all).

    Args:
        what: 'inputs' or 'outputs'.
        found: Of an engine.
        expected: Of the specification.
        spec: Name of its file.

    Raises:
        BundleError: They differ.
    """
    shapes = dict(found)
    same = set(shapes) == set(expected) and all(
        len(shapes[name]) == len(shape)
        and all(a in (-1, b) for a, b in zip(shapes[name], shape, strict=True))
        for name, shape in expected.items()
    )
    if not same:
        raise BundleError(f'the model has {what} {shapes}, but {spec} says {expected}')
