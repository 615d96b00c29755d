# SPDX-License-Identifier: Apache-2.0
"""What a map of a place holds.

Convention: the place frame is that in which the sequence's poses were given; z is up where
`PlaceMap.z_up` says so. Points and keyframe poses are in it. Depth is z along the optical axis.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import MapError
from geoloc_core.features.base import LocalFeatures
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import AbstractCamera
from geoloc_core.geometry.geodesy import Datum, EnuFrame

Array = NDArray[np.float64]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Anchor:
    """Where on the Earth a place is.

    Attributes:
        datum: Latitude, longitude and ellipsoidal height of the place frame's origin.
        yaw: Of the place frame's x axis from east, counter-clockwise, rad.
    """

    datum: Datum
    yaw: float

    def T_map_place(self, frame: EnuFrame) -> Array:
        """(4, 4) place -> the map frame of a localizer, whose datum is another one."""
        # A motion between two tangent planes is known from where it takes origin and axes; the
        # axes are long, so that what the geodesy rounds does not turn them.
        axes = np.vstack([np.zeros(3), 1e3 * np.eye(3)])
        moved = frame.enu_from_geodetic(*EnuFrame(self.datum).geodetic_from_enu(axes))
        U, _, Vt = np.linalg.svd((moved[1:] - moved[0]).T)
        return se3.make(U @ Vt, moved[0]) @ se3.from_planar(0.0, 0.0, self.yaw)


@dataclass(frozen=True, eq=False)
class Keyframe:
    """One picture of the map, reduced to what is needed to find oneself in it.

    Attributes:
        name: Of the frame it was made from, unique in its map.
        stamp_ns: Of that frame.
        T_place_camera: (4, 4) camera optical frame -> place.
        xy: (N, 2) float32 px of the features, best first.
        descriptors: (N, D) float32 of unit length.
        points: (N, 3) float32 m in the place frame; NaN where there was no depth.
        global_descriptor: (G,) float32 of unit length.
        depth: (h, w) uint16 mm, the picture's depth made small; 0 where invalid. Its camera is
            that of the map `resized(w, h)`. (0, 0) where the sequence had no depth.
    """

    name: str
    stamp_ns: int
    T_place_camera: Array
    xy: Floats
    descriptors: Floats
    points: Floats
    global_descriptor: Floats
    depth: NDArray[np.uint16]

    def __post_init__(self) -> None:
        """Refuses arrays that do not belong together.

        Raises:
            MapError: A shape or type is not the one above, or the pose is no rigid motion.
        """
        count = len(self.xy)
        shapes = {
            'xy': (self.xy.shape, (count, 2)),
            'descriptors': (self.descriptors.shape[:1], (count,)),
            'points': (self.points.shape, (count, 3)),
        }
        for what, (found, expected) in shapes.items():
            if found != expected:
                raise MapError(f'keyframe {self.name}: {what} is {found}, expected {expected}')
        if self.descriptors.ndim != 2 or self.global_descriptor.ndim != 1 or self.depth.ndim != 2:
            raise MapError(
                f'keyframe {self.name}: descriptors {self.descriptors.shape}, global descriptor '
                f'{self.global_descriptor.shape}, depth {self.depth.shape}; expected (N, D), '
                '(G,), (h, w)'
            )
        if self.depth.dtype != np.uint16:
            raise MapError(f'keyframe {self.name}: depth is {self.depth.dtype}, expected uint16')
        if not se3.is_rigid(self.T_place_camera):
            raise MapError(
                f'keyframe {self.name}: T_place_camera is no rigid motion: '
                f'{np.asarray(self.T_place_camera).tolist()}'
            )

    @property
    def has_point(self) -> NDArray[np.bool_]:
        """(N,) True where a feature has a point in space."""
        return np.asarray(np.isfinite(self.points).all(axis=1))

    def features(self, index: NDArray[np.int64]) -> LocalFeatures:
        """Some of its features; a map keeps their order but not their scores, which are 1."""
        ones = np.ones(len(index), np.float32)
        return LocalFeatures(self.xy[index], self.descriptors[index], ones)

    def depth_m(self) -> Floats:
        """(h, w) float32 m, NaN where invalid."""
        return np.where(self.depth > 0, self.depth * np.float32(1e-3), np.float32(np.nan))


@dataclass(frozen=True, eq=False)
class PlaceMap:
    """A place as it was seen.

    Attributes:
        name: For people.
        camera: That took all of the keyframes.
        features: Kind of the local features ('sift', ...).
        global_kind: Kind of the global descriptor ('vlad', ...).
        global_arrays: What the global descriptor was trained to; see
            `geoloc_core.features.global_descriptor.restore`.
        keyframes: In the order in which they were taken, one sequence after the other.
        anchor: Where on the Earth it is, or None: then it has a frame of its own.
        z_up: Whether z of the place frame is known to point up. True where there is an anchor.
        facts: What it was made of, for people: words by name.
    """

    name: str
    camera: AbstractCamera
    features: str
    global_kind: str
    global_arrays: Mapping[str, NDArray]
    keyframes: tuple[Keyframe, ...]
    anchor: Anchor | None = None
    z_up: bool = False
    facts: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuses keyframes that do not belong together.

        Raises:
            MapError: None, two of one name, or descriptors of different sizes; an anchor without
                z up.
        """
        if not self.keyframes:
            raise MapError(f'place {self.name}: no keyframes, so nothing can be found in it')
        names = [keyframe.name for keyframe in self.keyframes]
        if len(set(names)) < len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise MapError(f'place {self.name}: two keyframes are called {", ".join(twice[:3])}')
        for what, sizes in (
            ('local', {keyframe.descriptors.shape[1] for keyframe in self.keyframes}),
            ('global', {len(keyframe.global_descriptor) for keyframe in self.keyframes}),
        ):
            if len(sizes) > 1:
                raise MapError(f'place {self.name}: {what} descriptors of sizes {sorted(sizes)}')
        if self.anchor is not None and not self.z_up:
            raise MapError(
                f'place {self.name}: a place is tied to the Earth by latitude, longitude, height '
                'and a turn about z, so z of its frame must be up'
            )

    @property
    def poses(self) -> Array:
        """(K, 4, 4) T_place_camera of the keyframes."""
        return np.stack([keyframe.T_place_camera for keyframe in self.keyframes])

    @property
    def global_descriptors(self) -> Floats:
        """(K, G) of the keyframes."""
        return np.stack([keyframe.global_descriptor for keyframe in self.keyframes])
