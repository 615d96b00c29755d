# SPDX-License-Identifier: Apache-2.0
"""A learned matcher: a bundle's network behind the same socket as the classical one."""

import time

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import BundleError
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import AbstractCamera
from geoloc_core.geometry.grid import Grid
from geoloc_core.geometry.ground_plane import GroundProjector, T_ground_camera
from geoloc_core.runtime.bundle import ModelBundle
from geoloc_core.runtime.engine import AbstractEngine
from geoloc_core.sources.matcher import AbstractMatcher, Attitude, MatchResult, PatchRequest
from geoloc_core.spec import OutputSpec, RasterSpec
from geoloc_core.types import AerialPatch, Array, GroundView, PosePrior, Status


class ModelMatcher(AbstractMatcher):
    """Runs a bundle: view and patch in, log-likelihoods out."""

    def __init__(
        self,
        bundle: ModelBundle,
        base_height_m: float = 0.0,
        min_ground_m2: float = 15.0,
        threads: int = 2,
    ) -> None:
        """Opens the bundle's engine.

        Args:
            bundle: Verified weights.
            base_height_m: Height of base_link's origin over the ground.
            min_ground_m2: Bird's-eye views that show less ground are refused.
            threads: Of one inference.

        Raises:
            BundleError: The weights do not do what their specification says.
        """
        self.bundle = bundle
        self._engine: AbstractEngine = bundle.open_engine(threads)
        self._base_height_m = base_height_m
        self._min_ground_m2 = min_ground_m2
        self._projector: GroundProjector | None = None
        self._checked: AbstractCamera | None = None

    def patch_request(self, view: GroundView, prior: PosePrior) -> PatchRequest:
        """The patch the network was made for, around the prior."""
        spec = self.bundle.spec
        x, y, _ = se3.planar(prior.T_map_base)
        # The source cuts squares; a network with another shape takes the middle of one.
        side = max(spec.patch.width, spec.patch.height)
        return PatchRequest((x, y), side * spec.patch_gsd, spec.patch_gsd)

    def log_likelihood(
        self, view: GroundView, attitude: Attitude, patch: AerialPatch, prior: PosePrior
    ) -> MatchResult:
        """See `AbstractMatcher`.

        Raises:
            BundleError: The camera is not one the model was made for, or it returns no numbers.
        """
        spec, out = self.bundle.spec, self.bundle.spec.output
        if view.camera != self._checked:
            self.bundle.require_fit(view.camera)
            self._checked = view.camera
        start = time.perf_counter()
        image, mask = self._view_image(view, attitude, prior)
        if spec.bev is not None and mask.sum() * spec.bev.gsd**2 < self._min_ground_m2:
            area = float(mask.sum()) * spec.bev.gsd**2
            reason = f'{area:.1f} m^2 of ground < {self._min_ground_m2:.1f}'
            return MatchResult(Status.NO_GROUND, (reason,))
        aerial, known = _middle(patch, spec.patch)
        arrays = {
            spec.view.name: normalised(image, mask, spec.view),
            spec.patch.name: normalised(aerial, known, spec.patch),
        }
        ready = time.perf_counter()
        logits = np.asarray(self._engine.run(arrays)[out.name], dtype=np.float32)
        expected = (1, out.yaw_bins, out.height, out.width)
        if logits.shape != expected or not np.isfinite(logits).all():
            raise BundleError(
                f'{self.bundle.folder}: the output has shape {logits.shape}, expected {expected}, '
                'all finite'
            )
        done = time.perf_counter()
        return MatchResult(
            Status.OK,
            (),
            logits[0] / np.float32(out.temperature),
            Grid(patch.grid.center_xy, out.gsd, out.width, out.height),
            yaw_bins(out, se3.yaw_of(prior.T_map_base)),
            timings_ms={'view_ms': 1e3 * (ready - start), 'engine_ms': 1e3 * (done - ready)},
        )

    def _view_image(
        self, view: GroundView, attitude: Attitude, prior: PosePrior
    ) -> tuple[NDArray, NDArray[np.bool_]]:
        """The view as the network wants it, and where it has content."""
        spec = self.bundle.spec
        size = (spec.view.width, spec.view.height)
        if spec.bev is None:
            image = cv2.resize(view.image, size, interpolation=cv2.INTER_AREA)
            return image, np.ones(image.shape[:2], bool)
        projector = self._projector
        if projector is None or projector.camera != view.camera:
            grid = Grid(spec.bev.center_xy, spec.bev.gsd, *size)
            projector = self._projector = GroundProjector(view.camera, grid)
        pose = T_ground_camera(
            view.T_base_camera, attitude.roll, attitude.pitch, self._base_height_m
        )
        if spec.output.yaw_frame == 'prior':
            pose = se3.from_planar(0.0, 0.0, se3.yaw_of(prior.T_map_base)) @ pose
        bev = projector.bev(view.image, pose)
        return bev.image, bev.mask


def normalised(image: NDArray, mask: NDArray[np.bool_], spec: RasterSpec) -> NDArray[np.float32]:
    """A network's input (1, 3, H, W) float32 from (H, W, 3) uint8 RGB; 0 outside the mask."""
    mean, std = np.array(spec.mean, np.float32), np.array(spec.std, np.float32)
    scaled = (image.astype(np.float32) / np.float32(255.0) - mean) / std
    scaled[~mask] = 0.0
    return np.ascontiguousarray(np.moveaxis(scaled, -1, 0)[None])


def yaw_bins(spec: OutputSpec, prior_yaw: float) -> Array:
    """Yaws (K,) of the output's bins, rad, in the map frame."""
    half = np.radians(spec.yaw_half_range_deg)
    if spec.yaw_half_range_deg == 180.0:
        offsets = -np.pi + 2 * np.pi * np.arange(spec.yaw_bins) / spec.yaw_bins
    else:
        offsets = np.linspace(-half, half, spec.yaw_bins)
    return np.asarray(offsets + (prior_yaw if spec.yaw_frame == 'prior' else 0.0))


def _middle(patch: AerialPatch, spec: RasterSpec) -> tuple[NDArray, NDArray[np.bool_]]:
    """The middle of a square patch, of the network's shape."""
    top = (patch.image.shape[0] - spec.height) // 2
    left = (patch.image.shape[1] - spec.width) // 2
    box = (slice(top, top + spec.height), slice(left, left + spec.width))
    return patch.image[box], patch.mask[box]
