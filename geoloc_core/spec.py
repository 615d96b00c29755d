# SPDX-License-Identifier: Apache-2.0
"""What a set of weights expects and returns: `model.json`, beside `model.onnx` in a bundle.

Reading is strict: a key too many, a key too few or a value of the wrong kind is an error, because
a model run with a guessed setting gives poses that look right.
"""

from dataclasses import dataclass, fields, is_dataclass
import json
import math
import re
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints, TypeVar

from geoloc_core.errors import BundleError
from geoloc_core.export_record import ExportRecord

FORMAT = 4
CAMERA_KINDS = ('pinhole', 'fisheye', 'equirectangular')
VIEW_KINDS = ('bev', 'polar', 'camera')
TURNED = ('view', 'patch', 'none')
MEANINGS = ('log_likelihood', 'log_probability')
_MAX_SIDE = 8192
R = TypeVar('R')


@dataclass(frozen=True)
class RasterSpec:
    """One image input, (1, C, height, width) float32: (rgb / 255 - mean) / std.

    Pixels without content are 0 after normalisation.

    Attributes:
        name: Of the network's input.
        width: px.
        height: px.
        mean: Of R, G, B in 0..1.
        std: The same.
        with_mask: Whether a last channel says where there is content (1) and where not (0).
        planes: Pictures one over the other, three channels each; see `PolarSpec.heights_m`.
    """

    name: str
    width: int
    height: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    with_mask: bool = False
    planes: int = 1

    @property
    def channels(self) -> int:
        """C: 3 a plane, and one for the mask."""
        return 3 * self.planes + int(self.with_mask)


@dataclass(frozen=True)
class BevSpec:
    """Place of a bird's-eye view. One that is turned by the prior's yaw (north-up) is centred.

    Attributes:
        gsd: m/px.
        center_xy: Its middle (forward, left) of base_link, m.
    """

    gsd: float
    center_xy: tuple[float, float]


@dataclass(frozen=True)
class PolarSpec:
    """A view laid on the ground around base_link, by direction and distance; see `PolarGrid`.

    Attributes:
        near_m: Where it begins.
        far_m: Where it ends.
        heights_m: Over the ground, of the planes that the picture is laid on, the ground (0)
            first. What stands on the ground is smeared away from the robot there; on a plane over
            the camera it is what hangs down to the plane that lies right. Both together tell
            walls from paint, and where they stand. Cells of upper planes that the camera does not
            see are 0 after normalisation; the mask is the ground's.
    """

    near_m: float
    far_m: float
    heights_m: tuple[float, ...]


@dataclass(frozen=True)
class CameraSpec:
    """The level camera whose picture a network takes; real pictures are warped to look like its.

    Attributes:
        kind: 'pinhole' or 'equirectangular'.
        focal_px: (fx, fy) of a pinhole, in pixels of the view's size; null for a panorama.
        center_px: (cx, cy), likewise.
        height_m: Over the ground; what the network's own geometry takes for granted.
    """

    kind: str
    focal_px: tuple[float, float] | None
    center_px: tuple[float, float] | None
    height_m: float


