# SPDX-License-Identifier: Apache-2.0
"""What the outside is told of a prediction: a pose with its doubts, or the reason for none."""

from geoloc_core.estimation.covariance import horizontal_std
from geoloc_core.estimation.estimator import Prediction
from geoloc_core.types import PoseEstimate, PoseMeasurement, Status


def answer(
    stamp_ns: int,
    found: Prediction | tuple[Status, str],
    lost_std: float,
    measurement: PoseMeasurement | None = None,
) -> PoseEstimate:
    """The estimate at a stamp.

    Args:
        stamp_ns: The stamp.
        found: The prediction for it, or why there is none.
        lost_std: Deviation of the position from which on it counts as LOST, m.
        measurement: Of the view that is answered, if one is.
    """
    if not isinstance(found, Prediction):
        return PoseEstimate(stamp_ns, found[0], (found[1],), measurement=measurement)
    status = Status.OK
    reasons: tuple[str, ...] = ()
    if found.source != 'odometry':
        reasons = (f'motion {found.source}: no odometry at this time',)
    std = horizontal_std(found.cov)
    if std > lost_std:
        status, reasons = Status.LOST, (*reasons, f'position known to {std:.0f} m only')
    twist = found.twist
    return PoseEstimate(
        stamp_ns,
        status,
        reasons,
        found.T,
        found.cov,
        None if twist is None else twist[:3],
        None if twist is None else twist[3:],
        measurement,
    )
