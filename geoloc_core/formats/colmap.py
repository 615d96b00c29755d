# SPDX-License-Identifier: Apache-2.0
"""COLMAP's camera models, as lists of intrinsics state them: `name MODEL width height params`.

Convention: COLMAP counts pixels at their edges, so that the first one's centre is (0.5, 0.5); its
principal points are half a pixel larger than ours. Its distortion formulas are OpenCV's.
"""

from collections.abc import Sequence
from pathlib import Path

from geoloc_core.errors import CalibrationError, DataError
from geoloc_core.geometry.cameras import PinholeCamera

# Model -> how many parameters it takes.
_PARAMETERS = {'SIMPLE_PINHOLE': 3, 'PINHOLE': 4, 'SIMPLE_RADIAL': 4, 'RADIAL': 5, 'OPENCV': 8}


def camera_from_colmap(
    model: str, width: int, height: int, params: Sequence[float]
) -> PinholeCamera:
    """A camera.

    Args:
        model: 'SIMPLE_RADIAL' (f cx cy k) or another of COLMAP's perspective models.
        width: px.
        height: px.
        params: In COLMAP's order.

    Raises:
        CalibrationError: Unknown model, or parameters that do not fit it.
    """
    if model not in _PARAMETERS:
        raise CalibrationError(
            f'camera model {model!r} is not supported: expected one of {", ".join(_PARAMETERS)}'
        )
    if len(params) != _PARAMETERS[model]:
        raise CalibrationError(
            f'{model} takes {_PARAMETERS[model]} parameters, got {len(params)}: {list(params)}'
        )
    values = [float(value) for value in params]
    if model in ('SIMPLE_PINHOLE', 'SIMPLE_RADIAL', 'RADIAL'):
        values.insert(1, values[0])
    fx, fy, cx, cy, *distortion = values
    # k1 alone, or k1 k2, are followed by no tangential part.
    padded = (*distortion, 0.0, 0.0, 0.0, 0.0)[:4] if distortion else ()
    return PinholeCamera(width, height, fx, fy, cx - 0.5, cy - 0.5, padded)


def simple_radial_line(name: str, camera: PinholeCamera) -> str:
    """`name SIMPLE_RADIAL width height f cx cy k` of a camera.

    Raises:
        CalibrationError: The model cannot state it: two focal lengths, or more distortion.
    """
    k, *rest = camera.distortion or (0.0,)
    if camera.fx != camera.fy or any(rest):
        raise CalibrationError(f'SIMPLE_RADIAL has one focal length and one k, not {camera}')
    numbers = ' '.join(f'{v:.12g}' for v in (camera.fx, camera.cx + 0.5, camera.cy + 0.5, k))
    return f'{name} SIMPLE_RADIAL {camera.width} {camera.height} {numbers}'


def read_intrinsics(path: Path) -> dict[str, PinholeCamera]:
    """Cameras by picture of a list `name MODEL width height params`.

    Raises:
        DataError: Missing, a line is something else, or a name comes twice.
    """
    try:
        text = path.read_text(encoding='utf-8-sig')
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f'{path} cannot be read ({error}); expected lines "name SIMPLE_RADIAL w h f cx cy k"'
        ) from error
    cameras: dict[str, PinholeCamera] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words or words[0].startswith('#'):
            continue
        if words[0] in cameras:
            raise DataError(f'{path}:{number}: two lines claim the name {words[0]}')
        try:
            name, model, width, height, *params = words
            numbers = [float(value) for value in params]
            cameras[name] = camera_from_colmap(model, int(width), int(height), numbers)
        except (ValueError, CalibrationError) as error:
            raise DataError(
                f'{path}:{number} is {line[:60]!r} ({error}); expected '
                '"name SIMPLE_RADIAL w h f cx cy k"'
            ) from error
    return cameras
