# SPDX-License-Identifier: Apache-2.0
import math

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy.linalg import expm
from scipy.spatial.transform import Rotation

from geoloc_core.errors import InputError
from geoloc_core.geometry import se3

metres = st.floats(-100, 100)
rpys = st.tuples(st.floats(-3.1, 3.1), st.floats(-1.5, 1.5), st.floats(-3.1, 3.1))
poses = st.tuples(metres, metres, metres, *[st.floats(-1.5, 1.5)] * 3)
rotvecs = st.tuples(*[st.floats(-1.8, 1.8)] * 3)  # longest 3.118 < pi


@given(poses, poses)
def test_group(a, b):
    A, B = se3.from_xyz_rpy(*a), se3.from_xyz_rpy(*b)
    np.testing.assert_allclose(A @ se3.inverse(A), np.eye(4), atol=1e-9)
    np.testing.assert_allclose(se3.inverse(A @ B), se3.inverse(B) @ se3.inverse(A), atol=1e-9)
    assert se3.is_rigid(A @ B)


@given(rpys)
def test_euler_angles_match_scipy_and_return(rpy):
    R = se3.rotation_from_rpy(*rpy)
    np.testing.assert_allclose(R, Rotation.from_euler('xyz', rpy).as_matrix(), atol=1e-12)
    np.testing.assert_allclose(se3.rpy_from(R), rpy, atol=1e-9)
    assert se3.yaw_of(se3.make(R, [1, 2, 3])) == pytest.approx(rpy[2])


def test_signs_of_roll_pitch_yaw():
    forward, left, up = np.eye(3)
    assert (se3.rotation_from_rpy(0, 0.1, 0) @ forward)[2] < 0  # pitch: nose down
    assert (se3.rotation_from_rpy(0.1, 0, 0) @ left)[2] > 0  # roll: right side down
    assert (se3.rotation_from_rpy(0, 0, 0.1) @ forward)[1] > 0  # yaw: to the left
    assert (se3.rotation_from_rpy(0.1, 0, 0) @ up)[1] < 0


@pytest.mark.parametrize('pitch', [math.pi / 2, -math.pi / 2])
def test_euler_angles_at_the_pole_rebuild_the_rotation(pitch):
    R = se3.rotation_from_rpy(0.3, pitch, 1.0)
    roll, found, yaw = se3.rpy_from(R)
    assert roll == 0.0 and found == pytest.approx(pitch)
    np.testing.assert_allclose(se3.rotation_from_rpy(roll, found, yaw), R, atol=1e-7)


def test_planar_pose():
    T = se3.from_planar(1.0, 2.0, 0.5, z=3.0, roll=0.1, pitch=-0.2)
    assert se3.planar(T) == pytest.approx((1.0, 2.0, 0.5))
    assert T[2, 3] == 3.0
    assert se3.rpy_from(T) == pytest.approx((0.1, -0.2, 0.5))


@given(rotvecs)
def test_quaternions_match_scipy(rotvec):
    rotation = Rotation.from_rotvec(rotvec)
    q = se3.quaternion_xyzw(rotation.as_matrix())
    assert q[3] >= 0
    assert abs(q @ rotation.as_quat()) == pytest.approx(1.0)
    np.testing.assert_allclose(se3.rotation_from_quaternion(q), rotation.as_matrix(), atol=1e-9)


@pytest.mark.parametrize('axis', np.eye(3))
def test_half_turns(axis):
    # Where the trace formula breaks: each branch of the quaternion, exactly and nearly at pi.
    for angle in (math.pi, math.pi - 1e-7):
        R = se3.exp_rotation(axis * angle)
        np.testing.assert_allclose(np.abs(se3.log_rotation(R)), axis * angle, atol=1e-7)
        np.testing.assert_allclose(
            se3.rotation_from_quaternion(se3.quaternion_xyzw(R)), R, atol=1e-9
        )


def test_quaternion_is_normalised():
    T = se3.from_quaternion([1, 2, 3], [0, 0, 2.0, 2.0])
    assert se3.planar(T) == pytest.approx((1, 2, math.pi / 2))


@pytest.mark.parametrize('q', [[0, 0, 0, 0], [0, 0, math.nan, 1], [math.inf, 0, 0, 1], [0, 0, 1]])
def test_no_rotation_is_refused(q):
    with pytest.raises(InputError, match='quaternion'):
        se3.from_quaternion([0, 0, 0], q)


