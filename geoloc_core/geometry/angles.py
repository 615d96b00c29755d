# SPDX-License-Identifier: Apache-2.0
"""Angles on the circle, and named converters from every published yaw and offset convention.

Convention: inside geoloc a yaw is in rad, in (-pi, pi], about z up, 0 = facing east (+x),
counter-clockwise positive. Compass headings and the conventions of data sets exist only in
readers and message conversions, and pass through a function of this file that bears their name.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def wrap(angle: ArrayLike) -> Array:
    """Brings angles into (-pi, pi].

    Args:
        angle: (...) rad; NaN and infinities become NaN.

    Returns:
        (...) float64, rad.
    """
    with np.errstate(invalid='ignore'):
        wrapped = np.pi - np.mod(np.pi - np.asarray(angle, dtype=np.float64), 2 * np.pi)
    # For a tiny negative input np.mod returns 2 pi itself, which would leave the half-open range.
    return np.where(wrapped <= -np.pi, np.pi, wrapped)[()]


def difference(a: ArrayLike, b: ArrayLike) -> Array:
    """The shortest turn from b to a, in (-pi, pi].

    Args:
        a: (...) rad.
        b: (...) rad, broadcastable with a.
    """
    return wrap(np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64))


def _resultant(angles: ArrayLike, weights: ArrayLike | None) -> complex:
    angles = np.asarray(angles, dtype=np.float64)
    weights = np.ones_like(angles) if weights is None else np.asarray(weights, dtype=np.float64)
    total = weights.sum()
    if angles.size == 0 or not total > 0:
        return complex(np.nan, np.nan)
    return complex(np.sum(weights * np.exp(1j * angles)) / total)


def circular_mean(angles: ArrayLike, weights: ArrayLike | None = None) -> float:
    """The direction of the mean unit vector.

    Args:
        angles: (...) rad.
        weights: (...) non-negative, or None for equal weights.

    Returns:
        rad in (-pi, pi]; NaN without angles, without weight, or when the vectors cancel.
    """
    mean = _resultant(angles, weights)
    return float(np.angle(mean)) if abs(mean) > 1e-12 else float('nan')


def circular_std(angles: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Circular standard deviation sqrt(-2 ln R), R the length of the mean unit vector.

    For a narrow spread it equals the ordinary standard deviation.

    Args:
        angles: (...) rad.
        weights: (...) non-negative, or None for equal weights.

    Returns:
        rad; infinite when the vectors cancel, NaN without angles or weight.
    """
    length = abs(_resultant(angles, weights))
    if np.isnan(length):
        return float('nan')
    if length <= 1e-12:
        return float('inf')
    return float(np.sqrt(max(-2.0 * np.log(length), 0.0)))


# ---- the two families of compass angles ----


def yaw_from_heading_deg(heading_deg: ArrayLike) -> Array:
    """Yaw of a compass heading or GNSS course: degrees, 0 = north, clockwise positive."""
    return wrap(np.deg2rad(90.0 - np.asarray(heading_deg, dtype=np.float64)))


def heading_deg_from_yaw(yaw: ArrayLike) -> Array:
    """Compass heading in [0, 360), 0 = north, clockwise positive."""
    heading = np.mod(90.0 - np.rad2deg(np.asarray(yaw, dtype=np.float64)), 360.0)
    return np.where(heading >= 360.0, 0.0, heading)[()]


def yaw_from_ccw_north_deg(angle_deg: ArrayLike) -> Array:
    """Yaw of an angle in degrees, 0 = north, counter-clockwise positive."""
    return wrap(np.deg2rad(90.0 + np.asarray(angle_deg, dtype=np.float64)))


def ccw_north_deg_from_yaw(yaw: ArrayLike) -> Array:
    """Degrees in (-180, 180], 0 = north, counter-clockwise positive."""
    return np.rad2deg(wrap(np.asarray(yaw, dtype=np.float64) - np.pi / 2))


# ---- data sets and published code: 0 = north, counter-clockwise ----

yaw_from_hcnet_deg = yaw_from_ccw_north_deg
hcnet_deg_from_yaw = ccw_north_deg_from_yaw
yaw_from_geodistill_deg = yaw_from_ccw_north_deg
geodistill_deg_from_yaw = ccw_north_deg_from_yaw
yaw_from_ccvpe_vigor_deg = yaw_from_ccw_north_deg
ccvpe_vigor_deg_from_yaw = ccw_north_deg_from_yaw

# ---- data sets and published code: 0 = north, clockwise ----

