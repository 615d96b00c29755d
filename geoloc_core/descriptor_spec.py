# SPDX-License-Identifier: Apache-2.0
"""What a network that describes pictures is fed, and what its bundle says of it.

`descriptor.json` beside `model.onnx`, read as strictly as `spec.ModelSpec`.
"""

from dataclasses import dataclass
import math
import re

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import BundleError
from geoloc_core.export_record import ExportRecord
from geoloc_core.input_spec import RasterSpec
from geoloc_core.strict_json import read_specification, write_record

FORMAT = 1
_MAX_SIDE = 4096
_MAX_SIZE = 65536


@dataclass(frozen=True)
class DescriptorSpec:
    """What a set of weights is.

    Attributes:
        format: Version of this format.
        system: The method, e.g. 'crossvit_student'.
        licence: SPDX name of the weights' licence.
        sha256: Of model.onnx, hexadecimal.
        opset: ONNX operator set.
        view: The picture's input; see `whole_picture`.
        output: Name of the output, (1, size) float32 of length one.
        size: Numbers of the descriptor.
        export: How it was made; None in bundles older than that.
    """

    format: int
    system: str
    licence: str
    sha256: str
    opset: int
    view: RasterSpec
    output: str
    size: int
    export: ExportRecord | None = None

    def __post_init__(self) -> None:
        """Checks what the fields must be.

        Raises:
            BundleError: A value that cannot be.
        """
        if self.format != FORMAT:
            raise BundleError(f'format is {self.format}, this version reads {FORMAT}')
        if re.fullmatch('[0-9a-f]{64}', self.sha256) is None:
            raise BundleError(f'sha256 {self.sha256!r} is not 64 hexadecimal digits')
        sides = (self.view.width, self.view.height)
        if not all(1 <= side <= _MAX_SIDE for side in sides) or self.view.with_mask:
            raise BundleError(
                f'the picture is {sides[0]} x {sides[1]} px with_mask {self.view.with_mask}: '
                f'expected 1..{_MAX_SIDE} and no mask'
            )
        if not all(math.isfinite(value) and value > 0 for value in self.view.std):
            raise BundleError(f'view.std is {self.view.std}, expected positive numbers')
        if not 1 <= self.size <= _MAX_SIZE:
            raise BundleError(f'size is {self.size}, expected 1..{_MAX_SIZE}')

    @classmethod
    def from_json(cls, text: str) -> 'DescriptorSpec':
        """Reads a specification.

        Raises:
            BundleError: It is no JSON, or not exactly what is expected.
        """
        return read_specification('descriptor.json', text, cls, FORMAT)

    def to_json(self) -> str:
        """The specification as text that `from_json` reads."""
        return write_record(self)


def whole_picture(image: NDArray[np.uint8], view: RasterSpec) -> NDArray[np.uint8]:
    """A picture (H, W, 3) at a network's size, all of it: its aspect is not kept."""
    shrinks = image.shape[0] * image.shape[1] > view.width * view.height
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    made = cv2.resize(image, (view.width, view.height), interpolation=method)
    return made.astype(np.uint8, copy=False)


def network_input(image: NDArray[np.uint8], view: RasterSpec) -> NDArray[np.float32]:
    """A picture (H, W, 3) uint8 RGB as a network is fed it, (1, 3, height, width) float32."""
    mean, std = np.array(view.mean, np.float32), np.array(view.std, np.float32)
    scaled = (whole_picture(image, view).astype(np.float32) / np.float32(255.0) - mean) / std
    return np.ascontiguousarray(np.moveaxis(scaled, -1, 0)[None])
