# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import torch

from geoloc_core.models.homography import corners_of, from_corners, project

SIZE = (40, 24)


def moved(seed, spread=2.0, batch=()):
    generator = torch.Generator().manual_seed(seed)
    return corners_of(*SIZE) + spread * torch.randn(*batch, 4, 2, generator=generator)


def test_closed_form_is_the_homography_of_opencv():
    for seed in range(5):
        corners = moved(seed)
        expected = cv2.getPerspectiveTransform(corners_of(*SIZE).numpy(), corners.numpy())
        np.testing.assert_allclose(from_corners(corners, *SIZE), expected, rtol=1e-3, atol=1e-4)


def test_corners_that_stay_give_the_identity():
    torch.testing.assert_close(from_corners(corners_of(*SIZE), *SIZE), torch.eye(3))


def test_points_of_a_batch_go_where_the_homography_says():
    corners = moved(0, batch=(2, 3))
    H = from_corners(corners, *SIZE)
    assert H.shape == (2, 3, 3, 3)
    torch.testing.assert_close(project(H, corners_of(*SIZE)), corners, atol=1e-3, rtol=1e-4)
    points = torch.tensor([[3.0, 7.0], [19.5, 11.5]])
    expected = cv2.perspectiveTransform(points.numpy()[None], H[1, 2].double().numpy())[0]
    np.testing.assert_allclose(project(H, points)[1, 2], expected, atol=1e-3)


def test_gradients_are_right():
    corners = moved(1).double().requires_grad_()
    points = torch.tensor([[19.5, 11.5], [3.0, 20.0]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda c: project(from_corners(c, *SIZE), points), (corners,))


def test_folded_quadrilaterals_stay_finite():
    flat = torch.zeros(4, 2)
    line = torch.tensor([[0.0, 0.0], [10.0, 0.0], [20.0, 0.0], [30.0, 0.0]])
    crossed = corners_of(*SIZE)[[3, 1, 2, 0]]
    corners = torch.stack([flat, line, crossed, moved(2, spread=200.0)]).requires_grad_()
    places = project(from_corners(corners, *SIZE), torch.rand(30, 2) * 40)
    assert places.isfinite().all()
    # Not thrown further than a few times the size of the quadrilateral.
    assert (places.abs().amax(dim=(1, 2)) < 20 * corners.abs().amax(dim=(1, 2)) + 1).all()
    places.sum().backward()
    assert corners.grad.isfinite().all()


def test_too_much_perspective_lets_the_fourth_corner_go():
    corners = corners_of(*SIZE)
    corners[3] = torch.tensor([4.0, 2.0])
    found = project(from_corners(corners, *SIZE), corners_of(*SIZE))
    torch.testing.assert_close(found[:3], corners[:3], atol=1e-4, rtol=0)
    assert found[3].isfinite().all() and (found[3] - corners[3]).norm() > 1
