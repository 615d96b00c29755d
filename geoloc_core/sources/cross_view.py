# SPDX-License-Identifier: Apache-2.0
"""From one view to one pose measurement: prior, patch, matcher, volume, few numbers."""

from dataclasses import dataclass
import time

import numpy as np

from geoloc_core.estimation import volume as volumes
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import AbstractCamera
from geoloc_core.geometry.geodesy import EnuFrame
from geoloc_core.maps.source import AbstractMapSource
from geoloc_core.runtime.engine import AbstractEngine
from geoloc_core.sources.matcher import AbstractMatcher, Attitude
from geoloc_core.types import (
    AerialPatch,
    Array,
    GroundView,
    PoseMeasurement,
    PosePrior,
    PoseVolume,
    Status,
)


@dataclass(frozen=True)
class CrossViewConfig:
    """Settings of the cross-view source.

    Attributes:
        min_coverage: Patches that the map covers less are not searched, 0..1.
        outlier_rate: How often a view matches nothing true, 0..1: the floor of doubt.
        ambiguity: A second mode with this fraction of the first one's mass makes the answer
            AMBIGUOUS.
        floor_position_m: Deviation that is never undercut: map and calibration are not perfect.
        floor_yaw: The same in yaw, rad.
        keep_volume: Whether measurements carry their volume and patch, for overlays.
    """

    min_coverage: float = 0.2
    outlier_rate: float = 0.02
    ambiguity: float = 0.5
    floor_position_m: float = 0.07
    floor_yaw: float = float(np.radians(0.3))
    keep_volume: bool = True


class CrossViewSource:
    """Measures poses by matching views to a map."""

    def __init__(self, matcher: AbstractMatcher, config: CrossViewConfig | None = None) -> None:
        """Plugs a matcher in."""
        self.matcher = matcher
        self.config = config or CrossViewConfig()

    @property
    def engines(self) -> tuple[AbstractEngine, ...]:
        """What runs the matcher's networks, for diagnostics."""
        return self.matcher.engines

    def refusal_of(self, camera: AbstractCamera) -> str:
        """Why no view of a camera can be matched; '' where nothing speaks against it."""
        return self.matcher.refusal_of(camera)

    def measure(
        self,
        view: GroundView,
        prior: PosePrior,
        frame: EnuFrame,
        map_source: AbstractMapSource,
    ) -> PoseMeasurement:
        """Measures the pose of one view.

        Args:
            view: What the camera saw.
            prior: Where base_link is believed to be at the view's stamp; roll and pitch level
                the view, z is passed through.
            frame: The map frame.
            map_source: Aerial imagery.

        Returns:
            The measurement, or the reason why there is none. z, roll and pitch are the prior's.

        Raises:
            MapError: The map's files turn out to be damaged.
            CalibrationError: The camera is mounted below the ground.
        """
        config = self.config
        start = time.perf_counter()
        request = self.matcher.patch_request(view, prior)
        patch = map_source.patch(frame, request.center_xy, request.size_m, request.gsd)
        timings = {'patch_ms': 1e3 * (time.perf_counter() - start)}
        kept = patch if config.keep_volume else None
        if patch.coverage < config.min_coverage:
            reason = (
                f'the map covers {100 * patch.coverage:.0f} % of the area around the prior '
                f'< {100 * config.min_coverage:.0f} %'
            )
            reasons = (reason, *map_source.problems())
            return PoseMeasurement(
                view.stamp_ns, Status.NO_MAP, reasons, patch=kept, timings_ms=timings
            )
        match = self.matcher.log_likelihood(view, Attitude.of(prior), patch, prior)
        timings.update(match.timings_ms)
        if (
            match.status is not Status.OK
            or match.log_likelihood is None
            or match.grid is None
            or match.yaws is None
        ):
            return PoseMeasurement(
                view.stamp_ns, match.status, match.reasons, patch=kept, timings_ms=timings
            )
        start = time.perf_counter()
        planar = [0, 1, 5]
        log_prior = volumes.gaussian_log_prior(
            match.grid,
            match.yaws,
            np.array(se3.planar(prior.T_map_base)),
            np.asarray(prior.cov)[np.ix_(planar, planar)],
        )
        volume = volumes.posterior(
            match.log_likelihood, log_prior, match.grid, match.yaws, config.outlier_rate
        )
        summary = volumes.summarise(volume, match.log_likelihood, match.widening)
        timings['decode_ms'] = 1e3 * (time.perf_counter() - start)
        return self._measurement(view, prior, match.reasons, volume, summary, kept, timings)

    def _measurement(
        self,
        view: GroundView,
        prior: PosePrior,
        reasons: tuple[str, ...],
        volume: PoseVolume,
        summary: volumes.VolumeSummary,
        patch: AerialPatch | None,
        timings: dict[str, float],
    ) -> PoseMeasurement:
        config = self.config
        kept = volume if config.keep_volume else None
        modes = summary.modes
        if len(modes) > 1 and modes[1].mass > config.ambiguity * modes[0].mass:
            apart = np.hypot(modes[0].x - modes[1].x, modes[0].y - modes[1].y)
            reason = (
                f'a second place {apart:.1f} m away holds {100 * modes[1].mass:.0f} % '
                f'against {100 * modes[0].mass:.0f} %'
            )
            return PoseMeasurement(
                view.stamp_ns,
                Status.AMBIGUOUS,
                (reason, *reasons),
                modes=modes,
                entropy=summary.entropy,
                volume=kept,
                patch=patch,
                timings_ms=timings,
            )
        floor = np.diag([config.floor_position_m, config.floor_position_m, config.floor_yaw]) ** 2
        roll, pitch, _ = se3.rpy_from(prior.T_map_base)
        z = float(prior.T_map_base[2, 3])
        x, y, yaw = (float(value) for value in summary.mean)
        pose = se3.from_planar(x, y, yaw, z, roll, pitch)
        return PoseMeasurement(
            view.stamp_ns,
            Status.OK,
            reasons,
            T_map_base=pose,
            cov=_with_planar(prior.cov, summary.cov + floor),
            likelihood_mean=summary.likelihood_mean,
            likelihood_cov=summary.likelihood_cov + floor,
            modes=modes,
            entropy=summary.entropy,
            volume=kept,
            patch=patch,
            timings_ms=timings,
        )


def _with_planar(prior_cov: Array, planar_cov: Array) -> Array:
    """The prior's (6, 6) covariance with x, y, yaw replaced; no correlation with the others."""
    cov = np.zeros((6, 6))
    others, planar = [2, 3, 4], [0, 1, 5]
    cov[np.ix_(others, others)] = np.asarray(prior_cov)[np.ix_(others, others)]
    cov[np.ix_(planar, planar)] = planar_cov
    return 0.5 * (cov + cov.T)
