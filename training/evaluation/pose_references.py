# SPDX-License-Identifier: Apache-2.0
"""Answers that take no pose network: what a regressor must beat to be worth shipping."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch

from geoloc_core.evaluation.camera_poses import pose_errors
from geoloc_core.features.global_descriptor import Vlad
from geoloc_core.features.sift import SiftFeatures
from geoloc_core.models.rotations import chordal_mean
from training.datasets.base import AbstractDataset, UnreadableError
from training.pose_preparation import CameraPosePreparation

Array = NDArray[np.float64]

# Of the nearest pose: m + degrees / 40, as such oracles are usually made.
_DEGREES_A_METRE = 40.0


@dataclass(frozen=True)
class Posed:
    """Frames of a split.

    Attributes:
        poses: (N, 4, 4) of each frame's ideal camera.
        local: Their local features, or () where they were not asked for.
    """

    poses: Array
    local: tuple[Any, ...] = ()

    @classmethod
    def joined(cls, parts: Sequence['Posed']) -> 'Posed':
        """Several splits as one."""
        local = tuple(each for part in parts for each in part.local)
        return cls(np.concatenate([part.poses for part in parts]), local)


def posed_frames(
    dataset: AbstractDataset,
    indices: NDArray,
    preparation: CameraPosePreparation,
    *,
    with_features: bool,
) -> Posed:
    """Poses, and perhaps features, of all frames that can be read.

    Args:
        dataset: Any reader of frames with poses.
        indices: Of the frames.
        preparation: Of the network that is judged: the same crop, hence the same poses.
        with_features: Whether to look for features, in whole pictures.
    """
    detector = SiftFeatures() if with_features else None
    poses, local = [], []
    for index in indices:
        try:
            sample = dataset.sample(int(index))
        except UnreadableError:
            continue
        arrays = preparation(sample)
        T = np.eye(4)
        T[:3, :3], T[:3, 3] = arrays['rotation'], arrays['position']
        poses.append(T)
        if detector is not None:
            local.append(detector.detect(sample.view.image))
    return Posed(np.stack(poses), tuple(local))


def references(known: Posed, asked: Posed) -> dict[str, Array]:
    """Errors (N, 6) of each answer, by its name.

    Args:
        known: Frames that were learned from.
        asked: Frames that are judged.

    Returns:
        The median position with the mean rotation; the known pose nearest to the truth, which no
        retrieval can beat; and, where there are features, the pose of the picture that a
        classical descriptor (VLAD of SIFT) finds most alike.
    """
    mean = np.eye(4)
    mean[:3, 3] = np.median(known.poses[:, :3, 3], axis=0)
    mean[:3, :3] = chordal_mean(torch.tensor(known.poses[None, :, :3, :3]))[0].numpy()
    nearest = np.stack([known.poses[_nearest(known.poses, T)] for T in asked.poses])
    answers = {
        'constant pose': np.broadcast_to(mean, asked.poses.shape),
        'nearest known pose (oracle)': nearest,
    }
    if known.local and asked.local:
        answers['nearest picture (VLAD)'] = known.poses[_most_alike(known.local, asked.local)]
    return {name: pose_errors(poses, asked.poses) for name, poses in answers.items()}


def _nearest(poses: Array, T: Array) -> int:
    metres = np.linalg.norm(poses[:, :3, 3] - T[:3, 3], axis=1)
    cosines = (np.einsum('nij,ij->n', poses[:, :3, :3], T[:3, :3]) - 1.0) / 2.0
    degrees = np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0)))
    return int(np.argmin(metres + degrees / _DEGREES_A_METRE))


def _most_alike(known: tuple[Any, ...], asked: tuple[Any, ...]) -> NDArray[np.intp]:
    """(N,) which known picture's descriptor is nearest to that of each one asked for."""
    vocabulary = Vlad.trained([local.descriptors for local in known])
    described = np.stack([vocabulary.describe(None, local) for local in known])
    queries = np.stack([vocabulary.describe(None, local) for local in asked])
    return np.argmax(queries @ described.T, axis=1)
