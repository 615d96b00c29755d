# SPDX-License-Identifier: Apache-2.0
"""A sample in one file, without pickle: numbers as JSON, pictures as arrays beside them (.npz).

Used for the cache of the loader and for small samples that travel with tests.
"""

from dataclasses import asdict
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from geoloc_core.errors import GeolocError
from geoloc_core.formats.packed import read_npz
from geoloc_core.geometry.cameras import (
    AbstractCamera,
    EquirectangularCamera,
    FisheyeCamera,
    PanoramaCropCamera,
    PinholeCamera,
)
from geoloc_core.geometry.geodesy import Datum
from geoloc_core.geometry.grid import Grid
from geoloc_core.types import AerialPatch, GroundView, PosePrior
from geoloc_core.whole_file import write_whole
from training.datasets.base import UnreadableError
from training.datasets.sample import LabelKind, Sample

VERSION = 1
_CAMERAS: dict[str, type[AbstractCamera]] = {
    kind.__name__: kind
    for kind in (PinholeCamera, FisheyeCamera, EquirectangularCamera, PanoramaCropCamera)
}
# Far more than any camera and map give.
MAX_UNPACKED_BYTES = 1_000_000_000
# No such archive, other facts in it, numbers that no camera has.
_DAMAGE = (ValueError, KeyError, TypeError, AttributeError, IndexError, GeolocError)
Arrays = dict[str, np.ndarray]


def save_sample(path: Path, sample: Sample) -> None:
    """Writes a sample; a reader never sees half of it.

    Args:
        path: File to write, ending in .npz; its folder is made.
        sample: Any sample.

    Raises:
        OSError: The disk is full or may not be written.
    """
    arrays: Arrays = {'image': sample.view.image}
    optional = {
        'depth': sample.view.depth,
        'patch_classes': sample.patch_classes,
        'view_classes': sample.view_classes,
        'observed': sample.observed,
    }
    arrays |= {name: array for name, array in optional.items() if array is not None}
    patches = [p for p in (sample.patch,) if p is not None] + list(sample.other_patches)
    for i, patch in enumerate(patches):
        arrays[f'patch{i}'] = patch.image
        # One bit a pixel: most masks are all true.
        arrays[f'mask{i}'] = np.packbits(patch.mask)
    camera = sample.view.camera
    prior = sample.prior
    facts = {
        'version': VERSION,
        'key': sample.key,
        'sequence': sample.sequence,
        'stamp_ns': sample.view.stamp_ns,
        'camera': {'kind': type(camera).__name__, **asdict(camera)},
        'T_base_camera': sample.view.T_base_camera.tolist(),
        'T_map_base': None if sample.T_map_base is None else sample.T_map_base.tolist(),
        'label': sample.label.name,
        'cov': None if sample.cov is None else sample.cov.tolist(),
        'prior': prior and [prior.stamp_ns, prior.T_map_base.tolist(), prior.cov.tolist()],
        'datum': sample.datum and asdict(sample.datum),
        'has_patch': sample.patch is not None,
        'patches': [{'grid': asdict(p.grid), 'attribution': p.attribution} for p in patches],
    }
    arrays['facts'] = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_whole(path, buffer.getbuffer())


def load_sample(path: Path) -> Sample:
    """Reads what `save_sample` wrote, equal to the bit.

    Raises:
        UnreadableError: Not such a file, or of another version.
    """
    try:
        arrays = read_npz(path, MAX_UNPACKED_BYTES)
        facts = json.loads(arrays.pop('facts').tobytes())
        if facts['version'] != VERSION:
            raise UnreadableError(path, f'a stored sample of version {VERSION}')
        return _sample(facts, arrays)
    except UnreadableError:
        raise
    except _DAMAGE as error:
        raise UnreadableError(path, 'a stored sample (.npz)') from error


def _sample(facts: dict[str, Any], arrays: Arrays) -> Sample:
    camera = {k: tuple(v) if isinstance(v, list) else v for k, v in facts['camera'].items()}
    view = GroundView(
        stamp_ns=facts['stamp_ns'],
        image=arrays['image'],
        camera=_CAMERAS[camera.pop('kind')](**camera),
        T_base_camera=np.array(facts['T_base_camera']),
        depth=arrays.get('depth'),
    )
    patches = []
    for i, fact in enumerate(facts['patches']):
        image = arrays[f'patch{i}']
        grid = Grid(**{**fact['grid'], 'center_xy': tuple(fact['grid']['center_xy'])})
        bits = np.unpackbits(arrays[f'mask{i}'], count=grid.width * grid.height)
        mask = bits.reshape(grid.height, grid.width).astype(bool)
        patches.append(AerialPatch(image, mask, grid, fact['attribution']))
    prior = facts['prior']
    return Sample(
        key=facts['key'],
        sequence=facts['sequence'],
        view=view,
        T_map_base=None if facts['T_map_base'] is None else np.array(facts['T_map_base']),
        label=LabelKind[facts['label']],
        cov=None if facts['cov'] is None else np.array(facts['cov']),
        patch=patches[0] if facts['has_patch'] else None,
        prior=prior and PosePrior(prior[0], np.array(prior[1]), np.array(prior[2])),
        datum=facts['datum'] and Datum(**facts['datum']),
        other_patches=tuple(patches[1:] if facts['has_patch'] else patches),
        patch_classes=arrays.get('patch_classes'),
        view_classes=arrays.get('view_classes'),
        observed=arrays.get('observed'),
    )
