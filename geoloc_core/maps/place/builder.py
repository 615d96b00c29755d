# SPDX-License-Identifier: Apache-2.0
"""From a posed RGB-D sequence to a place map: look at all frames, keep some, describe those."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core import __version__
from geoloc_core.errors import ConfigError, DataError
from geoloc_core.features.base import AbstractGlobalDescriptor, LocalFeatures
from geoloc_core.features.global_descriptor import Vlad
from geoloc_core.features.registry import open_features
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import AbstractCamera
from geoloc_core.maps.place.depth import points_at, shrink
from geoloc_core.maps.place.records import Keyframe, PlaceMap
from geoloc_core.maps.place.selection import Glimpse, select, Selection, SelectionConfig
from geoloc_core.maps.place.sequence import AbstractPosedSequence, PosedView

# Wraps frames for a progress bar: (frames, how many, what is done) -> frames.
Progress = Callable[[Iterable[PosedView], int, str], Iterable[PosedView]]

# What the choice is made among; a longer sequence is looked at in longer steps.
_MAX_GLIMPSES = 2000
# A keyframe with fewer points in space than this localizes nobody.
_MIN_POINTS = 12
# Half of what a camera near the ground sees lies within this; beyond, the unit is another one.
_DEPTH_RANGE_M = (0.1, 60.0)


@dataclass(frozen=True)
class BuildConfig:
    """How a place map is made.

    Attributes:
        features: Kind of local features.
        max_features: So many at most in a keyframe; None for the kind's own choice.
        selection: Which frames are kept.
        min_step_m: A frame nearer than this to the last one looked at, and turned less than
            `min_turn_deg` from it, is not looked at.
        min_turn_deg: See `min_step_m`.
        seed: Of the vocabulary.
    """

    features: str = 'sift'
    max_features: int | None = None
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    min_step_m: float = 0.02
    min_turn_deg: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuses steps that are none.

        Raises:
            ConfigError: A step is negative or not finite.
        """
        for name in ('min_step_m', 'min_turn_deg'):
            if not 0.0 <= getattr(self, name) < np.inf:
                raise ConfigError(f'{name} is {getattr(self, name)}: expected 0 or more')


def build_place(
    sequence: AbstractPosedSequence,
    config: BuildConfig | None = None,
    *,
    name: str = '',
    descriptor: AbstractGlobalDescriptor | None = None,
    progress: Progress | None = None,
) -> PlaceMap:
    """Makes a place map.

    Args:
        sequence: Posed frames of one camera, with depth.
        config: How.
        name: Of the place; the sequence's if empty.
        descriptor: Of whole pictures; VLAD with a vocabulary made of this map if None.
        progress: For a progress bar.

    Returns:
        The map, in the sequence's own world frame. The same frames give the same map.

    Raises:
        DataError: No frames, no depth, depth in another unit, several cameras, or pictures in
            which nothing is found.
        ConfigError: The features are not known or not installed.
    """
    config = config or BuildConfig()
    bar = progress or (lambda frames, total, what: frames)
    # Opened first: what is not installed should be said before minutes of work.
    features = open_features(config.features, config.max_features)
    watched = _Watch(sequence.name)
    frames = bar(sequence.views(), len(sequence), 'looking')
    glimpses = _glimpses(watched.checked(frames), config)
    watched.require_depth()
    assert watched.camera is not None
    height, width = glimpses[0].depth.shape
    selection = select(glimpses, watched.camera.resized(width, height), config.selection)
    wanted = {glimpses[k].name for k in selection.chosen}
    if not wanted:
        raise DataError(f'{sequence.name}: no frame has enough depth to be kept')
    found: list[tuple[Keyframe, LocalFeatures]] = []
    for frame in bar(sequence.views(wanted), len(wanted), 'describing'):
        local = features.detect(frame.view.image)
        keyframe = _keyframe(frame, local, descriptor)
        if keyframe.has_point.sum() >= _MIN_POINTS:
            found.append((keyframe, local))
    if not found:
        raise DataError(
            f'{sequence.name}: none of {len(wanted)} keyframes has {_MIN_POINTS} features with '
            'depth: are the pictures dark or blurred, or is depth not registered to them?'
        )
    if descriptor is None:
        descriptor = Vlad.trained([local.descriptors for _, local in found], config.seed)
        found = [
            (replace(keyframe, global_descriptor=descriptor.describe(None, local)), local)
            for keyframe, local in found
        ]
    return PlaceMap(
        name or sequence.name,
        watched.camera,
        features.kind,
        descriptor.kind,
        descriptor.arrays(),
        tuple(keyframe for keyframe, _ in found),
        sequence.anchor,
        sequence.z_up or sequence.anchor is not None,
        _facts(sequence, watched, glimpses, selection, len(found)),
    )


