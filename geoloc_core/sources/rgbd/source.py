# SPDX-License-Identifier: Apache-2.0
"""The place map as a source of measurements: geometry first, a regressor where it refuses."""

from dataclasses import replace
from typing import Protocol

import numpy as np

from geoloc_core.errors import ConfigError
from geoloc_core.geometry import se3
from geoloc_core.geometry.geodesy import EnuFrame
from geoloc_core.maps.source import AbstractMapSource
from geoloc_core.runtime.engine import AbstractEngine
from geoloc_core.sources.rgbd.checks import fits
from geoloc_core.sources.rgbd.localization import PlaceLocalizer
from geoloc_core.types import Array, GroundView, PoseMeasurement, PosePrior, Status


class Fallback(Protocol):
    """What guesses the pose of a view in the place where geometry does not know it."""

    def localize(self, view: GroundView, prior: PosePrior | None = None) -> PoseMeasurement:
        """The pose of base_link in the frame of the PLACE, or the reason for none."""


class RgbdSource:
    """A `view_source.ViewSource` for one place map.

    Attributes:
        localizer: Geometry.
        fallback: Asked where geometry refuses, or None.
        engines: What runs the networks inside, for diagnostics.
    """

    def __init__(
        self,
        localizer: PlaceLocalizer,
        fallback: Fallback | None = None,
        T_map_place: Array | None = None,
    ) -> None:
        """Takes what measures.

        Args:
            localizer: Geometry.
            fallback: A regressor that answers in the frame of the place, such as
                `pose_regressor.PoseRegressor`; or None.
            T_map_place: (4, 4) for a place that is not tied to the Earth: where its frame lies
                in the map frame. By default they are the same. A place with an anchor knows it.

        Raises:
            ConfigError: It is no rigid motion, or given for a place that has an anchor.
        """
        if T_map_place is not None:
            if localizer.place.anchor is not None:
                raise ConfigError(
                    f'place {localizer.place.name} is tied to the Earth: do not say again where '
                    'it lies'
                )
            if not se3.is_rigid(T_map_place):
                raise ConfigError('T_map_place is no rigid motion (4, 4)')
        self.localizer = localizer
        self.fallback = fallback
        self.engines: tuple[AbstractEngine, ...] = ()
        self._T_map_place = np.eye(4) if T_map_place is None else np.asarray(T_map_place)

    def T_map_place(self, frame: EnuFrame | None) -> Array:
        """(4, 4) place frame -> map frame.

        Raises:
            ConfigError: The place is tied to the Earth and no map frame is known.
        """
        anchor = self.localizer.place.anchor
        if anchor is None:
            return self._T_map_place
        if frame is None:
            raise ConfigError('a place tied to the Earth needs a map frame: set a datum')
        return anchor.T_map_place(frame)

    def measure(
        self,
        view: GroundView,
        prior: PosePrior | None,
        frame: EnuFrame | None = None,
        map_source: AbstractMapSource | None = None,
    ) -> PoseMeasurement:
        """Measures the pose of one view.

        Args:
            view: Colour, and depth if there is any.
            prior: Where base_link is believed to be, or None.
            frame: The map frame, where the place is tied to the Earth.
            map_source: Aerial imagery, or None; not needed, but where there is some to be asked
                instead, a regressor that contradicts the prior is not believed: it takes a street
                for the place it knows.

        Returns:
            What geometry says; where it refuses, what the regressor says, with the reasons of
            both; else the status of geometry. Places that look alike are no question for the
            regressor, which would name one of them.
        """
        T_map_place = self.T_map_place(frame)
        measured = self.localizer.localize(view, prior, T_map_place)
        if measured.status in (Status.OK, Status.BAD_INPUT) or self.fallback is None:
            return measured
        if measured.status is Status.AMBIGUOUS:
            note = 'regressor not asked: what looks alike here looks alike to it, too'
            return replace(measured, reasons=(*measured.reasons, note))
        why = tuple(f'geometry: {reason}' for reason in measured.reasons)
        if view.depth is not None and not self.localizer.depth_fits:
            view = replace(view, depth=None)
            why = (*why, 'depth kept from the regressor: it was last seen to be in another unit')
        guess = self.fallback.localize(view, prior)
        if guess.status is not Status.OK or guess.T_map_base is None or guess.cov is None:
            both = (*why, *(f'regressor: {reason}' for reason in guess.reasons))
            return PoseMeasurement(
                view.stamp_ns, measured.status, both, timings_ms=measured.timings_ms
            )
        T_map_base = T_map_place @ guess.T_map_base
        cov = se3.rotate_cov(guess.cov, T_map_place[:3, :3])
        timings = {**measured.timings_ms, **guess.timings_ms}
        if prior is not None and map_source is not None:
            believed = PosePrior(prior.stamp_ns, prior.T_map_base, prior.cov + cov)
            if not fits(T_map_base, believed):
                off = float(np.linalg.norm(T_map_base[:3, 3] - prior.T_map_base[:3, 3]))
                both = (*why, f'regressor: {off:.1f} m from where the robot is believed to be')
                return PoseMeasurement(view.stamp_ns, measured.status, both, timings_ms=timings)
        return PoseMeasurement(
            view.stamp_ns,
            Status.OK,
            ('guessed by the regressor', *guess.reasons, *why),
            T_map_base=T_map_base,
            cov=cov,
            timings_ms=timings,
        )
