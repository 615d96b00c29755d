# SPDX-License-Identifier: Apache-2.0
"""One sample through a network, with everything that pictures are made of."""

from collections.abc import Mapping
from dataclasses import dataclass
import math

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from geoloc_core.lever_arm import lever_arm
from geoloc_core.models.base import CrossViewModel, Outputs
from geoloc_core.models.belief import Belief, mean_and_covariance, peak_pose
from geoloc_core.preprocess import PatchFrame
from training.datasets.sample import Sample
from training.loading import collate
from training.objectives.base import run_model
from training.preparation import CrossViewPreparation

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Look:
    """What a network made of one sample.

    Convention: poses are (x, y, yaw offset) in the patch's frame, as in `Scores`.

    Attributes:
        sample: The sample.
        batch: Of this one sample, as the network was fed it.
        outputs: The network's tensors.
        belief: What they say.
        frame: Of the patch.
        truth: (3,).
        pose: (3,) the answer.
        cov: (3, 3) about the answer.
        patch_gsd: m/px of the patch as fed.
        arm: (2,) m, forward and left from base_link to the point that the poses are of; see
            `geoloc_core.lever_arm`.
    """

    sample: Sample
    batch: Mapping[str, Tensor]
    outputs: Outputs
    belief: Belief
    frame: PatchFrame
    truth: Array
    pose: Array
    cov: Array
    patch_gsd: float
    arm: Array

    @property
    def heat(self) -> NDArray[np.float32]:
        """(h, w) probability of each cell, summed over yaw."""
        return self.belief.log_prob()[0].exp().sum(dim=0).detach().cpu().numpy()

    @property
    def patch(self) -> NDArray[np.uint8]:
        """(h, w, 3) the aerial patch that the network was fed."""
        return picture_of(self.batch['patch'])

    @property
    def view(self) -> NDArray[np.uint8]:
        """(H, W, 3) the view that the network was fed."""
        return picture_of(self.batch['view'][:, :3])

    @property
    def error_m(self) -> float:
        """Distance of the answer from the truth, m."""
        return float(np.linalg.norm(self.pose[:2] - self.truth[:2]))

    @property
    def yaw_error_deg(self) -> float:
        """Answer - truth, wrapped, degrees."""
        return math.degrees(math.remainder(self.pose[2] - self.truth[2], 2 * math.pi))

    def heading(self, pose: Array) -> float:
        """Direction of a pose's heading in the picture of the patch, rad from its right, CCW."""
        return float(pose[2] + self.frame.prior_yaw - self.frame.turn)

    @property
    def words(self) -> str:
        """The sample and its errors."""
        std = math.sqrt(max(float(np.trace(self.cov[:2, :2])), 0.0))
        return (
            f'{self.sample.key}: {self.error_m:.2f} m and {self.yaw_error_deg:+.1f} deg off; '
            f'std {std:.2f} m, {math.degrees(math.sqrt(max(float(self.cov[2, 2]), 0.0))):.1f} deg'
        )


def picture_of(pixels: Tensor) -> NDArray[np.uint8]:
    """(H, W, 3) of the first of (B, 3, H, W) uint8."""
    return np.ascontiguousarray(pixels[0].permute(1, 2, 0).cpu().numpy())


def look(
    model: CrossViewModel,
    sample: Sample,
    extras: tuple[str, ...] = (),
    others: bool = False,
    gradient: bool = False,
) -> Look:
    """Runs a network on one sample.

    Args:
        model: In evaluation mode.
        sample: With patch, prior and pose.
        extras: Further arrays that pictures want, e.g. 'patch_classes'.
        others: Also prepare the sample's further patches.
        gradient: Keep what gradients need.

    Raises:
        DataError: The sample does not suit the network.
    """
    batch, frame = prepared(model, sample, extras, others)
    with torch.set_grad_enabled(gradient):
        outputs = run_model(model, batch)
        belief = model.belief(outputs)
    return Look(
        sample,
        batch,
        outputs,
        belief,
        frame,
        batch['truth'][0].double().cpu().numpy(),
        *answer_of(belief),
        model.inputs.patch_gsd,
        lever_arm(model.inputs, sample.view.T_base_camera),
    )


def prepared(
    model: CrossViewModel, sample: Sample, extras: tuple[str, ...] = (), others: bool = False
) -> tuple[dict[str, Tensor], PatchFrame]:
    """A batch of one sample where the network is, and the frame of its patch."""
    device = next((p.device for p in model.parameters()), torch.device('cpu'))
    wanted = tuple(dict.fromkeys((*model.EXTRA_INPUTS, *extras)))
    prepare = CrossViewPreparation(model.inputs, wanted, other_patches=others)
    made = collate([(sample.key, prepare(sample))]).tensors
    x, y, turn, prior_yaw = made.pop('frame')[0].tolist()
    return {n: t.to(device) for n, t in made.items()}, PatchFrame((x, y), turn, prior_yaw)


def answer_of(belief: Belief) -> tuple[Array, Array]:
    """Pose (3,) and covariance (3, 3) about it of the first belief of a batch."""
    with torch.no_grad():
        pose = peak_pose(belief) if belief.pose is None else belief.pose
        _, cov = mean_and_covariance(belief, about=pose)
    return tuple(t[0].detach().double().cpu().numpy() for t in (pose, cov))
