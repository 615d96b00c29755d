# SPDX-License-Identifier: Apache-2.0
"""The one record that every data set's reader gives, in the project's own conventions."""

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from geoloc_core.geometry.geodesy import Datum
from geoloc_core.types import AerialPatch, GroundView, PosePrior

Array = NDArray[np.float64]


class LabelKind(Enum):
    """How much a sample's pose can be believed."""

    TRUTH = 'surveyed, or made with the picture'
    GNSS = 'a receiver: metres wrong, and alike from one sample to the next'
    NONE = 'kept back by the publisher'


@dataclass(frozen=True)
class Sample:
    """One ground view, where it was taken, and what it is to be compared with.

    Convention: the map frame of a cross-view sample is ENU at `datum`, x east, y north, z up, with
    z = 0 on the ground; that of an RGB-D sample is the data set's own world frame, made z up where
    the publisher says which way up is, and `datum` is None. base_link lies on the ground under the
    camera (or vehicle), x forward, y left, z up; in a data set of hand-held cameras it is the
    camera's centre, in the same axes.

    Attributes:
        key: Unique in its data set and the same in every run; names files and cache entries.
        sequence: The drive, city or scene it belongs to; splits never cut through one silently.
        view: Picture, camera, mount, and depth registered to the picture where there is any.
        T_map_base: (4, 4) the label, or None where it is kept back.
        label: How much that can be believed.
        cov: (6, 6) of the label, order (x, y, z, rot x, rot y, rot z), map axes; None for TRUTH.
        patch: Aerial imagery around the place, north-up in the map frame; None for RGB-D.
        prior: What the protocol lets a method know beforehand; None where it knows nothing.
        datum: Of the map frame; None where the place on Earth is not known.
        other_patches: Further patches that show the place off-centre (VIGOR's semi-positives).
        patch_classes: (H, W) uint8 semantic mask of `patch`, publisher's numbers, or None.
        view_classes: (H, W) uint8 semantic labels of the picture, or None.
        observed: (K, 3) float32 points of a reconstruction that were found in the picture as
            published, in the map frame; NaN after the last, K the same for all samples of a
            reader. The same point has the same bits in each picture. None where the reader gives
            none.
    """

    key: str
    sequence: str
    view: GroundView
    T_map_base: Array | None
    label: LabelKind = LabelKind.TRUTH
    cov: Array | None = None
    patch: AerialPatch | None = None
    prior: PosePrior | None = None
    datum: Datum | None = None
    other_patches: tuple[AerialPatch, ...] = ()
    patch_classes: NDArray[np.uint8] | None = None
    view_classes: NDArray[np.uint8] | None = None
    observed: NDArray[np.float32] | None = None

    @property
    def T_map_camera(self) -> Array | None:
        """(4, 4) camera optical frame -> map, or None where the label is kept back."""
        return None if self.T_map_base is None else self.T_map_base @ self.view.T_base_camera
