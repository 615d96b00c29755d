# SPDX-License-Identifier: Apache-2.0
"""A place map and the aerial map together: from the street into the hall and out again.

Where the place can be seen it is asked first: it knows all six degrees of freedom to centimetres.
Where it refuses, or is far away, the aerial map is asked, if there is one: but not by a robot that
stands in the place and knows itself well, for what is over it may be a roof.
"""

from dataclasses import dataclass, replace

import numpy as np

from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import AbstractCamera
from geoloc_core.geometry.geodesy import EnuFrame
from geoloc_core.maps.source import AbstractMapSource
from geoloc_core.runtime.engine import AbstractEngine
from geoloc_core.sources.cross_view import CrossViewSource
from geoloc_core.sources.rgbd.source import RgbdSource
from geoloc_core.types import Array, GroundView, PoseMeasurement, PosePrior, Status


@dataclass(frozen=True)
class JoinedConfig:
    """When which map is asked.

    Attributes:
        reach_m: A robot farther than this from every keyframe of the place, three deviations of
            its position aside, does not look for it.
        among_m: A robot nearer than this to a keyframe stands in the place.
        sure_m: There it goes on by odometry where the place refuses, while its position is known
            to this; only a robot that knows less asks the aerial map, which may show the roof.
    """

    reach_m: float = 15.0
    among_m: float = 1.5
    sure_m: float = 0.3


class JoinedSource:
    """A `view_source.StartingSource` of a place, with the aerial map behind it.

    Attributes:
        starts: It needs no prior: the place is found without one.
        place: The mapped place.
        aerial: The aerial map's source, or None.
    """

    starts = True

    def __init__(
        self,
        place: RgbdSource,
        aerial: CrossViewSource | None = None,
        config: JoinedConfig | None = None,
    ) -> None:
        """Takes both sources."""
        self.place = place
        self.aerial = aerial
        self.config = config or JoinedConfig()
        self._keyframes: Array = place.localizer.place.poses[:, :3, 3]

    @property
    def engines(self) -> tuple[AbstractEngine, ...]:
        """What runs the networks of both, for diagnostics."""
        aerial = () if self.aerial is None else self.aerial.engines
        return (*self.place.engines, *aerial)

    def refusal_of(self, camera: AbstractCamera) -> str:
        """Why no view of a camera can be matched to the aerial map; '' where it may be."""
        return '' if self.aerial is None else self.aerial.refusal_of(camera)

    def measure(
        self,
        view: GroundView,
        prior: PosePrior | None,
        frame: EnuFrame | None,
        map_source: AbstractMapSource | None,
    ) -> PoseMeasurement:
        """Measures the pose of one view.

        Args:
            view: Colour, and depth if there is any.
            prior: Where base_link is believed to be, or None.
            frame: The map frame, or None where the place has its own.
            map_source: Aerial imagery, or None.

        Returns:
            What the place says; where it refuses, what the aerial map says, the reasons of the
            place after its own.

        Raises:
            MapError: The aerial map's files turn out to be damaged.
        """
        nearest_m, std_m = self._nearest(prior, frame)
        away_m = max(0.0, nearest_m - 3.0 * std_m)
        aerial_ready = prior is not None and frame is not None and map_source is not None
        if self.aerial is None or not aerial_ready or away_m <= self.config.reach_m:
            measured = self.place.measure(view, prior, frame, map_source)
            if measured.status is Status.OK or self.aerial is None or not aerial_ready:
                return measured
            if nearest_m < self.config.among_m and std_m < self.config.sure_m:
                note = f'aerial map not asked: in the place, position known to {std_m:.2f} m'
                return replace(measured, reasons=(*measured.reasons, note))
            why = tuple(f'place: {reason}' for reason in measured.reasons)
        else:
            why = (f'place: {away_m:.0f} m away',)
        assert self.aerial is not None and prior is not None
        assert frame is not None and map_source is not None
        found = self.aerial.measure(view, prior, frame, map_source)
        return replace(found, reasons=(*found.reasons, *why))

    def _nearest(self, prior: PosePrior | None, frame: EnuFrame | None) -> tuple[float, float]:
        """From the believed position to the nearest keyframe, and its deviation, m.

        Infinitely unsure of being there if nothing is believed.
        """
        if prior is None:
            return 0.0, float('inf')
        T_place_map = se3.inverse(self.place.T_map_place(frame))
        position = se3.transform(T_place_map, prior.T_map_base[:3, 3])
        apart = self._keyframes - position
        if self.place.localizer.place.z_up:
            apart = apart[:, :2]  # heights are badly known outside
        std = float(np.sqrt(np.linalg.eigvalsh(np.asarray(prior.cov)[:2, :2])[-1]))
        return float(np.linalg.norm(apart, axis=1).min()), std
