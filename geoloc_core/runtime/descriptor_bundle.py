# SPDX-License-Identifier: Apache-2.0
"""Bundles of descriptor networks: `model.onnx` and `descriptor.json`, and how places use them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoloc_core.descriptor_spec import DescriptorSpec, network_input
from geoloc_core.errors import InputError, MapError
from geoloc_core.features.base import (
    AbstractGlobalDescriptor,
    Floats,
    LocalFeatures,
    require_rgb,
)
from geoloc_core.runtime.bundle_files import read_verified
from geoloc_core.runtime.engine import Shape
from geoloc_core.runtime.engine_choice import EngineSettings
from geoloc_core.runtime.network_bundle import AbstractBundle
from geoloc_core.runtime.parity_sample import read_sample

SPEC = 'descriptor.json'
KIND = 'network'
_DIGEST = 'sha256'


@dataclass(frozen=True)
class DescriptorBundle(AbstractBundle[DescriptorSpec]):
    """Verified weights of a descriptor network and what they are."""

    SPEC_FILE = SPEC

    def input_shapes(self) -> dict[str, Shape]:
        """The picture: see `AbstractBundle`."""
        view = self.spec.view
        return {view.name: (self.batch, 3, view.height, view.width)}

    def output_shapes(self) -> dict[str, Shape]:
        """The descriptor: see `AbstractBundle`."""
        return {self.spec.output: (self.batch, self.spec.size)}

    @property
    def yaw_input(self) -> str:
        """None: see `AbstractBundle`."""
        return ''


class NetworkDescriptor(AbstractGlobalDescriptor):
    """Describes whole pictures by a network; a place map remembers which one."""

    kind = KIND

    def __init__(
        self,
        bundle: DescriptorBundle,
        threads: int = 2,
        settings: EngineSettings | None = None,
    ) -> None:
        """Opens the network.

        Args:
            bundle: Verified weights.
            threads: Of one inference on the CPU.
            settings: Which engine; None for onnxruntime on the CPU.

        Raises:
            BundleError: The engine refuses it, or it is for batches.
            EngineError: The engine asked for is not here.
        """
        bundle.require_single()
        self.spec = bundle.spec
        self.size = bundle.spec.size
        self.engine = bundle.open_engine(threads, settings)

    def describe(self, image: NDArray[np.uint8] | None, local: LocalFeatures) -> Floats:
        """See `AbstractGlobalDescriptor`; the local features play no part.

        Raises:
            InputError: There is no picture, or it is none in colour.
        """
        if image is None:
            raise InputError(
                'a network describes pictures, and there is none: pass the picture, or use a '
                'descriptor made of features'
            )
        require_rgb(image)
        view = self.spec.view
        said = self.engine.run({view.name: network_input(image, view)})
        return np.asarray(said[self.spec.output][0], np.float32)

    def arrays(self) -> Mapping[str, NDArray]:
        """The sha256 of the weights: a map made with other ones cannot be searched."""
        return {_DIGEST: np.frombuffer(bytes.fromhex(self.spec.sha256), np.uint8).copy()}

    def require_of(self, kind: str, arrays: Mapping[str, NDArray]) -> None:
        """Refuses a place map whose pictures were described otherwise.

        Args:
            kind: `PlaceMap.global_kind`.
            arrays: `PlaceMap.global_arrays`.

        Raises:
            MapError: They were.
        """
        own = self.arrays()[_DIGEST]
        if kind != self.kind or not np.array_equal(arrays.get(_DIGEST, own[:0]), own):
            raise MapError(
                f'the pictures of the place map were described by {kind!r} and other weights than '
                f'{self.spec.system} {self.spec.sha256[:12]}: build it again with these, or use '
                'those'
            )


def load_descriptor_bundle(folder: str | Path) -> DescriptorBundle:
    """Reads and verifies a bundle.

    Args:
        folder: Or its one file.

    Raises:
        BundleError: A part is missing, too large, damaged or not what the specification says.
    """
    folder = Path(folder)
    spec, weights = read_verified(folder, SPEC, DescriptorSpec.from_json)
    return DescriptorBundle(folder, spec, weights, read_sample(folder))
