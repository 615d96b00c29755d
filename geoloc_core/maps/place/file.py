# SPDX-License-Identifier: Apache-2.0
"""A place map as a file (`*.place`): what is kept of each keyframe, and how finely.

Pixels are kept to a fraction of their own (1/64 px for pictures up to 1023 px), descriptors as
8-bit numbers, global descriptors as 16-bit floats, poses and points in full.
"""

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import CalibrationError, InputError, MapError
from geoloc_core.geometry.cameras import (
    AbstractCamera,
    EquirectangularCamera,
    FisheyeCamera,
    PanoramaCropCamera,
    PinholeCamera,
)
from geoloc_core.geometry.geodesy import Datum
from geoloc_core.maps.place import container
from geoloc_core.maps.place.records import Anchor, Keyframe, PlaceMap

SUFFIX = '.place'
_CAMERAS: dict[str, type[AbstractCamera]] = {
    'pinhole': PinholeCamera,
    'fisheye': FisheyeCamera,
    'equirectangular': EquirectangularCamera,
    'panorama_crop': PanoramaCropCamera,
}


def save_place(place: PlaceMap, path: str | Path) -> int:
    """Writes a place map, whole or not at all.

    Returns:
        Bytes written.

    Raises:
        MapError: The file cannot be named so, or the map is too large for one file.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise MapError(f'{path}: expected a name that ends in {SUFFIX}')
    frames = place.keyframes
    depth_shapes = {frame.depth.shape for frame in frames}
    if len(depth_shapes) > 1:
        raise MapError(f'place {place.name}: depth of sizes {sorted(depth_shapes)}; expected one')
    descriptors, scale = _quantised(np.concatenate([frame.descriptors for frame in frames]))
    steps = _steps_a_pixel(place.camera)
    xy = (np.concatenate([frame.xy for frame in frames]).astype(np.float64) + 0.5) * steps
    arrays: dict[str, NDArray] = {
        'counts': np.array([len(frame.xy) for frame in frames], np.uint32),
        'stamps_ns': np.array([frame.stamp_ns for frame in frames], np.int64),
        'poses': place.poses,
        'xy': np.clip(np.rint(xy), 0, 65535).astype(np.uint16),
        'descriptors': descriptors,
        'points': np.concatenate([frame.points for frame in frames]).astype(np.float32),
        'global': place.global_descriptors.astype(np.float16),
        'depth': np.stack([frame.depth for frame in frames]),
        **{f'vocabulary/{name}': np.asarray(array) for name, array in place.global_arrays.items()},
    }
    anchor = place.anchor
    about = {
        'name': place.name,
        'camera': _camera_to_json(place.camera),
        'features': place.features,
        'global_kind': place.global_kind,
        'names': [frame.name for frame in frames],
        'descriptor_scale': scale,
        'z_up': place.z_up,
        'anchor': None if anchor is None else {**asdict(anchor.datum), 'yaw': anchor.yaw},
        'facts': dict(place.facts),
    }
    return container.write(path, about, arrays)


def load_place(path: str | Path) -> PlaceMap:
    """Reads and verifies a place map.

    Raises:
        MapError: Not a place map, of a newer version, torn, damaged, or of impossible content.
    """
    path = Path(path)
    about, arrays = container.read(path)
    try:
        return _place(about, arrays)
    except MapError as error:
        raise MapError(f'{path}: {error}') from error
    except (
        AttributeError, KeyError, TypeError, ValueError, IndexError, CalibrationError, InputError
    ) as error:  # fmt: skip
        # Its checksum is right, so it was written so: by another program, or a faulty one.
        raise MapError(
            f'{path} holds what is no place map ({type(error).__name__}: {error}); build it again'
        ) from error


def _place(about: dict[str, Any], arrays: dict[str, NDArray]) -> PlaceMap:
    camera = _camera_from_json(about['camera'])
    counts = arrays['counts'].astype(np.int64)
    ends = np.cumsum(counts)
    names = about['names']
    features = {name: arrays[name] for name in ('xy', 'descriptors', 'points')}
    total = int(ends[-1]) if ends.size else 0
    per_frame = {name: arrays[name] for name in ('stamps_ns', 'poses', 'global', 'depth')}
    if any(len(array) != total for array in features.values()) or any(
        len(array) != len(counts) for array in (names, *per_frame.values())
    ):
        raise MapError('its arrays do not belong together; build it again')
    scale = np.float32(about['descriptor_scale'])
    xy = (features['xy'] / np.float64(_steps_a_pixel(camera)) - 0.5).astype(np.float32)
    keyframes = []
    for k, end in enumerate(ends):
        part = slice(int(end - counts[k]), int(end))
        keyframes.append(
            Keyframe(
                str(names[k]),
                int(per_frame['stamps_ns'][k]),
                per_frame['poses'][k],
                xy[part],
                _unit(features['descriptors'][part] * scale),
                features['points'][part],
                _unit(per_frame['global'][k].astype(np.float32)),
                per_frame['depth'][k],
            )
        )
    where = about['anchor']
    return PlaceMap(
        str(about['name']),
        camera,
        str(about['features']),
        str(about['global_kind']),
        {
            name.partition('/')[2]: array
            for name, array in arrays.items()
            if name.startswith('vocabulary/')
        },
        tuple(keyframes),
        None
        if where is None
        else Anchor(
            Datum(where['lat_deg'], where['lon_deg'], where['alt_m']), float(where['yaw'])
        ),
        bool(about['z_up']),
        {str(key): str(value) for key, value in about['facts'].items()},
    )


def _quantised(descriptors: NDArray) -> tuple[NDArray, float]:
    """8-bit descriptors and what one count is worth; signed where some are negative."""
    dtype: type = np.int8 if descriptors.size and descriptors.min() < 0 else np.uint8
    top = float(np.abs(descriptors).max()) if descriptors.size else 0.0
    scale = top / np.iinfo(dtype).max or 1.0
    return np.rint(descriptors / scale).astype(dtype), scale


def _unit(rows: NDArray) -> NDArray[np.float32]:
    """Rows of unit length again, which rounding has taken from them; zero ones stay zero."""
    length = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.where(length > 0, length, 1.0), np.float32)


def _steps_a_pixel(camera: AbstractCamera) -> int:
    """The finest power of two with which the whole picture fits into 16 bits."""
    largest = max(camera.width, camera.height)
    if largest > 65535:
        raise MapError(
            f'pictures of {camera.width} x {camera.height} are too large for a place map'
        )
    return int(2 ** np.floor(np.log2(65535 / largest)))


def _camera_to_json(camera: AbstractCamera) -> dict[str, Any]:
    for kind, cls in _CAMERAS.items():
        if type(camera) is cls:
            # Not `asdict`: cameras that cache what they compute would take that along.
            return {'kind': kind, **{f.name: getattr(camera, f.name) for f in fields(camera)}}
    raise MapError(f'a place map cannot hold a {type(camera).__name__}')


def _camera_from_json(data: dict[str, Any]) -> AbstractCamera:
    values = dict(data)
    kind = values.pop('kind')
    if kind not in _CAMERAS:
        raise MapError(f'camera {kind!r} is not known to this version of geoloc: update it')
    cls = _CAMERAS[kind]
    known = {f.name for f in fields(cls)}
    if set(values) != known:
        raise MapError(f'a {kind} camera has {sorted(known)}, the file gives {sorted(values)}')
    arguments: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    return cls(**arguments)
