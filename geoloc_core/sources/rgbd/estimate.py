# SPDX-License-Identifier: Apache-2.0
"""Refine, doubt again: from a pose that the features agree on to a measurement, or to none."""

import numpy as np

from geoloc_core.estimation.covariance import bounded
from geoloc_core.geometry import se3
from geoloc_core.maps.place.records import PlaceMap
from geoloc_core.sources.rgbd.config import PlaceLocalizerConfig
from geoloc_core.sources.rgbd.found import Found, Stopwatch
from geoloc_core.sources.rgbd.matching import Correspondences, correspondences
from geoloc_core.sources.rgbd.refinement import refine, Refined, ViewPoints
from geoloc_core.sources.rgbd.retrieval import Overlaps, sample
from geoloc_core.sources.rgbd.solver import judged
from geoloc_core.sources.rgbd.surface import MapSurfaces, RayGrids, view_surface
from geoloc_core.types import Array, GroundView, PoseMeasurement, Status

_GLANCE_POINTS = 150


class PlaceEstimate:
    """Refines poses in one place map and says how sure they are.

    Attributes:
        place: The map.
        config: Settings.
        surfaces: Of the keyframes.
    """

    def __init__(self, place: PlaceMap, config: PlaceLocalizerConfig, overlaps: Overlaps) -> None:
        """Prepares a map.

        Args:
            place: The map.
            config: Settings.
            overlaps: Which keyframes of it see what.
        """
        self.place = place
        self.config = config
        self.surfaces = MapSurfaces(place)
        self._overlaps = overlaps
        self._grids = RayGrids()

    def measure(
        self,
        view: GroundView,
        depth: np.ndarray | None,
        found: Found,
        notes: list[str],
        T_map_place: Array,
        watch: Stopwatch,
    ) -> PoseMeasurement:
        """Refines a pose and gives it a covariance, or says why it is none.

        Args:
            view: The view.
            depth: (H, W) m, that of the view where it can be believed; None for colour alone.
            found: The pose that the features agree on.
            notes: What was noticed before.
            T_map_place: (4, 4) place frame -> map frame.
            watch: Of the stages.
        """
        notes = [*notes, *found.notes]
        refined, matches = self._refine(view, depth, found)
        watch.lap('refinement_ms')
        config = self.config
        if refined is None:
            notes.insert(0, 'what agrees leaves an axis of motion undetermined')
            return nothing(view, Status.LOW_TEXTURE, notes, watch)
        if refined.on_surface < config.min_on_surface:
            notes.insert(
                0,
                f'{100 * refined.on_surface:.0f} % of the depth lies on what the map measured < '
                f'{100 * config.min_on_surface:.0f} %: another place, or changed',
            )
            return nothing(view, Status.NO_MAP, notes, watch)
        factor, floor_m, floor_deg = config.cov_factor, config.floor_m, config.floor_deg
        if depth is None:
            factor = config.cov_factor_colour
            floor_m, floor_deg = config.floor_colour_m, config.floor_colour_deg
        floor = np.array([floor_m] * 3 + [np.radians(floor_deg)] * 3)
        cov = factor * refined.cov + np.diag(floor**2)
        std = (
            np.sqrt(np.linalg.eigvalsh(cov[:3, :3])[-1]),
            np.sqrt(np.linalg.eigvalsh(cov[3:, 3:])[-1]),
        )
        if std[0] > config.max_std_m or np.degrees(std[1]) > config.max_std_deg:
            notes.insert(
                0,
                f'the points in agreement lie too badly for a pose: known to {std[0]:.2f} m and '
                f'{np.degrees(std[1]):.0f} degrees only',
            )
            return nothing(view, Status.LOW_TEXTURE, notes, watch)
        final = judged(matches, refined.T_place_camera, config.noise, found.best.method)
        T_base_camera = np.asarray(view.T_base_camera, np.float64)
        T_map_base = T_map_place @ refined.T_place_camera @ se3.inverse(T_base_camera)
        cov_map = se3.rotate_cov(cov, T_map_place[:3, :3])
        R_map_camera = (T_map_place @ refined.T_place_camera)[:3, :3]
        arm = R_map_camera @ se3.inverse(T_base_camera)[:3, 3]
        kind = 'tracked' if found.tracked else 'found'
        sort = 'colour and depth' if depth is not None else 'colour'
        notes.insert(
            0, f'{kind} by {sort}: {final.support} features agree, {refined.keyframes} keyframes'
        )
        return PoseMeasurement(
            view.stamp_ns,
            Status.OK,
            tuple(notes),
            T_map_base=T_map_base,
            cov=bounded(carried(cov_map, arm), 1e-4, 1e-5, 1e3),
            timings_ms=watch.laps,
        )

    def _refine(
        self, view: GroundView, depth: np.ndarray | None, found: Found
    ) -> tuple[Refined | None, Correspondences]:
        """Twice: the better pose shows better keyframes, or where to look for their points."""
        config, T, matches = self.config, found.best.T_place_camera, found.matches
        points = None
        if depth is not None:
            surface = view_surface(depth, view.camera, self._grids)
            points = ViewPoints(*surface.sample(config.surface_points))
        count = config.track_surfaces if found.tracked else config.surfaces
        refined = None
        for first in (True, False):
            keyframes: list[int] = []
            if points is not None:
                few = sample(points.points, _GLANCE_POINTS)
                keyframes = self._overlaps.seeing(T, few, count)
            # Beside surfaces more features change little: they hold what surfaces leave open.
            if not first and not keyframes:
                matches = self._guided(found, T)
            refined = refine(
                T,
                matches,
                points if keyframes else None,
                self.surfaces,
                keyframes,
                config.noise,
                config.refinement if keyframes else config.colour_refinement,
            )
            if refined is None:
                return None, matches
            T = refined.T_place_camera
        return refined, matches

    def _guided(self, found: Found, T: Array) -> Correspondences:
        """Matches near where they are expected; those there were if these are too few."""
        config, sight = self.config, found.sight
        if not found.use_depth:
            sight = sight.with_depth(np.full(len(sight.depth), np.nan))
        seen = se3.transform(se3.inverse(T), found.matches.points[found.best.inlier])
        near = self._overlaps.seeing(T, sample(seen, _GLANCE_POINTS), config.guided)
        matches = correspondences(
            sight, self.place.keyframes, near, config.guided_ratio, T, config.guided_px
        )
        if judged(matches, T, config.noise, '').support < config.min_inliers:
            return found.matches
        return matches


def carried(cov: Array, arm: Array) -> Array:
    """The covariance of another point of the same body.

    Args:
        cov: (6, 6) of a point and the rotation, T = [exp(w) R, t + d], in the axes of the frame.
        arm: (3,) m from that point to the other one, same axes.

    Returns:
        (6, 6): the other point moves by d + w x arm.
    """
    J = np.eye(6)
    J[:3, 3:] = -se3.hat(arm)
    return J @ cov @ J.T


def nothing(
    view: GroundView, status: Status, reasons: list[str], watch: Stopwatch
) -> PoseMeasurement:
    """No pose, and why."""
    return PoseMeasurement(view.stamp_ns, status, tuple(reasons), timings_ms=watch.laps)
