# SPDX-License-Identifier: Apache-2.0
"""Corrections let into the published pose little by little, for whoever steers by it.

The smoother takes a measurement in at once: at the door of a mapped hall, where decimetres become
centimetres, its pose leaps. Here the leap is paid off at a speed. What is not paid off yet
is known, so it is added to the covariance: the published pose never claims more than it has.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from geoloc_core.estimation.config import ContinuityConfig
from geoloc_core.estimation.estimator import Estimator, Prediction
from geoloc_core.geometry import se3
from geoloc_core.types import Status

Array = NDArray[np.float64]
NS = 1e9


class ContinuousOutput:
    """Predicts like an `Estimator`, but never moves faster beyond odometry than allowed."""

    def __init__(self, config: ContinuityConfig, estimator: Estimator) -> None:
        """Takes what it smooths.

        Args:
            config: How fast; with a speed of 0 every answer is the estimator's own.
            estimator: Asked for predictions and motions.
        """
        self._config = config
        self._estimator = estimator
        self._said: tuple[int, Array] | None = None

    def forget(self) -> None:
        """Lets the next answer be the estimator's, wherever it is: somebody moved the map."""
        self._said = None

    def predict(self, stamp_ns: int) -> Prediction | tuple[Status, str]:
        """The estimate at a stamp, as `Estimator.predict`; what is not paid off is in it."""
        found = self._estimator.predict(stamp_ns)
        if self._config.max_speed <= 0.0 or not isinstance(found, Prediction):
            return found
        rest = self._rest(found)
        return replace(found, T=_moved(found.T, rest), cov=found.cov + np.outer(rest, rest))

    def _rest(self, found: Prediction) -> Array:
        """(6,) of the last answer, carried on by odometry, beyond the estimate: map axes."""
        newest = found
        if self._said is not None and found.stamp_ns < self._said[0]:
            # A late picture: it is judged by what has been said of a later time already.
            later = self._estimator.predict(self._said[0])
            if not isinstance(later, Prediction):
                self.forget()
            else:
                newest = later
        rest = np.zeros(6)
        if self._said is not None:
            stamp, T = self._said
            motion = self._estimator.reckoning.motion(stamp, newest.stamp_ns)
            expected = T @ motion.T
            rest[:3] = expected[:3, 3] - newest.T[:3, 3]
            rest[3:] = se3.log_rotation(expected[:3, :3] @ newest.T[:3, :3].T)
            rest = self._paid_off(rest, (newest.stamp_ns - stamp) / NS)
        self._said = newest.stamp_ns, _moved(newest.T, rest)
        return rest

    def _paid_off(self, rest: Array, seconds: float) -> Array:
        c = self._config
        if np.linalg.norm(rest[:2]) > c.give_up_m:
            return np.zeros(6)
        way, turn = c.max_speed * seconds, c.max_turn_rate * seconds
        # Height is badly known outside: what it lacks shall not hold up the rest.
        parts = (_shortened(rest[:2], way), _shortened(rest[2:3], way), _shortened(rest[3:], turn))
        return np.concatenate(parts)


def _shortened(vector: Array, by: float) -> Array:
    length = float(np.linalg.norm(vector))
    return vector * (max(0.0, 1.0 - by / length) if length > 0.0 else 0.0)


def _moved(T: Array, rest: Array) -> Array:
    """A pose (4, 4) turned about its own origin and shifted by (6,), map axes."""
    return se3.make(se3.exp_rotation(rest[3:]) @ T[:3, :3], T[:3, 3] + rest[:3])
