# SPDX-License-Identifier: Apache-2.0
"""A learned matcher: a bundle's network behind the same socket as the classical one."""

import math
import time

import numpy as np

from geoloc_core.errors import BundleError
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import AbstractCamera
from geoloc_core.geometry.grid import Grid
from geoloc_core.preprocess import normalised, patch_frame, Preprocessor
from geoloc_core.runtime.bundle import ModelBundle
from geoloc_core.runtime.engine import AbstractEngine
from geoloc_core.sources.matcher import (
    AbstractMatcher,
    Attitude,
    MatchResult,
    PatchRequest,
    search_window,
    SearchLimits,
)
from geoloc_core.spec import OutputSpec
from geoloc_core.types import AerialPatch, Array, GroundView, PosePrior, Status


class ModelMatcher(AbstractMatcher):
    """Runs a bundle: view and patch in, log-likelihoods out."""

    def __init__(
        self,
        bundle: ModelBundle,
        base_height_m: float = 0.0,
        min_ground_m2: float = 15.0,
        threads: int = 2,
        limits: SearchLimits | None = None,
    ) -> None:
        """Opens the bundle's engine.

        Args:
            bundle: Verified weights.
            base_height_m: Height of base_link's origin over the ground.
            min_ground_m2: Bird's-eye views that show less ground are refused.
            threads: Of one inference.
            limits: How far around the prior to look in yaw, if the network lets one choose.

        Raises:
            BundleError: The weights do not do what their specification says.
        """
        self.bundle = bundle
        self._engine: AbstractEngine = bundle.open_engine(threads)
        self._preprocessor = Preprocessor(bundle.spec.inputs, base_height_m)
        self._min_ground_m2 = min_ground_m2
        self._limits = limits or SearchLimits()
        self._checked: AbstractCamera | None = None

    def patch_request(self, view: GroundView, prior: PosePrior) -> PatchRequest:
        """The patch the network was made for, around the prior."""
        spec = self.bundle.spec.inputs
        x, y, _ = se3.planar(prior.T_map_base)
        side = max(spec.patch.width, spec.patch.height)
        # A patch that is turned needs its corners from further out.
        reach = math.sqrt(2.0) if spec.turned == 'patch' else 1.0
        return PatchRequest((x, y), reach * side * spec.patch_gsd, spec.patch_gsd)

    def log_likelihood(
        self, view: GroundView, attitude: Attitude, patch: AerialPatch, prior: PosePrior
    ) -> MatchResult:
        """See `AbstractMatcher`.

        Raises:
            BundleError: The camera is not one the model was made for, or it returns no numbers.
        """
        spec, out = self.bundle.spec.inputs, self.bundle.spec.output
        if view.camera != self._checked:
            self.bundle.require_fit(view.camera)
            self._checked = view.camera
        start = time.perf_counter()
        yaw = se3.yaw_of(prior.T_map_base)
        image, mask = self._preprocessor.view(view, attitude.roll, attitude.pitch, yaw)
        if spec.bev is not None and mask.sum() * spec.bev.gsd**2 < self._min_ground_m2:
            area = float(mask.sum()) * spec.bev.gsd**2
            reason = f'{area:.1f} m^2 of ground < {self._min_ground_m2:.1f}'
            return MatchResult(Status.NO_GROUND, (reason,))
        frame = patch_frame(spec, (*patch.grid.center_xy, yaw))
        aerial, known = self._preprocessor.patch(patch, frame)
        offsets = yaw_bins(out, self._half_yaw(prior))
        arrays = {
            spec.view.name: normalised(image, mask, spec.view),
            spec.patch.name: normalised(aerial, known, spec.patch),
        }
        if out.yaw_input:
            arrays[out.yaw_input] = offsets.astype(np.float32)
        ready = time.perf_counter()
        logits = np.asarray(self._engine.run(arrays)[out.name], dtype=np.float32)
        expected = (1, len(offsets), out.height, out.width)
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
            offsets + frame.prior_yaw,
            timings_ms={'view_ms': 1e3 * (ready - start), 'engine_ms': 1e3 * (done - ready)},
        )

    def _half_yaw(self, prior: PosePrior) -> float:
        """Half width of the yaws worth asking for, rad."""
        return search_window(prior, self._limits).half_yaw


def yaw_bins(spec: OutputSpec, half_yaw: float = math.pi) -> Array:
    """Offsets (K,) rad of the output's bins from the prior's yaw (or from east).

    Args:
        spec: Of the output.
        half_yaw: How far around the prior is worth looking, rad; only networks that take their
            bins as an input listen to it.
    """
    half = math.radians(spec.yaw_half_range_deg)
    if spec.yaw_input:
        half = min(half, half_yaw)
    if half >= math.pi:
        return np.asarray(-np.pi + 2 * np.pi * np.arange(spec.yaw_bins) / spec.yaw_bins)
    return np.linspace(-half, half, spec.yaw_bins)
