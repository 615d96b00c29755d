# SPDX-License-Identifier: Apache-2.0
"""What a set of weights expects and returns: `model.json`, beside `model.onnx` in a bundle.

Reading is strict: a key too many, a key too few or a value of the wrong kind is an error, because
a model run with a guessed setting gives poses that look right.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
import json
import math
import re
from typing import Any

from geoloc_core.errors import BundleError

FORMAT = 1
CAMERA_KINDS = ('pinhole', 'fisheye', 'equirectangular')
VIEW_KINDS = ('bev', 'camera')
YAW_FRAMES = ('prior', 'map')
MEANINGS = ('log_likelihood', 'log_probability')
_MAX_SIDE = 8192


@dataclass(frozen=True)
class RasterSpec:
    """One image input, (1, 3, height, width) float32: (rgb / 255 - mean) / std.

    Pixels without content are 0 after normalisation.

    Attributes:
        name: Of the network's input.
        width: px.
        height: px.
        mean: Of R, G, B in 0..1.
        std: The same.
    """

    name: str
    width: int
    height: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class BevSpec:
    """Place of a bird's-eye view: m/px and its middle (forward, left) of base_link, m.

    With yaw_frame 'prior' the view is turned by the prior's yaw (north-up) and must be centred.
    """

    gsd: float
    center_xy: tuple[float, float]


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
        yaw_frame: 'prior' (bins count from the prior's yaw) or 'map' (from east).
        width: Cells.
        height: Cells.
        gsd: Side of a cell, m; cells are centred on the patch's middle.
        temperature: Outputs are divided by this; calibrated on held-out data.
    """

    name: str
    meaning: str
    yaw_bins: int
    yaw_half_range_deg: float
    yaw_frame: str
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
        camera_kinds: Cameras it was trained for.
        view_kind: 'bev' (the view on the ground) or 'camera' (the image, resized).
        view: The view's input.
        bev: Place of the bird's-eye view; null for 'camera'.
        patch: The aerial patch's input, north-up, centred on the prior.
        patch_gsd: m/px of the patch.
        output: The output.
    """

    format: int
    system: str
    licence: str
    sha256: str
    opset: int
    camera_kinds: tuple[str, ...]
    view_kind: str
    view: RasterSpec
    bev: BevSpec | None
    patch: RasterSpec
    patch_gsd: float
    output: OutputSpec

    def __post_init__(self) -> None:
        """Checks what the fields must be.

        Raises:
            BundleError: A value that cannot be.
        """
        _require(self.format == FORMAT, f'format is {self.format}, this version reads {FORMAT}')
        _require(
            re.fullmatch('[0-9a-f]{64}', self.sha256) is not None,
            f'sha256 {self.sha256!r} is not 64 hexadecimal digits',
        )
        unknown = set(self.camera_kinds) - set(CAMERA_KINDS)
        _require(
            bool(self.camera_kinds) and not unknown,
            f'camera_kinds {self.camera_kinds} must be some of {CAMERA_KINDS}',
        )
        _one_of('view_kind', self.view_kind, VIEW_KINDS)
        _one_of('output.meaning', self.output.meaning, MEANINGS)
        _one_of('output.yaw_frame', self.output.yaw_frame, YAW_FRAMES)
        _require(
            (self.bev is not None) == (self.view_kind == 'bev'),
            "bev must be given for view_kind 'bev', and only then",
        )
        if self.bev is not None:
            _positive('bev.gsd', self.bev.gsd)
            _require(
                self.output.yaw_frame == 'map' or self.bev.center_xy == (0.0, 0.0),
                "with output.yaw_frame 'prior' the bird's-eye view must be centred: "
                'bev.center_xy [0, 0]',
            )
        elif self.output.yaw_frame == 'prior':
            raise BundleError("output.yaw_frame 'prior' needs a bird's-eye view to turn")
        for name in ('view', 'patch'):
            raster: RasterSpec = getattr(self, name)
            for side in (raster.width, raster.height):
                _require(1 <= side <= _MAX_SIDE, f'{name} has a side of {side} px')
            for value in raster.std:
                _positive(f'{name}.std', value)
        # Cut from the middle of a square: an odd rest would shift it by half a pixel.
        _require(
            (self.patch.width - self.patch.height) % 2 == 0,
            'width and height of the patch must both be even or both be odd',
        )
        _positive('patch_gsd', self.patch_gsd)
        _positive('output.gsd', self.output.gsd)
        _positive('output.temperature', self.output.temperature)
        # One bin would say that yaw is known exactly.
        _require(self.output.yaw_bins >= 3, f'output.yaw_bins is {self.output.yaw_bins} < 3')
        _require(
            0 < self.output.yaw_half_range_deg <= 180,
            f'output.yaw_half_range_deg is {self.output.yaw_half_range_deg}, expected 0..180',
        )
        cells = self.output.yaw_bins * self.output.width * self.output.height
        _require(0 < cells <= 50_000_000, f'the output has {cells} cells')

    @classmethod
    def from_json(cls, text: str) -> 'ModelSpec':
        """Reads a specification.

        Raises:
            BundleError: It is no JSON, or not exactly what is expected.
        """
        try:
            data = json.loads(text)
        except ValueError as error:
            raise BundleError(f'model.json is not JSON: {error}') from error
        values = _object('model.json', data, cls)
        bev = values['bev']
        return cls(
            format=_int('format', values['format']),
            system=_str('system', values['system']),
            licence=_str('licence', values['licence']),
            sha256=_str('sha256', values['sha256']),
            opset=_int('opset', values['opset']),
            camera_kinds=_strings('camera_kinds', values['camera_kinds']),
            view_kind=_str('view_kind', values['view_kind']),
            view=_raster('view', values['view']),
            bev=None if bev is None else _bev(bev),
            patch=_raster('patch', values['patch']),
            patch_gsd=_float('patch_gsd', values['patch_gsd']),
            output=_output(values['output']),
        )

    def to_json(self) -> str:
        """The specification as text that `from_json` reads."""

        def plain(value: Any) -> Any:
            if hasattr(value, '__dataclass_fields__'):
                return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
            return list(value) if isinstance(value, tuple) else value

        return json.dumps(plain(self), indent=2) + '\n'


# ---- strict reading ----


def _require(good: bool, message: str) -> None:
    if not good:
        raise BundleError(message)


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    _require(value in allowed, f'{name} is {value!r}, expected one of {allowed}')


def _positive(name: str, value: float) -> None:
    _require(math.isfinite(value) and value > 0, f'{name} is {value}, expected a positive number')


def _object(name: str, data: Any, kind: type) -> Mapping[str, Any]:
    """A JSON object with exactly the fields of a dataclass."""
    _require(isinstance(data, dict), f'{name} must be an object, got {type(data).__name__}')
    expected = {f.name for f in fields(kind)}
    unknown, missing = sorted(set(data) - expected), sorted(expected - set(data))
    _require(not unknown, f'{name} has unknown keys {unknown}; known are {sorted(expected)}')
    _require(not missing, f'{name} lacks {missing}')
    return dict(data)


def _str(name: str, value: Any) -> str:
    _require(isinstance(value, str), f'{name} must be text, got {value!r}')
    return str(value)


def _int(name: str, value: Any) -> int:
    good = isinstance(value, int) and not isinstance(value, bool)
    _require(good, f'{name} must be a whole number, got {value!r}')
    return int(value)


def _float(name: str, value: Any) -> float:
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    _require(good and math.isfinite(value), f'{name} must be a finite number, got {value!r}')
    return float(value)


def _strings(name: str, value: Any) -> tuple[str, ...]:
    _require(isinstance(value, list), f'{name} must be a list, got {value!r}')
    return tuple(_str(name, item) for item in value)


def _floats(name: str, value: Any, count: int) -> tuple[float, ...]:
    good = isinstance(value, list) and len(value) == count
    _require(good, f'{name} must be a list of {count} numbers, got {value!r}')
    return tuple(_float(name, item) for item in value)


def _raster(name: str, data: Any) -> RasterSpec:
    values = _object(name, data, RasterSpec)
    mean, std = (_floats(f'{name}.{key}', values[key], 3) for key in ('mean', 'std'))
    return RasterSpec(
        _str(f'{name}.name', values['name']),
        _int(f'{name}.width', values['width']),
        _int(f'{name}.height', values['height']),
        (mean[0], mean[1], mean[2]),
        (std[0], std[1], std[2]),
    )


def _bev(data: Any) -> BevSpec:
    values = _object('bev', data, BevSpec)
    x, y = _floats('bev.center_xy', values['center_xy'], 2)
    return BevSpec(_float('bev.gsd', values['gsd']), (x, y))


def _output(data: Any) -> OutputSpec:
    values = _object('output', data, OutputSpec)
    return OutputSpec(
        name=_str('output.name', values['name']),
        meaning=_str('output.meaning', values['meaning']),
        yaw_bins=_int('output.yaw_bins', values['yaw_bins']),
        yaw_half_range_deg=_float('output.yaw_half_range_deg', values['yaw_half_range_deg']),
        yaw_frame=_str('output.yaw_frame', values['yaw_frame']),
        width=_int('output.width', values['width']),
        height=_int('output.height', values['height']),
        gsd=_float('output.gsd', values['gsd']),
        temperature=_float('output.temperature', values['temperature']),
    )