# SliceMatch moves the first k columns to the end (a roll by -k): the heading turns clockwise.
yaw_from_slicematch_deg = yaw_from_heading_deg
slicematch_deg_from_yaw = heading_deg_from_yaw
# FG2 stores yaw = -rotation: clockwise on VIGOR too.
yaw_from_fg2_vigor_deg = yaw_from_heading_deg
fg2_vigor_deg_from_yaw = heading_deg_from_yaw
# CCVPE on KITTI stores 90 - random orientation: east = 90. Its VIGOR part turns the other way.
yaw_from_ccvpe_kitti_deg = yaw_from_heading_deg
ccvpe_kitti_deg_from_yaw = heading_deg_from_yaw
yaw_from_ford_deg = yaw_from_heading_deg
ford_deg_from_yaw = heading_deg_from_yaw


def yaw_from_kitti_oxts(yaw: ArrayLike) -> Array:
    """Yaw of field 5 of a KITTI oxts record: already rad, 0 = east, CCW; only wrapped."""
    return wrap(yaw)


def kitti_oxts_from_yaw(yaw: ArrayLike) -> Array:
    """Field 5 of a KITTI oxts record (rad, 0 = east, CCW)."""
    return wrap(yaw)


def yaw_from_robotcar_list(yaw: ArrayLike) -> Array:
    """Yaw of Oxford RobotCar's cross-view yaw files: rad, 0 = west, clockwise from true north."""
    return wrap(np.pi - np.asarray(yaw, dtype=np.float64))


def robotcar_list_from_yaw(yaw: ArrayLike) -> Array:
    """Oxford RobotCar's cross-view yaw (rad, 0 = west, clockwise) of a yaw."""
    return yaw_from_robotcar_list(yaw)


def rpy_from_orienternet_deg(rpy_deg: ArrayLike) -> Array:
    """REP-103 angles of OrienterNet's: its yaw is 90 - yaw, its roll and pitch are negated.

    Args:
        rpy_deg: (..., 3) roll, pitch, yaw in degrees as OrienterNet stores them.

    Returns:
        (..., 3) roll, pitch, yaw in rad for R = Rz(yaw) Ry(pitch) Rx(roll).
    """
    rpy_deg = np.asarray(rpy_deg, dtype=np.float64)
    roll_pitch = wrap(np.deg2rad(-rpy_deg[..., :2]))
    return np.concatenate([roll_pitch, yaw_from_heading_deg(rpy_deg[..., 2:])], axis=-1)


def orienternet_deg_from_rpy(rpy: ArrayLike) -> Array:
    """OrienterNet's roll, pitch, yaw (..., 3) in degrees of REP-103 angles (..., 3) in rad."""
    rpy = np.asarray(rpy, dtype=np.float64)
    roll_pitch = np.rad2deg(wrap(-rpy[..., :2]))
    return np.concatenate([roll_pitch, heading_deg_from_yaw(rpy[..., 2:])], axis=-1)


# ---- CCVPE's orientation channels: one bin is 360 / bins degrees wide, angles CW from north ----


def yaw_from_ccvpe_vigor_channel(channel: ArrayLike, bins: int = 20) -> Array:
    """Yaw of a channel of CCVPE's VIGOR head: channel = bins - index, index counts CCW."""
    index = bins - np.asarray(channel, dtype=np.float64)
    return yaw_from_ccw_north_deg(index * 360.0 / bins)


def ccvpe_vigor_channel_from_yaw(yaw: ArrayLike, bins: int = 20) -> Array:
    """Fractional channel in [0, bins) of CCVPE's VIGOR head."""
    return np.mod(bins - ccw_north_deg_from_yaw(yaw) * bins / 360.0, bins)


def yaw_from_ccvpe_oxford_channel(channel: ArrayLike, bins: int) -> Array:
    """Yaw of a channel of CCVPE's Oxford head: channel = index, index counts CW from north."""
    return yaw_from_heading_deg(np.asarray(channel, dtype=np.float64) * 360.0 / bins)


def ccvpe_oxford_channel_from_yaw(yaw: ArrayLike, bins: int) -> Array:
    """Fractional channel in [0, bins) of CCVPE's Oxford head."""
    return np.mod(heading_deg_from_yaw(yaw) * bins / 360.0, bins)


def yaw_from_ccvpe_kitti_channel(channel: ArrayLike, bins: int = 16) -> Array:
    """Yaw of a channel of CCVPE's KITTI head: channel = bins - index, index counts CW."""
    index = bins - np.asarray(channel, dtype=np.float64)
    return yaw_from_heading_deg(index * 360.0 / bins)


def ccvpe_kitti_channel_from_yaw(yaw: ArrayLike, bins: int = 16) -> Array:
    """Fractional channel in [0, bins) of CCVPE's KITTI head."""
    return np.mod(bins - heading_deg_from_yaw(yaw) * bins / 360.0, bins)


