# SPDX-License-Identifier: Apache-2.0
"""The socket of the cross-view source: every matcher, classical or learned, plugs in here.

A matcher is given a view, the attitude of the robot, a piece of map and a prior, and returns
log-likelihoods over (yaw, y, x) of base_link with their own cell-to-metre transform. It does not
multiply the prior in; the prior only tells it where to look.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import AbstractCamera
from geoloc_core.geometry.grid import Grid
from geoloc_core.runtime.engine import AbstractEngine
from geoloc_core.types import AerialPatch, Array, GroundView, PosePrior, Status


@dataclass(frozen=True)
class Attitude:
    """How the robot leans: REP-103 roll and pitch, rad (positive pitch is nose down)."""

    roll: float
    pitch: float

    @classmethod
    def of(cls, prior: PosePrior) -> 'Attitude':
        """The attitude that a prior believes in."""
        roll, pitch, _ = se3.rpy_from(prior.T_map_base)
        return cls(roll, pitch)


@dataclass(frozen=True)
class SearchLimits:
    """How far around the prior a matcher looks.

    Attributes:
        sigmas: Half width of the window in standard deviations of the prior.
        min_m: Half width never below this, m.
        max_m: Half width never above this, m.
        min_yaw: Half width in yaw never below this, rad.
    """

    sigmas: float = 3.0
    min_m: float = 2.0
    max_m: float = 40.0
    min_yaw: float = float(np.radians(3.0))


@dataclass(frozen=True)
class SearchWindow:
    """Poses that a matcher looks at: a box around the prior.

    Attributes:
        center: (x, y, yaw) of the prior, m and rad, map frame.
        half_xy: Half widths along x and y, m.
        half_yaw: Half width in yaw, rad; pi when every direction is searched.
        clipped: Whether the limits cut the window shorter than the prior asks for.
    """

    center: tuple[float, float, float]
    half_xy: tuple[float, float]
    half_yaw: float
    clipped: bool = False

    @property
    def all_directions(self) -> bool:
        """Whether yaw is unknown, so that the bins close to a circle."""
        return self.half_yaw >= np.pi


def search_window(prior: PosePrior, limits: SearchLimits) -> SearchWindow:
    """The window that a prior asks for.

    Args:
        prior: Where to look; its covariance sets the extent.
        limits: Bounds of the window.

    Returns:
        The window. A yaw less certain than +-150 degrees is searched all round.
    """
    x, y, yaw = se3.planar(prior.T_map_base)
    std = np.sqrt(np.maximum(np.diag(prior.cov), 0.0))
    wanted = limits.sigmas * std[:2]
    half_x, half_y = np.clip(wanted, limits.min_m, limits.max_m)
    half_yaw = max(limits.sigmas * float(std[5]), limits.min_yaw)
    if half_yaw > np.radians(150.0):
        half_yaw = np.pi
    clipped = bool(np.any(wanted > limits.max_m))
    return SearchWindow((x, y, yaw), (float(half_x), float(half_y)), float(half_yaw), clipped)


@dataclass(frozen=True)
class PatchRequest:
    """The piece of map a matcher wants: middle (m, map frame), side (m) and m/px."""

    center_xy: tuple[float, float]
    size_m: float
    gsd: float


@dataclass(frozen=True)
class MatchResult:
    """What a matcher found.

    Attributes:
        status: OK, or the reason why there is no volume (NO_GROUND, NO_MAP, LOW_TEXTURE).
        reasons: Details for people.
        log_likelihood: (K, H, W) float32, not normalised; 0 where the map says nothing; None
            unless OK.
        grid: (H, W) cells -> metres in the map frame, of base_link; None unless OK.
        yaws: (K,) rad, increasing by a constant step; None unless OK.
        widening: Factor, at least 1, on the covariance of a mode: what the volume's shape cannot
            show, such as errors that all cells share.
        timings_ms: Stage name -> duration.
    """

    status: Status
    reasons: tuple[str, ...] = ()
    log_likelihood: NDArray[np.float32] | None = None
    grid: Grid | None = None
    yaws: Array | None = None
    widening: float = 1.0
    timings_ms: dict[str, float] = field(default_factory=dict)


class AbstractMatcher(ABC):
    """Compares one view with one piece of map."""

    @property
    def engines(self) -> tuple[AbstractEngine, ...]:
        """What runs its networks, for diagnostics."""
        return ()

    def refusal_of(self, camera: AbstractCamera) -> str:
        """Why no view of a camera can be matched; '' where nothing speaks against it."""
        return ''

    @abstractmethod
    def patch_request(self, view: GroundView, prior: PosePrior) -> PatchRequest:
        """The piece of map needed to match a view around a prior."""

    @abstractmethod
    def log_likelihood(
        self, view: GroundView, attitude: Attitude, patch: AerialPatch, prior: PosePrior
    ) -> MatchResult:
        """Scores the poses around a prior.

        Args:
            view: What the camera saw.
            attitude: How the robot leaned at that moment.
            patch: What `patch_request` asked for.
            prior: Where to look. It is not multiplied in.

        Returns:
            Log-likelihoods over (yaw, y, x) of base_link, or the reason for none.
        """
