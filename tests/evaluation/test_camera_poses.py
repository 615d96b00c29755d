# SPDX-License-Identifier: Apache-2.0
"""Errors of camera poses: known answers, and figures that others published of known poses."""

import numpy as np
import pytest

from geoloc_core.errors import InputError
from geoloc_core.evaluation.camera_poses import camera_pose_figures, listed_errors, pose_errors
from geoloc_core.formats.pose_list import read_pose_list
from geoloc_core.geometry import se3
from training.datasets.seven_scenes_files import read_pose

# 7-Scenes, test frames: median error (cm, degrees) and share within 5 cm and 5 degrees (%), of
# the per-frame estimates published with Brachmann et al., "On the limits of pseudo ground truth in
# visual camera re-localisation", ICCV 2021, against poses of depth tracking.
SCENES = ('chess', 'fire', 'heads', 'office', 'pumpkin', 'redkitchen', 'stairs')
TRACKED = {
    'as': '2.7/.87/86.4 2.4/1.01/86.3 1.1/.82/95.7 3.8/1.15/65.6 6.6/1.69/34.2 5.4/1.72/45.2 '
    '3.8/1.01/68.1',
    'hloc': '2.4/.77/94.2 1.8/.75/93.7 0.9/.59/99.7 2.6/.77/83.2 4.4/1.15/55.1 4.0/1.38/61.9 '
    '5.1/1.46/49.4',
    'r2d2_rgb': '2.3/.77/94.0 1.9/.79/95.3 0.8/.62/95.6 2.9/.85/78.8 4.2/1.14/59.2 4.1/1.44/61.2 '
    '4.5/1.27/59.2',
    'r2d2_rgbd': '2.5/.86/93.1 2.0/.83/91.3 1.2/.82/96.5 2.8/.81/81.3 4.3/1.18/58.5 3.3/1.20/72.6 '
    '3.9/1.14/68.1',
    'dsac_rgb': '1.8/.59/97.8 1.7/.77/94.5 1.0/.66/98.8 2.7/.79/83.9 3.9/1.05/62.0 3.9/1.24/65.5 '
    '3.5/.93/78.0',
    'dsac_rgbd': '0.8/.38/99.4 0.9/.53/98.9 0.8/.63/99.9 1.0/.47/98.9 1.7/.58/80.8 1.9/.80/92.4 '
    '2.1/.70/92.6',
}
# Share within 5 cm and 5 degrees (%) against poses of structure from motion.
FROM_MOTION = {
    'as': (99.9, 99.8, 100, 98.6, 99.6, 99.8, 91.9),
    'hloc': (100, 99.4, 100, 100, 100, 98.6, 72.0),
    'r2d2_rgb': (100, 99.1, 97.0, 99.7, 98.8, 98.4, 76.9),
    'dsac_rgb': (99.9, 98.9, 99.8, 98.1, 99.0, 97.0, 92.0),
    'dsac_rgbd': (99.6, 96.9, 99.5, 95.3, 90.9, 96.4, 88.4),
}


def pose(x=0.0, yaw=0.0):
    return se3.from_xyz_rpy(x, 0.3, -0.2, 0.4, 0.1, yaw)


def test_errors_are_truth_minus_estimate_in_the_axes_of_the_map():
    turned = se3.make(se3.exp_rotation([0, 0, 0.2]), [0, 0, 0])
    truth = pose(1.0)
    estimate = truth.copy()
    estimate[:3, :3] = turned[:3, :3] @ truth[:3, :3]
    estimate[0, 3] -= 0.03
    np.testing.assert_allclose(
        pose_errors(estimate[None], truth[None])[0], [0.03, 0, 0, 0, 0, -0.2], atol=1e-9
    )


def test_a_frame_without_an_answer_stays_in_every_denominator():
    truths = np.stack([pose()] * 4)
    estimates = np.stack([pose(0.01), pose(0.04), pose(0.0, 0.1), np.full((4, 4), np.nan)])
    figures = camera_pose_figures(pose_errors(estimates, truths))
    assert figures['answered'] == 0.75
    assert figures['recall_2cm_2deg'] == 0.25
    assert figures['recall_5cm_5deg'] == 0.5
    assert figures['recall_10cm_5deg'] == 0.5
    assert figures['recall_50cm_10deg'] == 0.75
    assert figures['translation_mean_m'] == np.inf
    assert figures['rotation_mean_deg'] == pytest.approx((np.degrees(0.1) + 180) / 4)


