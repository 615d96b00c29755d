# SPDX-License-Identifier: Apache-2.0
"""Networks that answer with the pose of a camera in a place they learned."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
import math
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from geoloc_core.errors import ConfigError, DataError
from geoloc_core.evaluation.camera_poses import camera_pose_figures, coverage_95
from geoloc_core.evaluation.consistency import chi2_limit, nees
from geoloc_core.models.base import Outputs
from geoloc_core.models.pose_model import network_inputs, PoseBelief, PoseModel
from geoloc_core.models.rotations import rotation_vector
from training.calibration_fit import Fit, fit_scalars
from training.families.base import AbstractFamily
from training.families.pose_ways import PRESENT, seen_in_all_ways, Way
from training.loop.settings import CAMERA_POSE_METRICS
from training.pose_preparation import CameraPosePreparation

Array = NDArray[np.float64]

_ROUNDING = 1e-6


@dataclass(frozen=True)
class PoseScores:
    """What became of N samples.

    Attributes:
        keys: Of the samples.
        error: (N, 6) truth minus answer, m and rad, map axes; NaN where there is no answer.
        cov: (N, 6, 6) stated; NaN where there is no answer.
        nll: (N,) -log density at the truth, nats; infinite where there is no answer.
        position: (N, 3) answers, m from the network's `center_m`.
        rotation: (N, 3, 3) answers.
    """

    keys: tuple[str, ...]
    error: Array
    cov: Array
    nll: Array
    position: Array
    rotation: Array

    @property
    def nees(self) -> Array:
        """(N,) normalised estimation error squared, chi-squared with 6 if `cov` is true."""
        return nees(self.error, self.cov)

    @classmethod
    def joined(cls, parts: Sequence['PoseScores']) -> 'PoseScores':
        """Several sets as one; a key that comes twice counts once.

        Raises:
            DataError: Nothing to join.
        """
        keys = [key for part in parts for key in part.keys]
        if not keys:
            raise DataError('no sample was scored: the split is empty, or nothing of it is read')
        first = sorted({key: i for i, key in reversed(list(enumerate(keys)))}.values())
        names = ('error', 'cov', 'nll', 'position', 'rotation')
        arrays = {n: np.concatenate([getattr(p, n) for p in parts])[first] for n in names}
        return cls(tuple(keys[i] for i in first), **arrays)

    def figures(self) -> dict[str, float]:
        """Errors, likelihood, and whether the covariances hold."""
        figures = camera_pose_figures(self.error)
        return figures | {'nll': float(self.nll.mean()), 'coverage_95': coverage_95(self.nees)}


class CameraPoseFamily(AbstractFamily):
    """`geoloc_core.models.pose_model.PoseModel`."""

    METRICS: ClassVar[tuple[str, ...]] = CAMERA_POSE_METRICS

    def preparation(self, model: Any, extras: tuple[str, ...]) -> CameraPosePreparation:
        """See `AbstractFamily`."""
        if extras:
            raise ConfigError(
                f'{model.NAME}: there are no further arrays {list(extras)} of a pose'
            )
        return CameraPosePreparation(model.inputs)

    def measure(
        self, model: Any, batches: Iterable[Any], device: torch.device
    ) -> list[PoseScores]:
        """See `AbstractFamily`."""
        return list(score_poses(model, batches, device))

    def figures(self, parts: Sequence[PoseScores]) -> dict[str, float]:
        """See `AbstractFamily`."""
        figures = PoseScores.joined(parts).figures()
        return {name: figures[name] for name in CAMERA_POSE_METRICS}

    def fit(self, model: Any, batches: Iterable[Any], device: torch.device, samples: int) -> Fit:
        """See `AbstractFamily`.

        Each frame counts in each of `pose_ways.WAYS`: whole, half covered, dark and so on, with
        both modalities and with either alone, so that the covariance of a robot that sees less is
        as honest as that of one that sees all.

        Errors of pose networks have longer tails than a Gaussian, whose likelihood then asks for
        ellipsoids that hold too few of them. So after the likeliest scalars covariances grow, by
        one factor for each set of modalities there may be, until the 95 % ellipsoid holds 95 % of
        the frames seen in each single way: a fault with both modalities there does not show in
        them, and the worst one must be held too. This is the score and the quantile of conformal
        prediction (Lei et al., "Distribution-Free Predictive Inference for Regression", JASA 2018)
        for groups, without its guarantee: the scalars saw the same frames, and frames of one walk
        are not independent.
        """
        stored = _stored(model, batches, device, samples)
        count = sum(len(truth[0]) for seen in stored.values() for _, truth in seen)
        if not count:
            return Fit(0, float('nan'), float('nan'))

        def believed(ways: Iterable[Way]) -> Iterator[tuple[PoseBelief, tuple[Tensor, Tensor]]]:
            for way in ways:
                for outputs, truth in stored[way]:
                    yield model.belief(_on(outputs, device)), tuple(t.to(device) for t in truth)

        def losses() -> Iterator[Tensor]:
            return (-log_density(belief, *truth) for belief, truth in believed(stored))

        fit = fit_scalars(model, losses, count)
        model.widen(factors_to_cover({way: believed([way]) for way in stored}))
        with torch.no_grad():
            after = torch.cat(list(losses())).mean()
        scalars = {n: (fit.scalars[n][0], p.tolist()) for n, p in model.calibration.items()}
        return Fit(count, fit.before, float(after), scalars)


def score_poses(
    model: PoseModel,
    batches: Iterable[Any],
    device: torch.device,
    present: tuple[bool, bool] = (True, True),
) -> Iterator[PoseScores]:
    """Scores of batch after batch.

    Args:
        model: Any pose network; its mode is given back as it was.
        batches: Of `CameraPosePreparation`.
        device: Of the network.
        present: Colour and depth: one that is False is withheld, whether a sample has it or not.
    """
    was_training = model.training
    model.eval()
    try:
        for batch in batches:
            if len(batch):
                with torch.no_grad():
                    yield _scored(model, batch, device, present)
    finally:
        model.train(was_training)


def log_density(belief: PoseBelief, position: Tensor, rotation: Tensor) -> Tensor:
    """Log density (B,), nats, of the true poses, a Gaussian of the six errors.

    Args:
        belief: Of B samples.
        position: (B, 3) m from the network's centre.
        rotation: (B, 3, 3).
    """
    # In double precision on the CPU: covariances of centimetres are squared twice here.
    error = pose_error(belief, position, rotation).cpu().double()
    cov = belief.cov.cpu().double()
    # They were added in single precision, whose rounding can take a narrow one's last axis.
    cov = cov + torch.diag_embed(_ROUNDING * cov.diagonal(dim1=1, dim2=2))
    distribution = torch.distributions.MultivariateNormal(
        torch.zeros_like(error), covariance_matrix=cov, validate_args=False
    )
    return distribution.log_prob(error)


def pose_error(belief: PoseBelief, position: Tensor, rotation: Tensor) -> Tensor:
    """(B, 6) truth minus answer, m and rad, map axes."""
    turn = rotation_vector(rotation @ belief.rotation.transpose(-1, -2))
    return torch.cat([position - belief.position, turn], dim=-1)


@torch.no_grad()
def factors_to_cover(
    believed: Mapping[Way, Iterable[tuple[PoseBelief, tuple[Tensor, Tensor]]]],
) -> list[float]:
    """What standard deviations must be multiplied by to hold 95 % of the truths in every way.

    Args:
        believed: What is believed of frames seen in each way, and their true poses.

    Returns:
        For each of `PRESENT` that of its worst way, 1 or more; 1 where there is none.
    """
    factors = {way: _factor_to_cover(beliefs) for way, beliefs in believed.items()}
    return [
        max((factors[way] for way in believed if way.present == present), default=1.0)
        for present in PRESENT
    ]


def _factor_to_cover(believed: Iterable[tuple[PoseBelief, tuple[Tensor, Tensor]]]) -> float:
    """That of one way."""
    values = [
        nees(_array(pose_error(belief, *truth)), _array(belief.cov)) for belief, truth in believed
    ]
    found = np.concatenate(values)
    # An infinite one would tell nothing of the others, and no factor holds it.
    ordered = np.sort(found[np.isfinite(found)])
    if not len(ordered):
        return 1.0
    rank = min(math.ceil(0.95 * (len(ordered) + 1)), len(ordered))
    return max(1.0, math.sqrt(ordered[rank - 1] / chi2_limit(0.95, 6)))


def _scored(
    model: PoseModel, batch: Any, device: torch.device, present: tuple[bool, bool]
) -> PoseScores:
    tensors = batch.to(device).tensors
    colour, depth, available = network_inputs(model, tensors)
    there = available * torch.tensor(present, device=device).to(available.dtype)
    belief = model.belief(model(colour, depth, there))
    truth = tensors['position'], tensors['rotation']
    error = pose_error(belief, *truth)
    good = model.answers(there) & error.isfinite().all(1) & belief.cov.isfinite().all((1, 2))
    # One that has no answer must not keep the others from having theirs.
    safe = torch.where(good[:, None, None], belief.cov, torch.eye(6, device=device))
    density = log_density(PoseBelief(belief.position, belief.rotation, safe), *truth)
    answered = good.cpu().numpy()
    return PoseScores(
        keys=batch.keys,
        error=np.where(answered[:, None], _array(error), np.nan),
        cov=np.where(answered[:, None, None], _array(belief.cov), np.nan),
        nll=np.where(answered, -_array(density), np.inf),
        position=_array(belief.position),
        rotation=_array(belief.rotation),
    )


@torch.no_grad()
def _stored(
    model: PoseModel, batches: Iterable[Any], device: torch.device, samples: int
) -> dict[Way, list[tuple[Outputs, tuple[Tensor, Tensor]]]]:
    """What `belief` needs, and truth, of each way in which some sample can be seen."""
    model.eval()
    stored: dict[Way, list[tuple[Outputs, tuple[Tensor, Tensor]]]] = {}
    read = 0
    for number, batch in enumerate(batches):
        if read >= samples:
            break
        read += len(batch)
        if not len(batch):
            continue
        tensors = batch.to(device).tensors
        for way, seen in seen_in_all_ways(tensors, number, model.inputs.uses):
            colour, depth, available = network_inputs(model, seen)
            wanted = torch.tensor(way.present, device=device)
            rows = ((available > 0) | ~wanted).all(dim=1).nonzero()[:, 0]
            there = wanted.to(colour.dtype).expand(len(rows), 2)
            if not len(rows) or not bool(model.answers(there).all()):
                continue
            outputs = model(colour[rows], depth[rows], there)
            truth = tensors['position'][rows].cpu(), tensors['rotation'][rows].cpu()
            stored.setdefault(way, []).append((_on(outputs, torch.device('cpu')), truth))
    return stored


def _on(outputs: Outputs, device: torch.device) -> Outputs:
    return {name: tensor.to(device) for name, tensor in outputs.items()}


def _array(tensor: Tensor) -> Array:
    return tensor.detach().cpu().numpy().astype(np.float64)
