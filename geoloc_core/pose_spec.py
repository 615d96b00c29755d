# SPDX-License-Identifier: Apache-2.0
"""What a network that answers with a camera's pose is fed, and what its bundle says of it.

`pose.json` beside `model.onnx`, read as strictly as `spec.ModelSpec`: a network that is fed with
another camera's pictures, or asked about another place, gives poses that look right.
"""

from dataclasses import dataclass
import math
import re

from geoloc_core.errors import BundleError
from geoloc_core.export_record import ExportRecord
from geoloc_core.input_spec import RasterSpec
from geoloc_core.strict_json import read_specification, write_record

FORMAT = 1
MODALITIES = ('colour', 'depth')
_MAX_SIDE = 4096


@dataclass(frozen=True)
class DepthSpec:
    """The depth input, (1, 2, height, width) float32: (m - mean) / std, and where it is known.

    Both channels are 0 where nothing was measured, and where it was further away than `max_m`.

    Attributes:
        name: Of the network's input.
        mean_m: m.
        std_m: m.
        max_m: m; further away a sensor says little but noise.
    """

    name: str
    mean_m: float
    std_m: float
    max_m: float


@dataclass(frozen=True)
class PoseInputSpec:
    """What a network is fed: colour and depth as one ideal camera would take them.

    Convention: that camera has square pixels, no distortion and its principal point in the
    picture's middle, and looks along the ray through the middle of the real picture. A crop of a
    picture is then the same as a turn of the camera, and the pose turns with it: the network never
    has to guess where in a picture a crop was.

    Attributes:
        colour: The picture's input; both are of its width and height.
        depth: The depth's.
        focal_px: Of the ideal camera, in pixels of these inputs.
        present: Name of the input (1, 2) float32 that says whether there is (1) a picture, depth.
        uses: Those of `MODALITIES` that the network can answer from.
        center_m: Of the place, map frame: networks answer with positions counted from here.
    """

    colour: RasterSpec
    depth: DepthSpec
    focal_px: float
    present: str
    uses: tuple[str, ...]
    center_m: tuple[float, float, float]

    def __post_init__(self) -> None:
        """Checks what the fields must be.

        Raises:
            BundleError: A value that cannot be.
        """
        sides = (self.colour.width, self.colour.height)
        if not all(1 <= side <= _MAX_SIDE for side in sides):
            raise BundleError(
                f'the picture is {sides[0]} x {sides[1]} px, expected 1..{_MAX_SIDE}'
            )
        positive = {
            'focal_px': self.focal_px,
            'depth.std_m': self.depth.std_m,
            'depth.max_m': self.depth.max_m,
            **{f'colour.std[{i}]': value for i, value in enumerate(self.colour.std)},
        }
        for name, value in positive.items():
            if not (math.isfinite(value) and value > 0):
                raise BundleError(f'{name} is {value}, expected a positive number')
        if not self.uses or set(self.uses) - set(MODALITIES):
            raise BundleError(f'uses is {self.uses}, expected some of {MODALITIES}')


@dataclass(frozen=True)
class PoseOutputSpec:
    """Outputs: `position` (1, 3) m from `center_m`, `rotation` (1, 3, 3), `cov` (1, 6, 6).

    Convention: of the ideal camera's optical frame in the place's frame; the covariance is in the
    order (x, y, z, rot x, rot y, rot z), m and rad, axes of the place's frame.
    """

    position: str
    rotation: str
    cov: str


@dataclass(frozen=True)
class PoseModelSpec:
    """What a set of weights is.

    Attributes:
        format: Version of this format.
        system: The method, e.g. 'vmloc'.
        licence: SPDX name of the weights' licence.
        sha256: Of model.onnx, hexadecimal.
        opset: ONNX operator set.
        place: Name of the place whose frame the poses are in: the network knows no other.
        inputs: What it is fed.
        output: What it answers.
        export: How it was made; None in bundles older than that.
    """

    format: int
    system: str
    licence: str
    sha256: str
    opset: int
    place: str
    inputs: PoseInputSpec
    output: PoseOutputSpec
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

    @classmethod
    def from_json(cls, text: str) -> 'PoseModelSpec':
        """Reads a specification.

        Raises:
            BundleError: It is no JSON, or not exactly what is expected.
        """
        return read_specification('pose.json', text, cls, FORMAT)

    def to_json(self) -> str:
        """The specification as text that `from_json` reads."""
        return write_record(self)