@dataclass(frozen=True)
class InputSpec:
    """What a network is fed: one view and one north-up patch around the prior.

    Convention: with `turned` 'view' the view is turned by the prior's yaw: a bird's-eye view lies
    north-up and the middle column of a panorama looks north, if the prior is right. With 'patch'
    the patch is turned instead: its right-hand side (+x) is the prior's heading. Either way the
    network answers with an offset from the prior's yaw. With 'none' it answers with the yaw from
    east, whatever the prior.

    Attributes:
        camera_kinds: Cameras it was trained for.
        view_kind: 'bev' (the view on the ground, seen from above), 'polar' (on the ground too,
            by direction and distance) or 'camera' (a picture).
        view: The view's input.
        bev: Place of the bird's-eye view; null for other kinds, as are the next two.
        polar: Place of the polar view.
        camera: What the picture must look like.
        patch: The aerial patch's input, centred on the prior.
        patch_gsd: m/px of the patch.
        turned: 'view', 'patch' or 'none'.
    """

    camera_kinds: tuple[str, ...]
    view_kind: str
    view: RasterSpec
    bev: BevSpec | None
    polar: PolarSpec | None
    camera: CameraSpec | None
    patch: RasterSpec
    patch_gsd: float
    turned: str

    def __post_init__(self) -> None:
        """Checks what the fields must be.

        Raises:
            BundleError: A value that cannot be.
        """
        unknown = set(self.camera_kinds) - set(CAMERA_KINDS)
        _require(
            bool(self.camera_kinds) and not unknown,
            f'camera_kinds {self.camera_kinds} must be some of {CAMERA_KINDS}',
        )
        _one_of('view_kind', self.view_kind, VIEW_KINDS)
        _one_of('turned', self.turned, TURNED)
        for kind in VIEW_KINDS:
            _require(
                (getattr(self, kind) is not None) == (self.view_kind == kind),
                f'{kind} must be given for view_kind {kind!r}, and only then',
            )
        if self.bev is not None:
            _positive('bev.gsd', self.bev.gsd)
            _require(
                self.turned != 'view' or self.bev.center_xy == (0.0, 0.0),
                "a bird's-eye view that is turned must be centred: bev.center_xy [0, 0]",
            )
        if self.polar is not None:
            self._check_polar(self.polar)
        if self.camera is not None:
            self._check_camera(self.camera)
        planes = 1 if self.polar is None else len(self.polar.heights_m)
        _require(
            self.view.planes == planes and self.patch.planes == 1,
            f'view.planes is {self.view.planes} and patch.planes {self.patch.planes}, expected '
            f'{planes} and 1',
        )
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

    def _check_polar(self, polar: PolarSpec) -> None:
        _positive('polar.near_m', polar.near_m)
        _require(
            math.isfinite(polar.far_m) and polar.far_m > polar.near_m,
            f'polar.far_m is {polar.far_m}, expected more than near_m, {polar.near_m}',
        )
        heights = polar.heights_m
        _require(
            heights[:1] == (0.0,) and list(heights) == sorted(set(heights)),
            f'polar.heights_m is {list(heights)}, expected the ground, 0, and then heights over '
            'it, rising',
        )

    def _check_camera(self, camera: CameraSpec) -> None:
        _one_of('camera.kind', camera.kind, ('pinhole', 'equirectangular'))
        _positive('camera.height_m', camera.height_m)
        pinhole = camera.kind == 'pinhole'
        _require(
            (camera.focal_px is not None) == pinhole == (camera.center_px is not None),
            'camera.focal_px and camera.center_px belong to a pinhole, and only to one',
        )
        for value in camera.focal_px or ():
            _positive('camera.focal_px', value)
        _require(
            self.turned != 'view' or camera.kind == 'equirectangular',
            "only a panorama can be turned as a 'view': turn the 'patch' for a pinhole",
        )


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
        _require(self.format == FORMAT, f'format is {self.format}, this version reads {FORMAT}')
        _require(
            re.fullmatch('[0-9a-f]{64}', self.sha256) is not None,
            f'sha256 {self.sha256!r} is not 64 hexadecimal digits',
        )
        out = self.output
        _one_of('output.meaning', out.meaning, MEANINGS)
        _positive('output.gsd', out.gsd)
        _positive('output.temperature', out.temperature)
        # One bin would say that yaw is known exactly.
        _require(out.yaw_bins >= 3, f'output.yaw_bins is {out.yaw_bins} < 3')
        _require(
            0 < out.yaw_half_range_deg <= 180,
            f'output.yaw_half_range_deg is {out.yaw_half_range_deg}, expected 0..180',
        )
        cells = out.yaw_bins * out.width * out.height
        _require(0 < cells <= 50_000_000, f'the output has {cells} cells')

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


