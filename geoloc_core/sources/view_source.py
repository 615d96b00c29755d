# SPDX-License-Identifier: Apache-2.0
"""What a localizer asks of its source, and when a source can be asked at all."""

from typing import cast, Protocol

from geoloc_core.geometry.geodesy import EnuFrame
from geoloc_core.maps.source import AbstractMapSource
from geoloc_core.types import GroundView, PoseMeasurement, PosePrior, Status


class ViewSource(Protocol):
    """What turns a view into a measurement: a cross-view source, an RGB-D source, a test."""

    def measure(
        self, view: GroundView, prior: PosePrior, frame: EnuFrame, map_source: AbstractMapSource
    ) -> PoseMeasurement:
        """Measures the pose of one view, or says why it cannot."""


class StartingSource(Protocol):
    """A source that finds a view without being told where to look: it can start an estimate.

    Attributes:
        starts: True. It is asked without prior, frame and map as well.
    """

    starts: bool

    def measure(
        self,
        view: GroundView,
        prior: PosePrior | None,
        frame: EnuFrame | None,
        map_source: AbstractMapSource | None,
    ) -> PoseMeasurement:
        """Measures the pose of one view (6 degrees of freedom), or says why it cannot."""


def look(
    source: ViewSource | StartingSource | None,
    view: GroundView,
    prior: PosePrior | tuple[Status, str],
    frame: EnuFrame | None,
    map_source: AbstractMapSource | None,
    now_ns: int,
) -> PoseMeasurement | tuple[Status, str]:
    """Asks a source for the pose of a view, if it can be asked with what is known.

    Args:
        source: Or None where there is none.
        view: What the camera saw.
        prior: Where to look, or why that is not known.
        frame: The map frame, if it is known.
        map_source: Aerial imagery, if there is any.
        now_ns: Stamp of the newest input.

    Returns:
        What it measured, or why it was not asked.

    Raises:
        GeolocError: View or map cannot be used.
    """
    known = prior if isinstance(prior, PosePrior) else None
    if getattr(source, 'starts', False):
        # Of the past there is nothing to begin with: what came since would be lost.
        if isinstance(prior, tuple) and prior[0] is Status.STALE and view.stamp_ns <= now_ns:
            return prior
        return cast(StartingSource, source).measure(view, known, frame, map_source)
    if not isinstance(prior, PosePrior):
        return prior
    if source is None or map_source is None or frame is None:
        return Status.NO_MAP, 'no map, no matcher or no datum is set'
    return source.measure(view, prior, frame, map_source)
