# SPDX-License-Identifier: Apache-2.0
"""One network over a loader -> errors and probabilities of every sample.

The same lines score validation during training and the final evaluation; what a network answers
is read as a robot reads it: `belief`, its pose, and its covariance about that pose.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
import math

import numpy as np
from numpy.typing import NDArray
import torch

from geoloc_core.errors import DataError
from geoloc_core.evaluation import pose_figures
from geoloc_core.evaluation.consistency import nees
from geoloc_core.evaluation.metrics import yaw_error
from geoloc_core.models.base import CrossViewModel
from geoloc_core.models.belief import (
    Belief,
    cell_coordinates,
    mean_and_covariance,
    negative_log_likelihood,
    peak_pose,
    place_negative_log_likelihood,
)
from training.loading import Batch
from training.objectives.base import run_model

Array = NDArray[np.float64]

# Stays on the CPU: its metres need float64, which not every accelerator has.
_FRAME = 'frame'


@dataclass(frozen=True)
class Scores:
    """What became of each sample; N of them, in the order of the loader.

    Convention: `truth` and `pose` are (x, y, yaw offset) in the patch's frame
    (`preprocess.PatchFrame`), covariances too; `error_xy` and `truth_yaw` are in the map frame.
    A sample without a finite answer has an infinite position error and is half a turn off.

    Attributes:
        keys: Of the samples.
        truth: (N, 3) m, m, rad.
        pose: (N, 3) the network's answer.
        cov: (N, 3, 3) second moments of the belief about `pose`.
        error_xy: (N, 2) answer - truth, m.
        yaw_error: (N,) answer - truth, wrapped, rad.
        truth_yaw: (N,) rad.
        nll: (N,) -log density at the truth, nats per m^2 rad.
        nll_place: (N,) -log density at the true place, whatever the yaw, nats per m^2.
        log_density: (N,) log density at the answer: how sure the network is of it.
        inside: (N,) whether the truth lies inside the volume at all.
        unreadable: What the samples that are not among these had wrong with them.
    """

    keys: tuple[str, ...]
    truth: Array
    pose: Array
    cov: Array
    error_xy: Array
    yaw_error: Array
    truth_yaw: Array
    nll: Array
    nll_place: Array
    log_density: Array
    inside: NDArray[np.bool_]
    unreadable: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.keys)

    @property
    def distance(self) -> Array:
        """(N,) position error, m."""
        return np.linalg.norm(self.error_xy, axis=1)

    @property
    def floor(self) -> Array:
        """(N,) error of the guess that the prior is right, m: below it nothing was learned."""
        return np.linalg.norm(self.truth[:, :2], axis=1)

    @property
    def std_m(self) -> Array:
        """(N,) root of the trace of the position's covariance, m."""
        return np.sqrt(np.trace(self.cov[:, :2, :2], axis1=1, axis2=2))

    def nees(self, dof: int) -> Array:
        """(N,) normalised estimation error squared of (x, y, yaw), or of (x, y) for `dof` 2."""
        # Errors in the patch's frame, as the covariance is.
        error = self.pose - self.truth
        error[:, 2] = self.yaw_error
        values = nees(error[:, :dof], self.cov[:, :dof, :dof])
        return np.where(np.isfinite(values), values, np.inf)

    def figures(self, dof: int = 3) -> dict[str, float]:
        """Every figure of these samples.

        Args:
            dof: 3, or 2 where the yaw is given: then NLL, coverage and NEES are of (x, y).

        Returns:
            Name -> value (`geoloc_core.evaluation.pose_figures`), and `samples`, `unreadable`,
            `not_finite`, `outside` (share of truths outside the volume), and of the guess that
            the prior is right `floor_{mean,median}_m` and `floor_yaw_{mean,median}_deg`.
        """
        figures = pose_figures.position_figures(self.error_xy, self.truth_yaw)
        figures |= pose_figures.yaw_figures(self.yaw_error)
        figures |= pose_figures.joint_figures(self.distance, self.yaw_error)
        nll = self.nll_place if dof == 2 else self.nll
        figures |= pose_figures.belief_figures(nll, self.nees(dof), dof)
        floor = self.floor if len(self) else np.array([math.nan])
        turns = self.truth[:, 2] if len(self) else np.array([math.nan])
        yaw_floor = np.degrees(np.abs(yaw_error(turns, 0.0)))
        return figures | {
            'floor_mean_m': float(floor.mean()),
            'floor_median_m': float(np.median(floor)),
            'floor_yaw_mean_deg': float(yaw_floor.mean()),
            'floor_yaw_median_deg': float(np.median(yaw_floor)),
            'outside': float(1.0 - self.inside.mean()) if len(self) else math.nan,
            'samples': float(len(self)),
            'unreadable': float(len(self.unreadable)),
            'not_finite': float((~np.isfinite(self.distance)).sum()),
        }

    @classmethod
    def joined(cls, parts: Sequence['Scores']) -> 'Scores':
        """Several sets as one, e.g. of the machines that shared a split.

        A key that comes twice counts once.

        Raises:
            DataError: Nothing to join.
        """
        if not parts:
            raise DataError('no sample was scored: the split is empty, or nothing of it is read')
        keys = [key for part in parts for key in part.keys]
        first = sorted(
            dict(zip(reversed(keys), range(len(keys) - 1, -1, -1), strict=True)).values()
        )
        made = {
            f.name: np.concatenate([getattr(part, f.name) for part in parts])[first]
            for f in fields(cls)
            if f.name not in ('keys', 'unreadable')
        }
        words = tuple(dict.fromkeys(w for part in parts for w in part.unreadable))
        return cls(keys=tuple(keys[i] for i in first), unreadable=words, **made)


