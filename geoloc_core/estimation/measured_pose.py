# SPDX-License-Identifier: Apache-2.0
"""The door for poses: measured in a view, measured elsewhere, or told by a person.

What is not finite or cannot be a pose is refused here, and what a measurement does not speak of is
left open, before anything reaches the estimator.
"""

import numpy as np
from numpy.typing import NDArray

from geoloc_core.estimation.covariance import is_usable
from geoloc_core.estimation.estimator import Estimator, Prediction
from geoloc_core.geometry import se3
from geoloc_core.types import PoseMeasurement, Status

Array = NDArray[np.float64]

# Deviation of what a planar measurement leaves open: large, but bounded.
UNOBSERVED_M = 1000.0
UNOBSERVED_RAD = 3.0
# Deviations of x, y, z, rot x, rot y, rot z that a person who says nothing of them may mean.
_TOLD_STD = np.array([1.0, 1.0, 10.0, 0.1, 0.1, 0.2])


def fuse(estimator: Estimator, measured: PoseMeasurement) -> tuple[Status, str]:
    """Gives the estimator what a measurement says of the pose at its stamp.

    Args:
        estimator: Gates and fuses it.
        measured: Of status OK; a likelihood over (x, y, yaw), if it has one, is what counts, so
            that its prior is not counted twice.

    Returns:
        What became of it, and why.
    """
    mean, cov3 = measured.likelihood_mean, measured.likelihood_cov
    if mean is not None and cov3 is not None:
        if not np.all(np.isfinite(mean)) or not is_usable(cov3, 3):
            return Status.BAD_INPUT, 'measured pose is not finite'
        rest = measured.T_map_base
        if rest is None:
            found = estimator.predict(measured.stamp_ns)
            if not isinstance(found, Prediction):
                return found
            rest = found.T
        # What the measurement does not speak of stays where the prior had it.
        roll, pitch, _ = se3.rpy_from(rest)
        T = se3.from_planar(mean[0], mean[1], mean[2], float(rest[2, 3]), roll, pitch)
        cov = np.diag([0.0, 0.0, UNOBSERVED_M, UNOBSERVED_RAD, UNOBSERVED_RAD, 0.0]) ** 2
        cov[np.ix_([0, 1, 5], [0, 1, 5])] = cov3
        return estimator.push_pose(measured.stamp_ns, T, cov, 3)
    if measured.T_map_base is None or measured.cov is None:
        return Status.BAD_INPUT, 'measurement without a pose'
    if not se3.is_rigid(measured.T_map_base, 1e-3) or not is_usable(measured.cov, 6):
        return Status.BAD_INPUT, 'measured pose or covariance is impossible'
    return estimator.push_pose(measured.stamp_ns, measured.T_map_base, measured.cov, 6)


def begin(estimator: Estimator, measured: PoseMeasurement) -> tuple[Status, str]:
    """Begins an estimate at a measurement made without a prior, if it is of a whole pose.

    Args:
        estimator: That knows nothing yet.
        measured: Of status OK.

    Returns:
        What became of it, and why.
    """
    T, cov = measured.T_map_base, measured.cov
    if T is None or cov is None or not se3.is_rigid(T, 1e-3) or not is_usable(cov, 6):
        return Status.BAD_INPUT, 'a view alone begins with a whole pose only'
    estimator.set_pose(measured.stamp_ns, T, cov)
    estimator.events.append('begun at a view: ' + '; '.join(measured.reasons))
    return Status.OK, ''


def tell(estimator: Estimator, stamp_ns: int, T_map_base: Array, cov: Array) -> tuple[Status, str]:
    """Begins anew where a person says that the robot is.

    Args:
        estimator: Forgets what it believed.
        stamp_ns: When it was there.
        T_map_base: (4, 4).
        cov: (6, 6), map axes; zeros, as some tools send for what they do not know, become modest
            defaults.

    Returns:
        What became of it, and why.
    """
    cov = np.asarray(cov, dtype=np.float64)
    if not se3.is_rigid(T_map_base, 1e-3) or cov.shape != (6, 6):
        return Status.BAD_INPUT, 'no finite rigid transform'
    if not np.all(np.isfinite(cov)) or np.any(np.diag(cov) < 0.0):
        return Status.BAD_INPUT, 'covariance is impossible'
    unknown = np.diag(cov) == 0.0
    cov = 0.5 * (cov + cov.T) + np.diag(np.where(unknown, _TOLD_STD**2, 0.0))
    estimator.set_pose(stamp_ns, np.asarray(T_map_base, dtype=np.float64), cov)
    return Status.OK, ''
