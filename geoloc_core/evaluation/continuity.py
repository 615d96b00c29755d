# SPDX-License-Identifier: Apache-2.0
"""How smoothly an estimate goes: what it moved from one answer to the next beyond odometry.

A robot that drives through a door trusts odometry for a quarter of a second far more than it
trusts a pose that leaps, so a correction counts here whether it was right or not.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import InputError
from geoloc_core.geometry import se3

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Corrections:
    """What N answers were moved by beyond odometry.

    Attributes:
        xyz: (N - 1, 3) from where the answer before and odometry put each, m, map axes; NaN where
            either is not known.
        turn: (N - 1,) the angle between both attitudes, rad.
    """

    xyz: Array
    turn: Array

    @property
    def horizontal_m(self) -> Array:
        """(N - 1,) lengths in the plane, m."""
        return np.asarray(np.linalg.norm(self.xyz[:, :2], axis=1))


def corrections(T_map_base: Array, T_odom_base: Array) -> Corrections:
    """The corrections of successive answers.

    Args:
        T_map_base: (N, 4, 4) answers; NaN where there is none.
        T_odom_base: (N, 4, 4) odometry at the same stamps; NaN where it is not known.

    Returns:
        One correction from each answer to the next.

    Raises:
        InputError: The shapes differ.
    """
    estimate, odom = np.asarray(T_map_base, np.float64), np.asarray(T_odom_base, np.float64)
    if estimate.shape != odom.shape or estimate.shape[1:] != (4, 4):
        raise InputError(
            f'answers are {estimate.shape} and odometry {odom.shape}: expected (N, 4, 4) both'
        )
    xyz = np.full((max(len(estimate) - 1, 0), 3), np.nan)
    turn = np.full(len(xyz), np.nan)
    both = np.concatenate([estimate, odom], axis=1)
    known = np.asarray(np.isfinite(both).all(axis=(1, 2)))
    for i in np.flatnonzero(known[:-1] & known[1:]):
        expected = estimate[i] @ se3.inverse(odom[i]) @ odom[i + 1]
        xyz[i] = estimate[i + 1, :3, 3] - expected[:3, 3]
        turn[i] = np.linalg.norm(se3.log_rotation(estimate[i + 1, :3, :3] @ expected[:3, :3].T))
    return Corrections(xyz, turn)


def continuity_figures(found: Corrections) -> dict[str, float | None]:
    """Median, 95th percentile and maximum of the corrections; None where there are none."""
    figures: dict[str, float | None] = {}
    for name, values in (
        ('step_m', found.horizontal_m),
        ('vertical_step_m', np.abs(found.xyz[:, 2])),
        ('turn_deg', np.degrees(found.turn)),
    ):
        known = values[np.isfinite(values)]
        for kind, share in (('median', 50), ('p95', 95), ('max', 100)):
            figures[f'{name}_{kind}'] = float(np.percentile(known, share)) if len(known) else None
    return figures
