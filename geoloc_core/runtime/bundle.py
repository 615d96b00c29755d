# SPDX-License-Identifier: Apache-2.0
"""A model bundle: a folder with `model.onnx` and `model.json`, verified before anything runs.

Nothing in a bundle is executed but the ONNX graph: no pickle, no code.
"""

from collections.abc import Mapping
from dataclasses import dataclass
import hashlib
from pathlib import Path

from geoloc_core.errors import BundleError
from geoloc_core.geometry.cameras import AbstractCamera, camera_kind
from geoloc_core.runtime.engine import AbstractEngine, Shape
from geoloc_core.runtime.onnx_engine import OnnxEngine
from geoloc_core.spec import ModelSpec

WEIGHTS = 'model.onnx'
SPEC = 'model.json'
MAX_WEIGHTS_BYTES = 2_000_000_000
MAX_SPEC_BYTES = 1_000_000
# A map this much coarser than the model's training data shows it nothing it knows.
MAX_GSD_RATIO = 2.0


@dataclass(frozen=True)
class ModelBundle:
    """Verified weights and what they are.

    Attributes:
        folder: Where they were read.
        spec: What they expect and return.
        weights: Content of model.onnx, whose sha256 is the specification's.
    """

    folder: Path
    spec: ModelSpec
    weights: bytes

    def open_engine(self, threads: int = 2) -> AbstractEngine:
        """Loads the weights into an engine that agrees with the specification.

        Raises:
            BundleError: The engine refuses them, or their inputs and outputs are others.
        """
        engine = OnnxEngine(self.weights, threads)
        out = self.spec.output
        rasters = (self.spec.inputs.view, self.spec.inputs.patch)
        shapes: dict[str, Shape] = {r.name: (1, r.channels, r.height, r.width) for r in rasters}
        if out.yaw_input:
            shapes[out.yaw_input] = (out.yaw_bins,)
        agree('inputs', engine.inputs, shapes)
        agree('outputs', engine.outputs, {out.name: (1, out.yaw_bins, out.height, out.width)})
        return engine

    def require_fit(self, camera: AbstractCamera | None = None, map_gsd: float = 0.0) -> None:
        """Refuses a camera or a map that the model was not made for.

        Args:
            camera: Of the robot; None leaves it unchecked.
            map_gsd: Finest m/px of the map; 0 leaves it unchecked.

        Raises:
            BundleError: Says what does not fit.
        """
        spec = self.spec.inputs
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

    Raises:
        BundleError: A file is missing, too large, damaged or not what the specification says.
    """
    folder = Path(folder)
    text = read_part(folder / SPEC, MAX_SPEC_BYTES)
    try:
        spec = ModelSpec.from_json(text.decode('utf-8'))
    except (BundleError, UnicodeDecodeError) as error:
        raise BundleError(f'{folder / SPEC}: {error}') from error
    weights = read_part(folder / WEIGHTS, MAX_WEIGHTS_BYTES)
    digest = hashlib.sha256(weights).hexdigest()
    if digest != spec.sha256:
        raise BundleError(
            f'{folder / WEIGHTS} has sha256 {digest}, but {SPEC} says {spec.sha256}: the file is '
            'damaged or belongs to another bundle; copy the bundle again'
        )
    return ModelBundle(folder, spec, weights)


def read_part(path: Path, limit: int, spec: str = SPEC) -> bytes:
    """Content of one file of a bundle.

    Args:
        path: Of the file.
        limit: Bytes at most.
        spec: Name of the specification that such bundles have.

    Raises:
        BundleError: It cannot be read, or is larger.
    """
    try:
        size = path.stat().st_size
        if size > limit:
            raise BundleError(f'{path} has {size} bytes, more than the {limit} allowed')
        return path.read_bytes()
    except OSError as error:
        raise BundleError(
            f'{path} cannot be read: {error.strerror}; a bundle is a folder with {WEIGHTS} and '
            f'{spec}'
        ) from error


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