@given(st.tuples(metres, metres, metres), rotvecs)
def test_exp_and_log_undo_each_other(v, w):
    twist = np.concatenate([v, w])
    np.testing.assert_allclose(se3.log(se3.exp(twist)), twist, atol=1e-6)


@pytest.mark.parametrize('scale', [0.0, 1e-12, 1e-8, 0.009, 0.011, 1.0, 2.0])
def test_exp_is_the_matrix_exponential(scale):
    v, w = np.array([1.0, -2.0, 0.5]), scale * np.array([0.6, -0.5, 0.7])
    generator = np.zeros((4, 4))
    generator[:3, :3] = se3.hat(w)
    generator[:3, 3] = v
    np.testing.assert_allclose(se3.exp([*v, *w]), expm(generator), atol=1e-12)
    np.testing.assert_allclose(se3.log(expm(generator)), [*v, *w], atol=1e-11)


@given(poses, st.tuples(*[st.floats(-0.5, 0.5)] * 6))
def test_adjoint(pose, twist):
    T = se3.from_xyz_rpy(*pose)
    left = T @ se3.exp(twist) @ se3.inverse(T)
    np.testing.assert_allclose(se3.exp(se3.adjoint(T) @ twist), left, atol=1e-7)


def test_interpolation_ends_and_middle():
    T0 = se3.from_xyz_rpy(0, 0, 0, 0, 0, math.radians(170))
    T1 = se3.from_xyz_rpy(2, 4, 6, 0, 0, math.radians(-170))
    np.testing.assert_allclose(se3.interpolate(T0, T1, 0.0), T0, atol=1e-12)
    np.testing.assert_allclose(se3.interpolate(T0, T1, 1.0), T1, atol=1e-12)
    middle = se3.interpolate(T0, T1, 0.25)
    # The short way: through 180 degrees, not through zero.
    assert np.rad2deg(se3.yaw_of(middle)) == pytest.approx(175)
    np.testing.assert_allclose(middle[:3, 3], [0.5, 1, 1.5])


@given(rotvecs, rotvecs, st.floats(0, 1))
def test_interpolation_turns_at_constant_rate(a, b, alpha):
    T0, T1 = (se3.make(Rotation.from_rotvec(w).as_matrix(), np.zeros(3)) for w in (a, b))
    total = np.linalg.norm(se3.log_rotation(T0[:3, :3].T @ T1[:3, :3]))
    part = se3.log_rotation(T0[:3, :3].T @ se3.interpolate(T0, T1, alpha)[:3, :3])
    assert np.linalg.norm(part) == pytest.approx(alpha * total, abs=1e-6)


def test_rotate_cov_turns_both_blocks():
    cov = np.diag([4.0, 1.0, 9.0, 0.1, 0.2, 0.3])
    turned = se3.rotate_cov(cov, se3.rotation_from_rpy(0, 0, math.pi / 2))
    np.testing.assert_allclose(turned, np.diag([1.0, 4.0, 9.0, 0.2, 0.1, 0.3]), atol=1e-12)


def test_rotate_cov_matches_samples():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(6, 6))
    R = Rotation.from_rotvec([0.3, -0.8, 0.5]).as_matrix()
    samples = rng.multivariate_normal(np.zeros(6), A @ A.T, 200_000)
    moved = np.hstack([samples[:, :3] @ R.T, samples[:, 3:] @ R.T])
    expected = np.cov(moved.T)
    np.testing.assert_allclose(
        se3.rotate_cov(A @ A.T, R), expected, atol=0.02 * np.abs(expected).max()
    )


def test_is_rigid():
    T = se3.from_xyz_rpy(1, 2, 3, 0.1, 0.2, 0.3)
    assert se3.is_rigid(T)
    assert not se3.is_rigid(np.eye(3))
    assert not se3.is_rigid(np.full((4, 4), np.nan))
    assert not se3.is_rigid(np.diag([1.0, 1, -1, 1]))  # a mirror
    assert not se3.is_rigid(2 * T)


def test_transform_broadcasts():
    T = se3.from_xyz_rpy(1, 0, 0, 0, 0, math.pi / 2)
    np.testing.assert_allclose(se3.transform(T, [[[1, 0, 0]]]), [[[1, 1, 0]]], atol=1e-12)
