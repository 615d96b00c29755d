# SPDX-License-Identifier: Apache-2.0
"""Aachen Day-Night v1.0 (Sattler et al., CVPR 2018): photographs of a city, by day and by night.

Convention: poses of the database come from an NVM model (world-to-camera quaternion, camera
centre); its world is that of the reconstruction, in metres, with no axis said to be up, and is
kept, so that what is handed in for evaluation is in the frame the server expects. Poses of the
queries are kept back by the publisher.

With `points`, samples bring the points of that model that were found in their picture. It is the
publisher's, of SIFT features; the multi-modal CrossViT reconstructed the city anew with SuperPoint
and SuperGlue, whose points are others.
"""

from collections.abc import Mapping, Sequence
import logging
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import DataError
from geoloc_core.formats.colmap import read_intrinsics
from geoloc_core.formats.nvm import read_cameras, read_observations
from geoloc_core.geometry import se3
from geoloc_core.types import GroundView
from training.datasets.base import AbsentError, AbstractDataset, read_rgb, UnreadableError
from training.datasets.hand_held import base_from_camera, T_BASE_CAMERA
from training.datasets.holdout import check_shares, GUARD, stretch
from training.datasets.listfiles import refuse_strays
from training.datasets.protocol import Protocol
from training.datasets.sample import LabelKind, Sample

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

log = logging.getLogger(__name__)

MODEL = Path('3D-models', 'aachen_cvpr2018_db.nvm')
# Split -> list of intrinsics, and how many pictures the publisher's has.
_DATABASE = (Path('3D-models', 'database_intrinsics.txt'), 4328)
LISTS: dict[str, tuple[Path, int]] = {
    'train': _DATABASE,
    'validation': _DATABASE,
    'day': (Path('queries', 'day_time_queries_with_intrinsics.txt'), 824),
    'night': (Path('queries', 'night_time_queries_with_intrinsics.txt'), 98),
}
V1_1 = Path('3D-models', 'aachen_v_1_1')
_IMAGES = (Path('images', 'images_upright'), Path('images_upright'))