def score(
    model: CrossViewModel, loader: Iterable[Batch], device: torch.device | str = 'cpu'
) -> Scores:
    """Runs a network over all batches of a loader, without gradients.

    Args:
        model: Any system; its mode (training or evaluation) is given back as it was.
        loader: Of `CrossViewPreparation`'s batches.
        device: Where the network is.

    Raises:
        DataError: Not one sample could be read.
    """
    unreadable: list[str] = []
    parts = [part for _, _, part in scored_batches(model, loader, device, unreadable)]
    return replace(Scores.joined(parts), unreadable=tuple(unreadable))


def scored_batches(
    model: CrossViewModel,
    loader: Iterable[Batch],
    device: torch.device | str = 'cpu',
    unreadable: list[str] | None = None,
    half_yaw_deg: float = 180.0,
) -> Iterator[tuple[Batch, Belief, Scores]]:
    """Batch after batch with the network's belief and its scores; see `score`.

    Args:
        model: Any system.
        loader: Of `CrossViewPreparation`'s batches.
        device: Where the network is.
        unreadable: The words about samples that could not be read are added to it.
        half_yaw_deg: How far the yaw can be from the prior's: told to the network's belief.
    """
    was_training = model.training
    model.eval()
    try:
        for batch in loader:
            if unreadable is not None:
                unreadable += batch.unreadable
            if not len(batch):
                continue
            tensors = {
                name: tensor if name == _FRAME else tensor.to(device)
                for name, tensor in batch.tensors.items()
            }
            with torch.no_grad():
                belief = model.belief(run_model(model, tensors))
                if half_yaw_deg < 180:
                    belief = belief.given_yaw(math.radians(half_yaw_deg))
                part = _scored(batch, belief, tensors['truth'])
            yield batch, belief, part
    finally:
        model.train(was_training)


def _scored(batch: Batch, belief: Belief, truth: torch.Tensor) -> Scores:
    answer = peak_pose(belief) if belief.pose is None else belief.pose
    # Whatever precision the network ran in, figures are made in full.
    answer, logits = answer.float(), belief.logits.float()
    belief = Belief(logits, belief.cell_m, belief.yaws, belief.closed, answer)
    usable = answer.isfinite().all(dim=1) & logits.isfinite().flatten(1).any(dim=1)
    usable &= ~logits.isnan().flatten(1).any(dim=1)
    _, cov = mean_and_covariance(belief, about=answer)
    nll = negative_log_likelihood(belief, truth)
    place = place_negative_log_likelihood(belief, truth)
    density = -negative_log_likelihood(belief, answer)
    bins, rows, columns = cell_coordinates(belief, truth)
    height, width = logits.shape[-2:]
    inside = (rows > -0.5) & (rows < height - 0.5) & (columns > -0.5) & (columns < width - 0.5)
    if not belief.closed:
        inside &= (bins > -0.5) & (bins < logits.shape[1] - 0.5)
    good = _array(usable).astype(bool)
    pose, true = _array(answer), _array(truth)
    frame = _array(batch.tensors[_FRAME])
    turn, prior_yaw = frame[:, 2], frame[:, 3]
    local = pose[:, :2] - true[:, :2]
    cos, sin = np.cos(turn), np.sin(turn)
    error = np.stack(
        [cos * local[:, 0] - sin * local[:, 1], sin * local[:, 0] + cos * local[:, 1]]
    )
    yaws = yaw_error(pose[:, 2], true[:, 2])
    return Scores(
        keys=batch.keys,
        truth=true,
        pose=pose,
        cov=_array(cov),
        error_xy=np.where(good[:, None], error.T, np.inf),
        yaw_error=np.where(good, yaws, np.pi),
        truth_yaw=yaw_error(true[:, 2] + prior_yaw, 0.0),
        nll=np.where(good, _array(nll), np.inf),
        nll_place=np.where(good, _array(place), np.inf),
        log_density=np.where(good, _array(density), -np.inf),
        inside=_array(inside).astype(bool),
        unreadable=batch.unreadable,
    )


def _array(tensor: torch.Tensor) -> Array:
    # float64 is made here: not every accelerator has it.
    return tensor.detach().cpu().numpy().astype(np.float64)
