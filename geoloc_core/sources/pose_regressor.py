# SPDX-License-Identifier: Apache-2.0
"""A network's answer to one RGB-D frame: a coarse pose with an honest covariance, no map at hand.

It is what is left where geometry finds nothing to match: some decimetres and degrees, from colour
and depth, or from either alone.
"""

from dataclasses import dataclass
import time

import numpy as np

from geoloc_core.errors import ConfigError
from geoloc_core.estimation.covariance import bounded, is_usable, planar_block
from geoloc_core.geometry import se3
from geoloc_core.pose_input import ideal_view, network_arrays
from geoloc_core.runtime.engine_choice import EngineSettings
from geoloc_core.runtime.pose_bundle import PoseBundle
from geoloc_core.types import Array, GroundView, PoseMeasurement, PosePrior, Status


@dataclass(frozen=True)
class PoseRegressorConfig:
    """Settings of `PoseRegressor`.

    Attributes:
        max_std_m: Answers with a larger deviation of the position are refused as LOST.
        floor_position_m: Deviation that is never undercut.
        floor_rotation: The same of each rotation, rad.
        threads: Of one inference; 0: as many as leave the robot a core.
    """

    max_std_m: float = 2.0
    floor_position_m: float = 0.02
    floor_rotation: float = float(np.radians(0.5))
    threads: int = 0


class PoseRegressor:
    """Runs one bundle. Threads may not share one.

    Attributes:
        bundle: What it runs.
        config: Its settings.
        engine: What runs it.
    """

    def __init__(
        self,
        bundle: PoseBundle,
        config: PoseRegressorConfig | None = None,
        place: str | None = None,
        T_map_place: Array | None = None,
        engine: EngineSettings | None = None,
    ) -> None:
        """Loads the weights.

        Args:
            bundle: Of a pose network.
            config: Settings; None for the defaults.
            place: Name of the place that the robot is in; None takes the network's word.
            T_map_place: (4, 4) frame of the place -> map frame; None where they are the same.
            engine: What to run it with; None for onnxruntime on the CPU.

        Raises:
            BundleError: The engine refuses the weights, or they are for batches.
            EngineError: The engine asked for is not here.
            ConfigError: The network learned another place.
        """
        if place is not None and place != bundle.spec.place:
            raise ConfigError(
                f'{bundle.folder}: the network learned the place {bundle.spec.place!r}, this is '
                f'{place!r}: give the bundle that was trained on it, or, if it is the same '
                f'place, build the map with --name {bundle.spec.place}'
            )
        bundle.require_single()
        self.bundle = bundle
        self.config = config or PoseRegressorConfig()
        self.engine = bundle.open_engine(self.config.threads, engine)
        self._T_map_place = np.eye(4) if T_map_place is None else np.asarray(T_map_place)

    def localize(self, view: GroundView, prior: PosePrior | None = None) -> PoseMeasurement:
        """The pose of one view.

        Args:
            view: What the camera saw; depth registered to colour, or None.
            prior: Not used: a regressor searches nothing.

        Returns:
            base_link's pose and covariance in the map frame, or why there is none.
        """
        start = time.perf_counter()
        inputs, output = self.bundle.spec.inputs, self.bundle.spec.output
        ideal = ideal_view(view, inputs)
        present = dict(zip(('colour', 'depth'), ideal.available, strict=True))
        if not any(present[name] for name in inputs.uses):
            return PoseMeasurement(
                view.stamp_ns,
                Status.BAD_INPUT,
                (f'the network needs {" or ".join(inputs.uses)}: this frame has none',),
            )
        prepared = time.perf_counter()
        answer = self.engine.run(network_arrays(ideal, inputs))
        done = time.perf_counter()
        timings = {'prepare': 1e3 * (prepared - start), 'network': 1e3 * (done - prepared)}
        position = answer[output.position][0].astype(np.float64) + inputs.center_m
        T_place_ideal = se3.make(_nearest(answer[output.rotation][0]), position)
        cov = answer[output.cov][0].astype(np.float64)
        if not np.isfinite(T_place_ideal).all() or not is_usable(cov, 6):
            return PoseMeasurement(
                view.stamp_ns, Status.BAD_INPUT, ('the network answers with no number',),
                timings_ms=timings,
            )  # fmt: skip
        T_ideal_base = se3.inverse(
            view.T_base_camera @ se3.make(ideal.R_camera_ideal, np.zeros(3))
        )
        T_map_base = self._T_map_place @ T_place_ideal @ T_ideal_base
        cov = self._cov_of_base(cov, T_place_ideal, T_ideal_base)
        missing = tuple(f'without {name}' for name in inputs.uses if not present[name])
        reasons = (*missing, *self.engine.news())
        std = float(np.sqrt(np.trace(cov[:3, :3])))
        if std > self.config.max_std_m:
            return PoseMeasurement(
                view.stamp_ns, Status.LOST,
                (*reasons, f'deviation {std:.2f} m > {self.config.max_std_m:g} m'),
                timings_ms=timings,
            )  # fmt: skip
        return PoseMeasurement(
            view.stamp_ns,
            Status.OK,
            reasons,
            T_map_base=T_map_base,
            cov=cov,
            likelihood_mean=np.array(se3.planar(T_map_base)),
            likelihood_cov=planar_block(cov),
            timings_ms=timings,
        )

    def _cov_of_base(self, cov: Array, T_place_ideal: Array, T_ideal_base: Array) -> Array:
        """Covariance of base_link: it stands on a lever, at whose end a turn is a shift."""
        lever = T_place_ideal[:3, :3] @ T_ideal_base[:3, 3]
        J = np.eye(6)
        J[:3, 3:] = -se3.hat(lever)
        turned = se3.rotate_cov(J @ cov @ J.T, self._T_map_place[:3, :3])
        config = self.config
        # Bounded far above what is refused anyway.
        return bounded(
            turned, config.floor_position_m, config.floor_rotation, 10.0 * config.max_std_m
        )


def _nearest(R: Array) -> Array:
    """The rotation (3, 3) nearest to one in single precision."""
    U, _, Vt = np.linalg.svd(np.asarray(R, dtype=np.float64))
    return np.asarray(U @ np.diag([1.0, 1.0, np.linalg.det(U @ Vt)]) @ Vt)
