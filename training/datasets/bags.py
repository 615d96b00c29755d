# SPDX-License-Identifier: Apache-2.0
"""Anybody's drive as training data: a bag with camera and GNSS, and a map to cut patches from.

The only label is the receiver's (`LabelKind.GNSS`): metres wrong, and alike from one picture to
the next. That is what weakly supervised methods learn from; it is no truth to measure with.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
import logging
import os
from pathlib import Path
import threading
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from geoloc_core.bags.reader import BagReader
from geoloc_core.bags.topics import TopicChoice
from geoloc_core.errors import BagError, CalibrationError, DataError, MapError
from geoloc_core.geometry import se3
from geoloc_core.geometry.geodesy import Datum, EnuFrame
from geoloc_core.maps.opening import open_map
from geoloc_core.maps.source import AbstractMapSource
from geoloc_core.messages.conversions import camera_mount
from geoloc_core.types import PosePrior
from training.datasets.bag_recording import (
    build_index,
    datum_of,
    fixes_in,
    Frame,
    FrameReader,
    Index,
    nearest_depth,
)
from training.datasets.base import AbstractDataset
from training.datasets.gnss_labels import GnssLabel, GnssLabels
from training.datasets.holdout import check_shares, SPLITS, stretch
from training.datasets.protocol import fractions, Protocol
from training.datasets.sample import LabelKind, Sample

Array = NDArray[np.float64]

log = logging.getLogger(__name__)

_MAPS = ('map.tif', 'map.tiff', 'map.vrt', 'map.mbtiles')


@dataclass(frozen=True)
class _Recording:
    """A bag whose pictures are labelled."""

    path: Path
    name: str
    datum: Datum
    labels: GnssLabels
    index: Index


class Bags(AbstractDataset):
    """One bag (ROS 1 or 2), or a folder of bags over one map."""

    NAME: ClassVar[str] = 'bag'
    LAYOUT: ClassVar[str] = (
        '  <root> a .bag, a .mcap, or a rosbag2 folder with metadata.yaml, or a folder of those;\n'
        '  in it: image, camera_info, NavSatFix; better also odometry, tf_static, depth\n'
        '  <root>/map.tif (or beside it), or map = GeoTIFF, MBTiles, tile folder or URL\n'
    )
    SPLITS: ClassVar[tuple[str, ...]] = SPLITS

    def __init__(
        self,
        root: Path | str,
        split: str,
        *,
        seed: int = 0,
        map: str | Path | None = None,
        patch_m: float = 80.0,
        gsd: float = 0.2,
        search_m: float = 20.0,
        half_yaw_deg: float = 180.0,
        topics: Mapping[str, str] | None = None,
        base_frame: str = 'base_link',
        base_height_m: float = 0.0,
        camera_xyz: Sequence[float] | None = None,
        camera_rpy: Sequence[float] = (0.0, 0.0, 0.0),
        antenna_xyz: Sequence[float] | None = None,
        rectified: bool = False,
        depth: bool = True,
        max_gap_s: float = 1.5,
        min_step_m: float = 0.0,
        assume_forward: bool = True,
        validation: float = 0.1,
        test: float = 0.25,
    ) -> None:
        """Reads the bags once, all but the pixels.

        Args:
            root: Bag, or folder of bags.
            split: 'train', 'validation', 'test' or 'all'; stretches of each bag.
            seed: Of the priors.
            map: What patches are cut from; None takes `map.tif` in or beside the root.
            patch_m: Side of a patch, m.
            gsd: Of a patch, m/px.
            search_m: The prior lies within this of the label, east and north.
            half_yaw_deg: And its yaw within this; 180 = not known beforehand.
            topics: Kind ('image', 'camera_info', 'fix', 'odometry', 'depth') -> topic; found by
                type where not given.
            base_frame: Name of base_link in the bag's transforms.
            base_height_m: Of base_link over the ground; a sample's base_link lies on the ground
                below it.
            camera_xyz: Place of the camera in base_link, m, where the bag does not tell it.
            camera_rpy: Its roll, pitch (down) and yaw (left), rad.
            antenna_xyz: Place of the antenna in base_link, m, where the bag does not tell it.
            rectified: The pictures are rectified (P of camera_info describes them).
            depth: Give depth where the bag has it.
            max_gap_s: Pictures between fixes further apart than this are left out.
            min_step_m: Pictures nearer than this to the one before are left out.
            assume_forward: Without odometry take the course over ground for the yaw.
            validation: Share of what precedes the test.
            test: Share of each bag, its end.

        Raises:
            DataError: No bag, no camera or fixes in it, no map, or the map is elsewhere.
        """
        self.root = Path(root)
        if self.root.is_file():
            # A lone file is checked by opening it, below.
            super().__init__(self.root.parent, split, seed=seed)
            self.root = Path(root)
        else:
            super().__init__(root, split, seed=seed)
        check_shares(validation=validation, test=test)
        if not (search_m > 0 and patch_m > 2 * search_m and gsd > 0 and 0 < half_yaw_deg <= 180):
            raise DataError(
                f'patch_m {patch_m}, gsd {gsd}, search_m {search_m}, half_yaw_deg {half_yaw_deg}: '
                'expected positive numbers, a patch of more than twice search_m, at most 180 deg'
            )
        self.patch_m, self.gsd, self.search_m = float(patch_m), float(gsd), float(search_m)
        self.half_yaw = float(np.radians(half_yaw_deg))
        self._topics = _topic_choice(topics)
        if not depth:
            self._topics = replace(self._topics, depth=None)
        self._with_depth = depth
        self._base_frame, self._rectified = base_frame, rectified
        self._T_ground_base = se3.make(np.eye(3), [0.0, 0.0, float(base_height_m)])
        self._T_base_camera = None if camera_xyz is None else camera_mount(camera_xyz, camera_rpy)
        self._antenna = None if antenna_xyz is None else np.array(antenna_xyz, dtype=np.float64)
        self._given_map = map
        self._forget_open_files()
        # Reasons for which pictures were left out -> how many.
        self.left_out: dict[str, int] = {}
        self._recordings: list[_Recording] = []
        self._frames: list[tuple[int, Frame]] = []
        for path in _bags(self.root):
            self._add(path, max_gap_s, assume_forward, min_step_m, (validation, test))
        if not self._recordings:
            raise DataError(f'{self.root} holds no bag; expected\n{self.LAYOUT}')
        self._keys = [f'{self._recordings[r].name}/{frame.stamp_ns}' for r, frame in self._frames]
        if self.left_out:
            log.warning(
                '%s: pictures left out: %s',
                self.root,
                '; '.join(f'{count} {reason}' for reason, count in self.left_out.items()),
            )

    # ---- what is there ----

    def _add(
        self,
        path: Path,
        max_gap_s: float,
        assume_forward: bool,
        min_step_m: float,
        shares: tuple[float, float],
    ) -> None:
        try:
            with BagReader(path) as reader:
                index = build_index(reader, self._topics, self._base_frame)
        except BagError as error:
            raise DataError(f'{error}; training needs image, camera_info and fix') from error
        if not index.fixes:
            why = next(iter(index.damaged), 'the receiver never had one')
            raise DataError(f'{path} has no usable fix ({why}): nothing can be labelled')
        datum = datum_of(index, float(self._T_ground_base[2, 3]))
        frame = EnuFrame(datum)
        labels = GnssLabels(
            fixes_in(frame, index, self._antenna),
            index.odometry,
            max_gap_s=max_gap_s,
            assume_forward=assume_forward,
        )
        usable = self._usable(path, frame, labels, index, min_step_m)
        name = path.stem if path.is_file() else path.name
        twin = next((r.path for r in self._recordings if r.name == name), None)
        if twin is not None:
            raise DataError(
                f'{twin} and {path} claim the name {name}: is one the copy of the other? Rename '
                'or remove one'
            )
        number = len(self._recordings)
        self._recordings.append(_Recording(path, name, datum, labels, index))
        chosen = stretch(len(usable), self.split, *shares)
        self._frames += [(number, usable[i]) for i in chosen]

    def _usable(
        self, path: Path, frame: EnuFrame, labels: GnssLabels, index: Index, min_step_m: float
    ) -> list[Frame]:
        """Pictures that have a label on the map, thinned out to the wanted spacing."""
        stamps = np.array([f.stamp_ns for f in index.frames], dtype=np.int64)
        labelled = np.flatnonzero(labels.covers(stamps)) if len(stamps) else np.zeros(0, int)
        self._leave_out('without a fix before and after', len(stamps) - len(labelled))
        if not len(labelled):
            raise DataError(
                f'{path}: none of {len(stamps)} pictures lies between two fixes; do camera and '
                'receiver stamp with one clock? (max_gap_s bounds the time between fixes)'
            )
        places = np.array([labels.position(int(stamps[i])) for i in labelled])
        lat, lon, _ = frame.geodetic_from_enu(np.column_stack([places, np.zeros(len(places))]))
        west, south, east, north = self._map.info.bounds_deg
        in_lon = (lon >= west) & (lon <= east) if west <= east else (lon >= west) | (lon <= east)
        inside = in_lon & (lat >= south) & (lat <= north)
        self._leave_out('outside the map', int((~inside).sum()))
        if not inside.any():
            raise DataError(
                f'{path} was recorded around {lat[0]:.5f}, {lon[0]:.5f}, but the map '
                f'{self._map_spec} covers latitude {south:.5f}..{north:.5f}, longitude '
                f'{west:.5f}..{east:.5f}: is it the map of this drive?'
            )
        chosen, last = [], None
        for i, place in zip(labelled[inside], places[inside], strict=True):
            if last is None or np.hypot(*(place - last)) >= min_step_m:
                chosen.append(index.frames[i])
                last = place
        self._leave_out('nearer than min_step_m', int(inside.sum()) - len(chosen))
        return chosen

    def _leave_out(self, reason: str, count: int) -> None:
        if count:
            self.left_out[reason] = self.left_out.get(reason, 0) + count

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """Whether there is a bag, or a folder of bags."""
        return bool(_bags(root))

    @property
    def keys(self) -> Sequence[str]:
        """'<bag>/<stamp in ns>'."""
        return self._keys

    @property
    def protocol(self) -> Protocol | None:
        """A prior within `search_m` of the receiver's position."""
        return Protocol('GNSS label', self.search_m, self.search_m, self.half_yaw, 'map', 'test')

    def files(self, index: int) -> tuple[Path, ...]:
        """The bag."""
        path = self._recordings[self._frames[index][0]].path
        return (path,) if path.is_file() else tuple(sorted(path.glob('*.*')))

    # ---- one sample ----

    def sample(self, index: int, epoch: int = 0) -> Sample:
        """A picture, the receiver's pose as its label, and the map around a shifted prior."""
        number, frame = self._frames[index]
        recording = self._recordings[number]
        label = recording.labels.at(frame.stamp_ns)
        depth = nearest_depth(recording.index, frame.stamp_ns) if self._with_depth else None
        try:
            view = self._reader(number).view(frame, depth)
        except (BagError, CalibrationError) as error:
            raise DataError(f'{recording.path}: {error}{_how_to_mount(error)}') from error
        view = replace(view, T_base_camera=self._T_ground_base @ view.T_base_camera)
        epoch = epoch if self.split in ('train', 'all') else 0
        prior = self._prior(frame.stamp_ns, label, fractions(self.seed, index, epoch))
        x, y = (float(v) for v in prior.T_map_base[:2, 3])
        try:
            patch = self._map.patch(EnuFrame(recording.datum), (x, y), self.patch_m, self.gsd)
        except MapError as error:
            raise DataError(f'{self._map_spec}: {error}') from error
        return Sample(
            key=self._keys[index],
            sequence=recording.name,
            view=view,
            T_map_base=label.T_map_base,
            label=LabelKind.GNSS,
            cov=label.cov,
            patch=patch,
            prior=prior,
            datum=recording.datum,
        )

    def _prior(self, stamp_ns: int, label: GnssLabel, draws: tuple[float, ...]) -> PosePrior:
        protocol = self.protocol
        assert protocol is not None
        if not label.knows_yaw:
            protocol = replace(protocol, half_yaw=np.pi)
        prior = protocol.prior(stamp_ns, label.T_map_base, draws)
        cov = prior.cov.copy()
        # It is drawn around the label, which is itself off the truth.
        cov[:2, :2] += label.cov[:2, :2]
        cov[5, 5] = min(cov[5, 5] + label.cov[5, 5], np.pi**2 / 3)
        return replace(prior, cov=cov)

    # ---- open files, one of each a process (the map) or a thread (bags) ----

    @cached_property
    def _map_spec(self) -> str | Path:
        return self._given_map if self._given_map is not None else _map_beside(self.root)

    @property
    def _map(self) -> AbstractMapSource:
        with self._lock:
            if self._map_source is None or self._map_pid != os.getpid():
                try:
                    # Samples come in any order: nothing is worth reading ahead.
                    self._map_source = open_map(self._map_spec, block_m=0.0)
                except MapError as error:
                    raise DataError(f'{error}; give map = PATH') from error
                self._map_pid = os.getpid()
            return self._map_source

    def _reader(self, number: int) -> FrameReader:
        readers: dict[tuple[int, int], FrameReader] = self._local.__dict__
        key = str((os.getpid(), number))
        if key not in readers:
            readers[key] = FrameReader(
                self._recordings[number].path,
                self._topics,
                self._base_frame,
                self._T_base_camera,
                self._rectified,
            )
        return readers[key]

    def _forget_open_files(self) -> None:
        self._lock = threading.Lock()
        self._local = threading.local()
        self._map_source: AbstractMapSource | None = None
        self._map_pid = 0

    def __getstate__(self) -> dict[str, Any]:
        """Without open files, which the other process opens anew."""
        state = dict(self.__dict__)
        for name in ('_lock', '_local', '_map_source', '_map_pid'):
            del state[name]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Files are opened when first asked for."""
        self.__dict__.update(state)
        self._forget_open_files()


def _topic_choice(topics: Mapping[str, str] | None) -> TopicChoice:
    try:
        return TopicChoice.of(f'{kind}={topic}' for kind, topic in (topics or {}).items())
    except BagError as error:
        raise DataError(str(error)) from error


def _bags(root: Path) -> list[Path]:
    """Bags at or in a path."""
    if root.is_file():
        return [root] if root.suffix in ('.bag', '.mcap', '.db3') else []
    if not root.is_dir():
        return []
    if (root / 'metadata.yaml').is_file():
        return [root]
    lone = [p for p in root.iterdir() if p.is_file() and p.suffix in ('.bag', '.mcap', '.db3')]
    folders = [p for p in root.iterdir() if p.is_dir() and (p / 'metadata.yaml').is_file()]
    return sorted(lone + folders)


def _map_beside(root: Path) -> Path:
    folders = (root, root.parent) if root.is_dir() else (root.parent,)
    for folder in folders:
        for name in _MAPS:
            if (folder / name).is_file():
                return folder / name
    raise DataError(
        f'no map for {root}: give map = a GeoTIFF, an MBTiles archive, a tile folder or a URL, '
        f'or put {_MAPS[0]} beside the bag'
    )


def _how_to_mount(error: Exception) -> str:
    return '; or give camera_xyz and camera_rpy' if 'mount of the camera' in str(error) else ''
