# SPDX-License-Identifier: Apache-2.0
"""What a set of weights expects and returns: `model.json`, beside `model.onnx` in a bundle.

Reading is strict, see `strict_json`: a guessed setting gives poses that look right.
"""

from dataclasses import dataclass
import re

from geoloc_core.export_record import ExportRecord
from geoloc_core.input_spec import InputSpec
from geoloc_core.strict_json import (
    read_specification,
    require,
    require_one_of,
    require_positive,
    write_record,
)

FORMAT = 4
MEANINGS = ('log_likelihood', 'log_probability')


@dataclass(frozen=True)
class OutputSpec:
    """The output, (1, yaw_bins, height, width) float32, of base_link's pose.

    Attributes:
        name: Of the network's output.
        meaning: 'log_likelihood' or 'log_probability' (then it is offset-free; both are used
            alike, as log-likelihoods up to a constant).
        yaw_bins: Number of yaw bins, at least 3.
        yaw_half_range_deg: Bins lie evenly over +-this, ends included; 180 means a closed circle
            of bins that begins at -180.
        yaw_input: Name of a further input (yaw_bins,) float32, the bins themselves in rad, for
            networks that score whatever yaws they are asked for; any number of them from 3 on.
            `yaw_bins` and `yaw_half_range_deg` are then for a yaw of which nothing is known.
            Empty for networks with bins of their own.
        width: Cells.
        height: Cells.
        gsd: Side of a cell, m; cells are centred on the patch's middle.
        temperature: Outputs are divided by this; calibrated on held-out data.
    """

    name: str
    meaning: str
    yaw_bins: int
    yaw_half_range_deg: float
    yaw_input: str
    width: int
    height: int
    gsd: float
    temperature: float


@dataclass(frozen=True)
class ModelSpec:
    """What a set of weights is.

    Attributes:
        format: Version of this format.
        system: The method, e.g. 'ccvpe'.
        licence: SPDX name of the weights' licence.
        sha256: Of model.onnx, hexadecimal.
        opset: ONNX operator set.
        inputs: What it is fed.
        output: What it answers.
        export: How it was made; None in bundles older than that.
    """

    format: int
    system: str
    licence: str
    sha256: str
    opset: int
    inputs: InputSpec
    output: OutputSpec
    export: ExportRecord | None = None

    def __post_init__(self) -> None:
        """Checks what the fields must be.

        Raises:
            BundleError: A value that cannot be.
        """
        require(self.format == FORMAT, f'format is {self.format}, this version reads {FORMAT}')
        require(
            re.fullmatch('[0-9a-f]{64}', self.sha256) is not None,
            f'sha256 {self.sha256!r} is not 64 hexadecimal digits',
        )
        out = self.output
        require_one_of('output.meaning', out.meaning, MEANINGS)
        require_positive('output.gsd', out.gsd)
        require_positive('output.temperature', out.temperature)
        # One bin would say that yaw is known exactly.
        require(out.yaw_bins >= 3, f'output.yaw_bins is {out.yaw_bins} < 3')
        require(
            0 < out.yaw_half_range_deg <= 180,
            f'output.yaw_half_range_deg is {out.yaw_half_range_deg}, expected 0..180',
        )
        cells = out.yaw_bins * out.width * out.height
        require(0 < cells <= 50_000_000, f'the output has {cells} cells')

    @classmethod
    def from_json(cls, text: str) -> 'ModelSpec':
        """Reads a specification.

        Raises:
            BundleError: It is no JSON, or not exactly what is expected.
        """
        return read_specification('model.json', text, cls, FORMAT)

    def to_json(self) -> str:
        """The specification as text that `from_json` reads."""
        return write_record(self)
