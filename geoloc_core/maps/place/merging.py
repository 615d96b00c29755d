# SPDX-License-Identifier: Apache-2.0
"""Several maps of a place made one."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import MapError
from geoloc_core.features.base import AbstractMatcher, LocalFeatures
from geoloc_core.features.global_descriptor import KIND, Vlad
from geoloc_core.geometry import se3
from geoloc_core.geometry.geodesy import EnuFrame
from geoloc_core.maps.place.alignment import align_places
from geoloc_core.maps.place.checking import depth_disagreement_m
from geoloc_core.maps.place.records import Anchor, Keyframe, PlaceMap

# Where two maps show the same surfaces, those must lie at the same place.
MAX_DISAGREEMENT_M = 0.15


def merge_places(
    places: Sequence[PlaceMap],
    name: str = '',
    *,
    same_frame: bool = False,
    align: bool = False,
    matcher: AbstractMatcher | None = None,
) -> PlaceMap:
    """Joins maps into one, in the frame of the first.

    Maps that are tied to the Earth are brought together by that. Others must be in one frame
    already, as the sequences of a 7-Scenes room are; that cannot be seen from the files, so it
    must be said. Or their frames are found in what they have in common (`align`). Where they
    overlap it is verified with their depth.

    Args:
        places: Two or more, of one kind of features and one camera.
        name: Of the whole; the first one's if empty.
        same_frame: The maps without anchor are in one frame.
        align: Find how each lies in those before it, by matching features; whatever is said of
            the frames of all but the first is not used.
        matcher: Network that matches their features; nearest descriptors if None.

    Returns:
        The map, with a vocabulary of all of its features where it has one. Keyframes whose names
        two maps share get the map's name before theirs.

    Raises:
        MapError: They do not fit together.
    """
    if len(places) < 2:
        raise MapError(f'{len(places)} place maps given: expected two or more to merge')
    first = places[0]
    for place in places[1:]:
        _require_alike(first, place)
    if align:
        moved = _aligned(places, matcher)
    else:
        _require_known_frames(places, same_frame)
        moved = [first] + [_in_frame_of(first, place) for place in places[1:]]
    _require_agreement(moved)
    shared = _shared_names(moved)
    frames = [
        replace(frame, name=f'{place.name}/{frame.name}') if frame.name in shared else frame
        for place in moved
        for frame in place.keyframes
    ]
    arrays = first.global_arrays
    if first.global_kind == KIND:
        arrays, frames = _described_again(frames)
    return PlaceMap(
        name or first.name,
        first.camera,
        first.features,
        first.global_kind,
        arrays,
        tuple(frames),
        first.anchor,
        first.z_up,
        {
            'made of': ', '.join(place.name for place in places),
            **{
                f'{key} of map {number}': value
                for number, place in enumerate(places, start=1)
                for key, value in place.facts.items()
            },
        },
    )


def _require_known_frames(places: Sequence[PlaceMap], same_frame: bool) -> None:
    anchored = [place.anchor is not None for place in places]
    if any(anchored) and not all(anchored):
        raise MapError(
            'some of the maps are tied to the Earth and some are not: build them all with the '
            'same --anchor'
        )
    if not any(anchored) and not same_frame:
        raise MapError(
            'the maps do not say how their frames lie to each other: if all of them were built of '
            'poses in one frame, say so (--same-frame); otherwise have it found (--align), or tie '
            'each to the Earth (--anchor)'
        )


def _require_alike(first: PlaceMap, other: PlaceMap) -> None:
    for what, a, b in (
        ('local features', first.features, other.features),
        ('global descriptors', first.global_kind, other.global_kind),
    ):
        if a != b:
            raise MapError(
                f'{first.name} has {what} {a!r}, {other.name} has {b!r}: build both with one kind'
            )
    if first.global_kind != KIND and not _same_arrays(first, other):
        raise MapError(
            f'the pictures of {first.name} and {other.name} were described by different networks: '
            'build both with one'
        )
    if first.camera != other.camera:
        raise MapError(
            f'{first.name} was taken by {first.camera}, {other.name} by {other.camera}: a place '
            'map holds the keyframes of one camera; use them one after the other instead'
        )


def _aligned(places: Sequence[PlaceMap], matcher: AbstractMatcher | None) -> list[PlaceMap]:
    """The maps in the frame of the first, each found in one of those before it.

    Raises:
        MapError: One has too little in common with each of them, or fits in several ways.
    """
    moved = [places[0]]
    for place in places[1:]:
        found, reasons = [], []
        for base in moved:
            try:
                found.append(align_places(base, place, matcher=matcher))
            except MapError as error:
                reasons.append(str(error))
        if not found:
            raise MapError('; '.join(reasons))
        best = max(found, key=lambda alignment: alignment.support)
        moved.append(_moved(place, best.T_base_other, places[0].anchor))
    return moved


def _in_frame_of(first: PlaceMap, place: PlaceMap) -> PlaceMap:
    if first.anchor is None or place.anchor is None or first.anchor == place.anchor:
        return place
    frame = EnuFrame(first.anchor.datum)
    T = se3.inverse(first.anchor.T_map_place(frame)) @ place.anchor.T_map_place(frame)
    return _moved(place, T, first.anchor)


def _moved(place: PlaceMap, T: NDArray[np.float64], anchor: Anchor | None) -> PlaceMap:
    """A map in another frame: `T` (4, 4) takes its points there, `anchor` says where that is."""
    return replace(
        place,
        anchor=anchor,
        z_up=place.z_up or anchor is not None,
        keyframes=tuple(
            replace(
                k,
                T_place_camera=T @ k.T_place_camera,
                points=se3.transform(T, k.points).astype(np.float32),
            )
            for k in place.keyframes
        ),
    )


def _require_agreement(places: Sequence[PlaceMap]) -> None:
    for i, a in enumerate(places):
        for b in places[i + 1 :]:
            off = depth_disagreement_m(a, b)
            if off.size and np.median(off) > MAX_DISAGREEMENT_M:
                raise MapError(
                    f'{a.name} and {b.name} do not lie in one frame: where they overlap, their '
                    f'depth differs by {np.median(off):.2f} m (median)'
                )


def _shared_names(places: Sequence[PlaceMap]) -> set[str]:
    """Names of keyframes that occur in more than one map."""
    seen: set[str] = set()
    twice: set[str] = set()
    for place in places:
        names = {frame.name for frame in place.keyframes}
        twice |= seen & names
        seen |= names
    if twice and len({place.name for place in places}) < len(places):
        raise MapError(
            f'two maps of one name hold keyframes of one name ({sorted(twice)[0]}): give each map '
            'a name of its own when it is built (--name); is one map given twice?'
        )
    return twice


def _same_arrays(a: PlaceMap, b: PlaceMap) -> bool:
    return set(a.global_arrays) == set(b.global_arrays) and all(
        np.array_equal(array, b.global_arrays[name]) for name, array in a.global_arrays.items()
    )


def _described_again(
    frames: Sequence[Keyframe],
) -> tuple[Mapping[str, NDArray], list[Keyframe]]:
    """Keyframes with global descriptors in the words of all of them."""
    vlad = Vlad.trained([frame.descriptors for frame in frames])
    again = []
    for frame in frames:
        score: NDArray[np.float32] = np.ones(len(frame.xy), np.float32)
        described = vlad.describe(None, LocalFeatures(frame.xy, frame.descriptors, score))
        again.append(replace(frame, global_descriptor=described))
    return vlad.arrays(), again