def test_lists_are_joined_by_name_in_the_order_of_the_truth():
    truths = {'b': pose(2.0), 'a': pose(1.0), 'c': pose(3.0)}
    errors = listed_errors({'a': pose(0.9), 'b': pose(2.0), 'z': pose()}, truths)
    np.testing.assert_allclose(errors[0], 0.0, atol=1e-12)
    assert errors[1, 0] == pytest.approx(0.1)
    assert np.isnan(errors[2]).all()
    with pytest.raises(InputError, match='are they of one scene'):
        listed_errors({'frame-7': pose()}, truths)


def figures_of(folder, truth, scene, method):
    estimates = read_pose_list(folder / 'estimates' / truth / '7scenes' / f'{scene}_{method}.txt')
    truths = read_pose_list(folder / 'pgt' / truth / '7scenes' / f'{scene}_test.txt')
    return camera_pose_figures(
        listed_errors(
            {name: each.T_world_camera for name, each in estimates.items()},
            {name: each.T_world_camera for name, each in truths.items()},
        )
    )


@pytest.mark.slow
@pytest.mark.parametrize('method', TRACKED)
def test_published_estimates_have_their_published_figures(real_data, method):
    folder = real_data('visloc_pseudo_gt_limitations')
    for k, scene in enumerate(SCENES):
        figures = figures_of(folder, 'dslam', scene, method)
        cm, degrees, percent = (float(v) for v in TRACKED[method].split()[k].split('/'))
        assert 100 * figures['translation_median_m'] == pytest.approx(cm, abs=0.051), scene
        assert figures['rotation_median_deg'] == pytest.approx(degrees, abs=0.0051), scene
        assert 100 * figures['recall_5cm_5deg'] == pytest.approx(percent, abs=0.051), scene
        if method in FROM_MOTION:
            figures = figures_of(folder, 'sfm', scene, method)
            percent = FROM_MOTION[method][k]
            assert 100 * figures['recall_5cm_5deg'] == pytest.approx(percent, abs=0.051), scene


def test_reference_answers_of_the_kitchen_have_their_known_figures(real_data):
    """Mean pose, and the nearest pose of the map: numbers measured by others on these frames."""
    folder = real_data('seven_scenes_redkitchen', 'seq')
    poses = {
        int(path.name[6:12]): read_pose(path) for path in sorted(folder.glob('frame-*.pose.txt'))
    }
    centres = np.array([T[:3, 3] for T in poses.values()])
    np.testing.assert_allclose(np.ptp(centres, axis=0), [1.86, 0.58, 0.96], atol=0.005)
    known = np.stack([T for number, T in poses.items() if number <= 745])
    asked = np.stack([T for number, T in poses.items() if number >= 750])
    assert (len(known), len(asked)) == (150, 50)
    mean = np.eye(4)
    mean[:3, 3] = known[:, :3, 3].mean(axis=0)
    U, _, Vt = np.linalg.svd(known[:, :3, :3].sum(axis=0))
    mean[:3, :3] = U @ Vt
    figures = camera_pose_figures(pose_errors(np.broadcast_to(mean, asked.shape), asked))
    assert figures['translation_median_m'] == pytest.approx(0.67, abs=0.005)
    assert figures['rotation_median_deg'] == pytest.approx(43, abs=0.5)
    assert figures['recall_5cm_5deg'] == 0.0
    nearest = []
    for T in asked:
        errors = pose_errors(known, np.broadcast_to(T, known.shape))
        cost = np.linalg.norm(errors[:, :3], axis=1)
        cost += np.degrees(np.linalg.norm(errors[:, 3:], axis=1)) / 40
        nearest.append(known[np.argmin(cost)])
    figures = camera_pose_figures(pose_errors(np.stack(nearest), asked))
    assert figures['translation_median_m'] == pytest.approx(0.150, abs=0.001)
    assert figures['rotation_median_deg'] == pytest.approx(27, abs=0.5)
    assert figures['recall_5cm_5deg'] == 0.02
    assert figures['recall_2cm_2deg'] == 0.0