def _keyframe(
    frame: PosedView, local: LocalFeatures, descriptor: AbstractGlobalDescriptor | None
) -> Keyframe:
    """What a map keeps of a frame; its global descriptor is empty where there is none yet."""
    depth = _depth_of(frame)
    return Keyframe(
        frame.name,
        frame.view.stamp_ns,
        frame.T_place_camera,
        local.xy,
        local.descriptors,
        points_at(local.xy, depth, frame.view.camera, frame.T_place_camera),
        np.zeros(0, np.float32)
        if descriptor is None
        else descriptor.describe(frame.view.image, local),
        shrink(depth),
    )


class _Watch:
    """Looks over the frames on their way: one camera, and depth that can be meant."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.camera: AbstractCamera | None = None
        self.count = 0
        self._medians: list[float] = []

    def checked(self, frames: Iterable[PosedView]) -> Iterator[PosedView]:
        for frame in frames:
            if self.camera is None:
                self.camera = frame.view.camera
            elif frame.view.camera != self.camera:
                raise DataError(
                    f'{self.name}: frame {frame.name} was taken by another camera '
                    f'({frame.view.camera}) than the first ({self.camera}): build a map of each '
                    'sequence and merge them'
                )
            if not se3.is_rigid(frame.T_place_base, 1e-4):
                raise DataError(f'{self.name}: the pose of frame {frame.name} is no rigid motion')
            self.count += 1
            if frame.view.depth is not None:
                some = frame.view.depth[::8, ::8]
                some = some[np.isfinite(some)]
                if some.size:
                    self._medians.append(float(np.median(some)))
            yield frame

    def require_depth(self) -> None:
        """Raises DataError where there were no frames, no depth, or depth of another unit."""
        if not self.count:
            raise DataError(f'{self.name}: no frame has both a picture and a pose')
        if not self._medians:
            raise DataError(
                f'{self.name}: {self.count} frames and not one valid depth: a place map needs '
                'depth registered to the pictures; is 0 (nothing measured) all there is?'
            )
        median = float(np.median(self._medians))
        if not _DEPTH_RANGE_M[0] <= median <= _DEPTH_RANGE_M[1]:
            raise DataError(
                f'{self.name}: half of the depth is beyond {median:.4g} m, expected '
                f'{_DEPTH_RANGE_M[0]} to {_DEPTH_RANGE_M[1]:.0f} m: is its unit another one '
                '(mm, 1/5000 m)?'
            )


def _glimpses(frames: Iterable[PosedView], config: BuildConfig) -> list[Glimpse]:
    """What the choice needs of the frames, at least a step apart."""
    step, turn = config.min_step_m, np.deg2rad(config.min_turn_deg)
    kept: list[Glimpse] = []
    for frame in frames:
        T = frame.T_place_camera
        if kept and not _moved(kept[-1].T_place_camera, T, step, turn):
            continue
        grey = cv2.cvtColor(frame.view.image, cv2.COLOR_RGB2GRAY)
        sharpness = float(cv2.Laplacian(grey, cv2.CV_16S).var())
        kept.append(Glimpse(frame.name, T, shrink(_depth_of(frame)), sharpness))
        if len(kept) > _MAX_GLIMPSES:
            kept = kept[::2]
            step, turn = max(2 * step, 1e-3), max(2 * turn, 1e-3)
    return kept


def _moved(T_a: NDArray, T_b: NDArray, step: float, turn: float) -> bool:
    between = se3.inverse(T_a) @ T_b
    return bool(
        np.linalg.norm(between[:3, 3]) >= step
        or np.linalg.norm(se3.log_rotation(between[:3, :3])) >= turn
    )


def _depth_of(frame: PosedView) -> NDArray[np.float32]:
    """Depth of a frame, all NaN where it has none."""
    if frame.view.depth is not None:
        return frame.view.depth
    return np.full(frame.view.image.shape[:2], np.nan, np.float32)


def _facts(
    sequence: AbstractPosedSequence,
    watched: _Watch,
    glimpses: list[Glimpse],
    selection: Selection,
    kept: int,
) -> dict[str, str]:
    covered = selection.covered[np.isfinite(selection.covered)]
    facts = {
        'made of': sequence.name,
        'frames': f'{watched.count}, {len(glimpses)} of them looked at, {kept} kept',
        'coverage': f'{100 * covered.mean():.0f} % of what the frames saw, '
        f'{100 * covered.min():.0f} % of the frame that it covers least',
        'made by': f'geoloc {__version__}',
    }
    if kept < len(selection.chosen):
        facts['left out'] = f'{len(selection.chosen) - kept} keyframes with too few points'
    return facts