# ---- strict reading ----


def read_specification(file: str, text: str, kind: type[R], version: int) -> R:
    """A specification from the text of its file.

    Args:
        file: Its name, for errors.
        text: JSON with a `format`.
        kind: Its dataclass.
        version: The one `format` that is read.

    Raises:
        BundleError: It is no JSON, of another version, or not exactly what is expected.
    """
    try:
        data = json.loads(text)
    except ValueError as error:
        raise BundleError(f'{file} is not JSON: {error}') from error
    if isinstance(data, dict) and data.get('format', version) != version:
        # Said first: a file of another version differs in its keys as well.
        raise BundleError(f'format is {data["format"]}, this version reads {version}')
    return read_record(file, data, kind)


def read_record(file: str, data: Any, kind: type[R]) -> R:
    """A dataclass from a JSON object that has exactly its fields, of exactly their kinds.

    Only a field whose default is None may be absent.

    Args:
        file: Said in errors; its own fields are named without it.
        data: What `json.loads` gave.
        kind: The dataclass; fields may be dataclasses, tuples, or one of these or None.

    Raises:
        BundleError: A key too many or too few, or a value of another kind.
    """
    made = _record(file, data, kind, prefix='')
    assert isinstance(made, kind)
    return made


def write_record(record: Any) -> str:
    """The text that `read_record` reads."""
    return json.dumps(_plain(record), indent=2) + '\n'


def _require(good: bool, message: str) -> None:
    if not good:
        raise BundleError(message)


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    _require(value in allowed, f'{name} is {value!r}, expected one of {allowed}')


def _positive(name: str, value: float) -> None:
    _require(math.isfinite(value) and value > 0, f'{name} is {value}, expected a positive number')


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


def _value(name: str, data: Any, kind: Any) -> Any:
    """A value of exactly the kind that a field is annotated with."""
    if isinstance(kind, type) and is_dataclass(kind):
        return _record(name, data, kind)
    if get_origin(kind) is UnionType:
        # The only union here: something, or null.
        return None if data is None else _value(name, data, get_args(kind)[0])
    if get_origin(kind) is tuple:
        return _items(name, data, get_args(kind))
    if kind is float:
        good = isinstance(data, (int, float)) and not isinstance(data, bool)
        _require(good and math.isfinite(data), f'{name} must be a finite number, got {data!r}')
        return float(data)
    words = {str: 'text', int: 'a whole number', bool: 'true or false'}[kind]
    # type() rather than isinstance(): true is no number.
    _require(type(data) is kind, f'{name} must be {words}, got {data!r}')
    return data


def _items(name: str, data: Any, kinds: tuple[Any, ...]) -> tuple[Any, ...]:
    _require(isinstance(data, list), f'{name} must be a list, got {data!r}')
    if kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * len(data)
    _require(len(data) == len(kinds), f'{name} must be a list of {len(kinds)}, got {data!r}')
    return tuple(_value(name, item, kind) for item, kind in zip(data, kinds, strict=True))


def _record(name: str, data: Any, kind: type, prefix: str | None = None) -> Any:
    """A dataclass from a JSON object with exactly its fields."""
    _require(isinstance(data, dict), f'{name} must be an object, got {type(data).__name__}')
    hints = get_type_hints(kind)
    optional = {f.name for f in fields(kind) if f.default is None}
    unknown, missing = sorted(set(data) - set(hints)), sorted(set(hints) - set(data) - optional)
    _require(not unknown, f'{name} has unknown keys {unknown}; known are {sorted(hints)}')
    _require(not missing, f'{name} lacks {missing}')
    prefix = f'{name}.' if prefix is None else prefix
    given = {key: hint for key, hint in hints.items() if key in data}
    return kind(**{key: _value(prefix + key, data[key], hint) for key, hint in given.items()})