# ---- images: what an operation on pixels does to a direction or a place ----


def turn_from_pano_roll(columns: ArrayLike, width: int) -> Array:
    """How far the viewer of a panorama turns when its content is rolled.

    Args:
        columns: Roll as of `np.roll(image, columns, axis=1)`; positive moves content right.
        width: Columns of the panorama.

    Returns:
        Change of yaw, rad in (-pi, pi]: content moving right means turning counter-clockwise.
    """
    return wrap(2 * np.pi * np.asarray(columns, dtype=np.float64) / width)


def pano_roll_from_turn(turn: ArrayLike, width: int) -> Array:
    """Columns (fractional) to roll a panorama by, so that its viewer turns by `turn` rad."""
    return wrap(turn) * width / (2 * np.pi)


def turn_from_pil_rotation_deg(angle_deg: ArrayLike) -> Array:
    """Turn (rad, CCW) of the content of a north-up raster under PIL's `rotate(angle)`.

    `cv2.getRotationMatrix2D` counts the same way.
    """
    return wrap(np.deg2rad(np.asarray(angle_deg, dtype=np.float64)))


def pil_rotation_deg_from_turn(turn: ArrayLike) -> Array:
    """Angle for PIL's `rotate` that turns the content by `turn` rad counter-clockwise."""
    return np.rad2deg(wrap(turn))


def content_shift_from_pil_affine(coefficients: ArrayLike) -> Array:
    """Where content moves under PIL's AFFINE transform (1, 0, a, 0, 1, b).

    PIL maps output pixels to input pixels, so content moves by the opposite.

    Args:
        coefficients: (6,) with unit linear part.

    Returns:
        (2,) pixels (du, dv) = (-a, -b).

    Raises:
        ValueError: The linear part is not the identity.
    """
    c = np.asarray(coefficients, dtype=np.float64)
    if c.shape != (6,) or not np.array_equal(c[[0, 1, 3, 4]], [1, 0, 0, 1]):
        raise ValueError(f'expected a pure shift (1, 0, a, 0, 1, b), got {c.tolist()}')
    return -c[[2, 5]]


def pil_affine_from_content_shift(shift_px: ArrayLike) -> Array:
    """Coefficients (6,) for PIL's AFFINE that move content by `shift_px` (du, dv)."""
    du, dv = np.asarray(shift_px, dtype=np.float64)
    return np.array([1.0, 0.0, -du, 0.0, 1.0, -dv])


def xy_from_vigor_delta(delta_px: ArrayLike, gsd: ArrayLike) -> Array:
    """Camera position relative to the middle of a VIGOR tile.

    Args:
        delta_px: (..., 2) label (d_row, d_col); d_row > 0 is south, d_col > 0 is WEST.
        gsd: m/px at the resolution that the label counts in (640 px tiles).

    Returns:
        (..., 2) m, x east, y north.
    """
    delta_px = np.asarray(delta_px, dtype=np.float64)
    return -np.stack([delta_px[..., 1] * gsd, delta_px[..., 0] * gsd], axis=-1)


def vigor_delta_from_xy(xy: ArrayLike, gsd: ArrayLike) -> Array:
    """VIGOR's (d_row, d_col) (..., 2) px of an offset (..., 2) m, x east, y north."""
    xy = np.asarray(xy, dtype=np.float64)
    return -np.stack([xy[..., 1] / gsd, xy[..., 0] / gsd], axis=-1)


def row_offset_from_g2sweakly_kitti_v(v_px: ArrayLike) -> Array:
    """Row offset (down positive, px) of G2SWeakly's KITTI v, which counts upwards."""
    return -np.asarray(v_px, dtype=np.float64)


def g2sweakly_kitti_v_from_row_offset(row_px: ArrayLike) -> Array:
    """G2SWeakly's KITTI v (up positive, px) of a row offset (down positive, px)."""
    return -np.asarray(row_px, dtype=np.float64)


def enu_from_ned(xyz: ArrayLike) -> Array:
    """Vectors (..., 3) east, north, up of Ford's vectors (..., 3) north, east, down."""
    xyz = np.asarray(xyz, dtype=np.float64)
    return np.stack([xyz[..., 1], xyz[..., 0], -xyz[..., 2]], axis=-1)


def ned_from_enu(xyz: ArrayLike) -> Array:
    """Vectors (..., 3) north, east, down (Ford) of vectors (..., 3) east, north, up."""
    # Swapping the first two and negating the third undoes itself.
    return enu_from_ned(xyz)