class Aachen(AbstractDataset):
    """The database ('train', 'validation') and the queries by day and by night, without poses."""

    NAME: ClassVar[str] = 'Aachen Day-Night v1.0'
    LAYOUT: ClassVar[str] = (
        '  <root>/images/images_upright/db/*.jpg  query/{day,night}/.../*.jpg\n'
        '  <root>/3D-models/aachen_cvpr2018_db.nvm  database_intrinsics.txt\n'
        '  <root>/queries/{day,night}_time_queries_with_intrinsics.txt\n'
    )
    SPLITS: ClassVar[tuple[str, ...]] = ('train', 'validation', 'day', 'night')

    def __init__(
        self,
        root: Path | str,
        split: str,
        *,
        seed: int = 0,
        points: bool = False,
        validation: float = 0.0,
        guard: float = GUARD,
    ) -> None:
        """Reads the model's cameras and the list of intrinsics.

        Args:
            root: Folder as the archives unpack.
            split: 'train' (the database), 'validation', 'day' or 'night'.
            seed: Of nothing here; every reader has it.
            points: Also read the model's points, and give each picture of the database those
                that were found in it: what descriptors learn from.
            validation: Share of the database that is kept for choosing a model: the pictures
                taken at one end of the city, since neighbours are nearly copies.
            guard: Share of it between training and validation that belongs to neither.

        Raises:
            DataError: No such folder, a list or the model is absent, cut off or damaged, the
                two name different pictures, or the model has no points and they are wanted.
        """
        super().__init__(root, split, seed=seed)
        check_shares(validation=validation, guard=guard)
        if (self.root / V1_1).exists() and not (self.root / MODEL).exists():
            raise DataError(
                f'{self.root} holds version 1.1, whose poses differ: expected version 1.0 with '
                f'{MODEL}'
            )
        path, published = self.root / LISTS[split][0], LISTS[split][1]
        if not path.is_file():
            raise AbsentError(f'{path}: absent; it lists the pictures and their intrinsics')
        self._cameras = read_intrinsics(path)
        refuse_strays(path, self._cameras)
        if len(self._cameras) != published:
            log.warning(
                '%s lists %d pictures, as published %d', path, len(self._cameras), published
            )
        self._poses: dict[str, Array] | None = None
        self._points: dict[str, Floats] | None = None
        self._most_points = 0
        if LISTS[split] is _DATABASE:
            poses = read_cameras(self.root / MODEL)
            self._poses = {_plain(name): T for name, T in poses.items()}
            self._cameras = {_plain(name): camera for name, camera in self._cameras.items()}
            lacking = sorted(set(self._poses) ^ set(self._cameras))
            if lacking:
                raise DataError(
                    f'{path} and {MODEL.name} name different pictures, e.g. {lacking[0]} '
                    f'({len(lacking)} in all): are both of version 1.0?'
                )
            if points:
                found = read_observations(self.root / MODEL)
                self._points = {_plain(name): seen for name, seen in found.items()}
                self._most_points = max(map(len, found.values()))
        self._keys = sorted(self._cameras)
        if self._poses:
            across = _across(self._poses)
            part = stretch(len(across), split, validation, guard=guard)
            self._keys = sorted(across[i] for i in part)
        self._images = next(
            (self.root / folder for folder in _IMAGES if (self.root / folder).is_dir()),
            self.root / _IMAGES[0],
        )

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """Whether a folder holds the model or one of the lists."""
        return any((root / path).is_file() for path in (MODEL, *(p for p, _ in LISTS.values())))

    @property
    def keys(self) -> Sequence[str]:
        """Names of the pictures, e.g. 'db/1.jpg'."""
        return self._keys

    @property
    def protocol(self) -> Protocol | None:
        """None: the city is known, the place in it is not."""
        return None

    def files(self, index: int) -> tuple[Path, ...]:
        """The picture."""
        return (self._images / self._keys[index],)

    def missing(self) -> Sequence[str]:
        """Pictures that are listed and not there."""
        absent = [name for name in self._keys if not (self._images / name).is_file()]
        sentences = []
        if absent:
            sentences.append(
                f'{len(absent)} of {len(self._keys)} pictures of {self.split}, e.g. '
                f'{self._images / absent[0]}: unpack database_and_query_images.zip there'
            )
        return tuple(sentences)

    def sample(self, index: int, epoch: int = 0) -> Sample:
        """One photograph. They carry no time: the stamp is its number, in ns."""
        name = self._keys[index]
        path = self._images / name
        image, camera = read_rgb(path), self._cameras[name]
        if image.shape[:2] != (camera.height, camera.width):
            raise UnreadableError(
                path,
                f'{camera.width} x {camera.height} pixels, as its intrinsics say, not '
                f'{image.shape[1]} x {image.shape[0]}: take images_upright as published',
            )
        T = None if self._poses is None else base_from_camera(self._poses[name])
        return Sample(
            key=name,
            sequence='aachen',
            view=GroundView(index, image, camera, T_BASE_CAMERA),
            T_map_base=T,
            label=LabelKind.NONE if T is None else LabelKind.TRUTH,
            observed=self._observed(name),
        )

    def _observed(self, name: str) -> Floats | None:
        """See `Sample.observed`; as many rows in every split."""
        if self._points is None:
            return None
        rows = np.full((self._most_points, 3), np.nan, np.float32)
        rows[: len(self._points[name])] = self._points[name]
        return rows


def _across(poses: Mapping[str, Array]) -> list[str]:
    """Names in the order in which cameras stand along the axis that they spread over most."""
    names = sorted(poses)
    centres = np.array([poses[name][:3, 3] for name in names])
    axis = int(np.ptp(centres, axis=0).argmax())
    return [names[i] for i in np.argsort(centres[:, axis], kind='stable')]


def _plain(name: str) -> str:
    """Names come with and without './' before them."""
    return name.removeprefix('./')


def write_submission(path: Path, poses: Mapping[str, Array]) -> None:
    """Writes what the evaluation server (visuallocalization.net) takes.

    Convention: 'name qw qx qy qz tx ty tz', world-to-camera, the name without its folders.

    Args:
        path: Text file to write.
        poses: Key of a query -> T_map_camera (4, 4).

    Raises:
        DataError: Two queries have one base name.
    """
    lines: dict[str, str] = {}
    for key in sorted(poses):
        T = se3.inverse(poses[key])
        x, y, z, w = se3.quaternion_xyzw(T)
        name = Path(key).name
        if name in lines:
            raise DataError(f'two queries claim the name {name}: {key} is one of them')
        lines[name] = ' '.join([name, *(f'{value:.9f}' for value in (w, x, y, z, *T[:3, 3]))])
    path.write_text('\n'.join(lines.values()) + '\n', encoding='ascii')
