# SPDX-License-Identifier: Apache-2.0
"""Extrinsics from TF or parameters, never made up."""

import math
from types import SimpleNamespace as N

import numpy as np
import pytest

from geoloc_core.errors import CalibrationError
from geoloc_core.geometry import se3
from geoloc_core.messages.transform_buffer import Mounts, TransformBuffer

S = 10**9


def stamped(parent, child, T=None, stamp=0):
    T = np.eye(4) if T is None else T
    x, y, z = (float(v) for v in T[:3, 3])
    qx, qy, qz, qw = (float(v) for v in se3.quaternion_xyzw(T[:3, :3]))
    return N(
        header=N(stamp=N(sec=stamp // S, nanosec=stamp % S), frame_id=parent),
        child_frame_id=child,
        transform=N(translation=N(x=x, y=y, z=z), rotation=N(x=qx, y=qy, z=qz, w=qw)),
    )


def message(*transforms):
    return N(transforms=list(transforms))


def test_a_chain_of_mounts():
    buffer = TransformBuffer()
    T_base_mast = se3.from_xyz_rpy(1, 0, 0.5, 0, 0, math.pi / 2)
    T_mast_camera = se3.from_xyz_rpy(0.2, 0, 0, 0, 0.3, 0)
    buffer.add(message(stamped('base_link', 'mast', T_base_mast)), static=True)
    buffer.add(message(stamped('/mast', '/camera', T_mast_camera)), static=True)
    got = buffer.lookup('base_link', 'camera', 5)
    np.testing.assert_allclose(got, T_base_mast @ T_mast_camera, atol=1e-12)
    back = buffer.lookup('camera', 'base_link', 5)
    np.testing.assert_allclose(back @ got, np.eye(4), atol=1e-12)
    assert buffer.lookup('base_link', 'elsewhere', 5) is None


def test_siblings_meet_at_their_parent():
    buffer = TransformBuffer()
    left = se3.from_xyz_rpy(0, 1, 0, 0, 0, 0)
    right = se3.from_xyz_rpy(0, -2, 0, 0, 0, 0.1)
    buffer.add(message(stamped('mast', 'base_link', left), stamped('mast', 'camera', right)), True)
    got = buffer.lookup('base_link', 'camera', 0)
    np.testing.assert_allclose(got, np.linalg.inv(left) @ right, atol=1e-12)


def test_a_moving_link_is_interpolated_and_never_guessed():
    buffer = TransformBuffer()
    for t, yaw in ((1, 0.0), (2, 0.4)):
        T = se3.from_xyz_rpy(t, 0, 0, 0, 0, yaw)
        buffer.add(message(stamped('base_link', 'turret', T, t * S)), static=False)
    got = buffer.lookup('base_link', 'turret', 3 * S // 2)
    assert se3.planar(got) == pytest.approx((1.5, 0.0, 0.2), abs=1e-3)
    assert buffer.lookup('base_link', 'turret', S // 2) is None
    assert buffer.lookup('base_link', 'turret', 9 * S) is None
    buffer.clear()
    assert buffer.lookup('base_link', 'turret', 3 * S // 2) is None


def test_loops_and_nonsense_do_no_harm():
    buffer = TransformBuffer()
    buffer.add(message(stamped('a', 'b'), stamped('b', 'a')), static=True)
    assert buffer.lookup('base_link', 'a', 0) is None
    bad = stamped('a', 'c')
    bad.transform.rotation.w = math.nan
    assert [str(e) for e in buffer.add(message(bad, stamped('', 'd')), True)]
    assert len(buffer.add(message(stamped('e', 'e')), True)) == 1


def test_mounts_come_from_tf_first_then_parameters_else_are_refused():
    said = []
    given = {'camera': se3.from_xyz_rpy(9, 0, 0, 0, 0, 0)}
    buffer = TransformBuffer()
    mounts = Mounts(buffer, 'base_link', given, said.append)
    np.testing.assert_allclose(mounts.T_base_sensor('camera', 'cam', 0), given['camera'])
    with pytest.raises(CalibrationError, match=r"'gnss'.*frames\.antenna_xyz not set"):
        mounts.T_base_sensor('antenna', 'gnss', 0)
    T = se3.from_xyz_rpy(1, 2, 3, 0, 0, 0)
    buffer.add(message(stamped('base_link', 'cam', T)), static=True)
    np.testing.assert_allclose(mounts.T_base_sensor('camera', '/cam', 0), T)
    mounts.T_base_sensor('camera', 'cam', 0)
    assert len(said) == 2
    # A sensor that reports in the base frame itself sits there by definition.
    np.testing.assert_allclose(mounts.T_base_sensor('antenna', 'base_link', 0), np.eye(4))
