# SPDX-License-Identifier: Apache-2.0
"""A learned matcher: a bundle's network behind the same socket as the classical one."""

import math
import time

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import BundleError
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import AbstractCamera
from geoloc_core.geometry.grid import Grid
from geoloc_core.input_spec import InputSpec
from geoloc_core.lever_arm import lever_arm, moved
from geoloc_core.preprocess import normalised, patch_frame, Preprocessor
from geoloc_core.runtime.bundle import ModelBundle
from geoloc_core.runtime.engine import AbstractEngine
from geoloc_core.runtime.engine_choice import EngineSettings
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

# Steps finer than this tell a network on cells of a metre nothing new, rad.
_FINE_YAW = math.radians(1.5)
_LEAST_YAWS = 9


class ModelMatcher(AbstractMatcher):
    """Runs a bundle: view and patch in, log-likelihoods out."""

    def __init__(
        self,
        bundle: ModelBundle,
        base_height_m: float = 0.0,
        min_ground_m2: float = 15.0,
        threads: int = 2,
        limits: SearchLimits | None = None,
        engine: EngineSettings | None = None,
    ) -> None:
        """Opens the bundle's engine.

        Args:
            bundle: Verified weights.
            base_height_m: Height of base_link's origin over the ground.
            min_ground_m2: Bird's-eye views that show less ground are refused.
            threads: Of one inference.
            limits: How far around the prior to look in yaw, if the network lets one choose.
            engine: What to run it with; None for onnxruntime on the CPU.

        Raises:
            BundleError: The weights do not do what their specification says.
            EngineError: The engine asked for is not here.
        """
        self.bundle = bundle
        self._engine: AbstractEngine = bundle.open_engine(threads, engine)
        self._preprocessor = Preprocessor(bundle.spec.inputs, base_height_m)
        self._min_ground_m2 = min_ground_m2
        self._limits = limits or SearchLimits()
        self._checked: AbstractCamera | None = None

    @property
    def engines(self) -> tuple[AbstractEngine, ...]:
        """See `AbstractMatcher`."""
        return (self._engine,)

    def refusal_of(self, camera: AbstractCamera) -> str:
        """See `AbstractMatcher`."""
        try:
            self.bundle.require_fit(camera)
        except BundleError as error:
            return str(error)
        return ''

    def patch_request(self, view: GroundView, prior: PosePrior) -> PatchRequest:
        """The patch the network was made for, around the prior of the point that it finds."""
        x, y, _ = moved(se3.planar(prior.T_map_base), self._arm(view, Attitude.of(prior)))
        return wanted_patch(self.bundle.spec.inputs, (float(x), float(y)))

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
        area = self._preprocessor.ground_m2(mask)
        if area < self._min_ground_m2:
            reason = f'{area:.1f} m^2 of ground < {self._min_ground_m2:.1f}'
            return MatchResult(Status.NO_GROUND, (reason,))
        seen = time.perf_counter()
        frame = patch_frame(spec, (*patch.grid.center_xy, yaw))
        aerial, known = self._preprocessor.patch(patch, frame)
        cut = time.perf_counter()
        offsets = yaw_bins(out, self._half_yaw(prior), self._yaws_at_once())
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
        yaws = offsets + frame.prior_yaw
        arm = self._arm(view, attitude)
        x, y, _ = moved((*patch.grid.center_xy, yaw), -arm)
        scores = north_up(
            logits[0] / np.float32(out.temperature), frame.turn, _moves(arm, yaw, yaws) / out.gsd
        )
        done = time.perf_counter()
        return MatchResult(
            Status.OK,
            self._engine.news(),
            scores,
            Grid((float(x), float(y)), out.gsd, scores.shape[2], scores.shape[1]),
            yaws,
            timings_ms={
                'view_ms': 1e3 * (seen - start),
                'cut_ms': 1e3 * (cut - seen),
                'normalise_ms': 1e3 * (ready - cut),
                'engine_ms': 1e3 * (done - ready),
            },
        )

    def _arm(self, view: GroundView, attitude: Attitude) -> Array:
        return lever_arm(
            self.bundle.spec.inputs, view.T_base_camera, attitude.roll, attitude.pitch
        )

    def _yaws_at_once(self) -> int:
        """How many yaws the engine takes, 0 for any number: engines on a GPU have fixed sizes."""
        name = self.bundle.spec.output.yaw_input
        return max(self._engine.inputs[name][0], 0) if name else 0

    def _half_yaw(self, prior: PosePrior) -> float:
        """Half width of the yaws worth asking for, rad."""
        if self.bundle.spec.inputs.turned == 'none':
            # Its yaws count from east: bins around 0 would not lie around the prior.
            return math.pi
        return search_window(prior, self._limits).half_yaw


def wanted_patch(spec: InputSpec, center_xy: tuple[float, float]) -> PatchRequest:
    """The piece of map that a network is fed around a place (x, y), m."""
    side = max(spec.patch.width, spec.patch.height)
    # A patch that is turned needs its corners from further out.
    reach = math.sqrt(2.0) if spec.turned == 'patch' else 1.0
    return PatchRequest(center_xy, reach * side * spec.patch_gsd, spec.patch_gsd)


def yaw_bins(spec: OutputSpec, half_yaw: float = math.pi, at_once: int = 0) -> Array:
    """Offsets (K,) rad of the output's bins from the prior's yaw (or from east).

    Args:
        spec: Of the output.
        half_yaw: How far around the prior is worth looking, rad; only networks that take their
            bins as an input listen to it. They are asked for as few as give fine steps.
        at_once: As many bins the engine takes, no more and no less; 0 for any number.
    """
    half, count = math.radians(spec.yaw_half_range_deg), spec.yaw_bins
    if spec.yaw_input and half_yaw < half:
        half = half_yaw
        few = min(max(2 * math.ceil(half / _FINE_YAW) + 1, _LEAST_YAWS), spec.yaw_bins)
        count = at_once or few
    if half >= math.pi:
        return np.asarray(-np.pi + 2 * np.pi * np.arange(count) / count)
    return np.linspace(-half, half, count)


def _moves(arm: Array, yaw: float, yaws: Array) -> Array:
    """(K, 2) m east and north: where base_link goes from where it is at `yaw`, at each of `yaws`.

    The point that was found, at the end of the arm, stays.
    """
    here = moved((0.0, 0.0, yaw), -arm)
    return np.array([moved((0.0, 0.0, each), -arm) - here for each in yaws])[:, :2]


def north_up(
    scores: NDArray[np.float32], turn: float, moves: Array | None = None
) -> NDArray[np.float32]:
    """A volume whose cells lie along a turned patch, on cells that run east and south.

    Args:
        scores: (K, H, W) log-likelihoods.
        turn: Direction of the patch's right-hand side, rad from east.
        moves: (K, 2) cells east and north by which each layer is moved then; None for none.

    Returns:
        (K, H', W') about the same middle, of the same gsd and large enough for all of the turned
        and moved one; what lies outside of that is as unlikely as the worst of it.
    """
    moves = np.zeros((len(scores), 2)) if moves is None else moves
    if turn == 0.0 and not moves.any():
        return scores
    c, s = math.cos(turn), math.sin(turn)
    height, width = scores.shape[1:]
    # Neither a quarter turn whose cosine is not quite 0 nor a move of nothing adds a cell.
    wider, higher = (2 * math.ceil(most - 1e-6) for most in np.abs(moves).max(axis=0))
    size = (
        math.ceil(abs(c) * width + abs(s) * height - 1e-6) + wider,
        math.ceil(abs(s) * width + abs(c) * height - 1e-6) + higher,
    )
    # Rows run down, so that a counter-clockwise turn of the frame reads clockwise of the cell.
    turned = np.array([[c, -s], [s, c]])
    middle, wanted = (np.array([n - 1, m - 1]) / 2 for n, m in ((width, height), size))
    return np.stack(
        [
            cv2.warpAffine(
                layer,
                np.column_stack([turned, middle - turned @ (wanted + move)]),
                size,
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_CONSTANT,
                borderValue=float(scores.min()),
            )
            for layer, move in zip(scores, moves * [1.0, -1.0], strict=True)
        ]
    )
