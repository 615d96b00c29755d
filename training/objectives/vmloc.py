# SPDX-License-Identifier: Apache-2.0
"""VMLoc's objective: the importance-weighted bound, with its doubly reparameterised gradient.

References: VMLoc (Zhou et al., AAAI 2021, arXiv 2003.07289); the bound: Burda et al., "Importance
Weighted Autoencoders", ICLR 2016, eq. 8; the gradient: Tucker et al., "Doubly Reparameterized
Gradient Estimators for Monte Carlo Objectives", ICLR 2019.

With K latents z_k ~ q(z | x) of each sample, h the pose loss and b the weight of the prior,

  log w_k = -h(z_k) + b (log p(z_k) - log q(z_k | x)),    bound = E log 1/K sum_k w_k.

b = 1 is the paper's bound; its released code takes 1e-6. The derivative with respect to what makes
q has two parts: through z_k, weighed by v_k = w_k / sum w; and through q itself, whose noise does
not fade as K grows. The second part is E sum_k -b v_k d log q / d phi, which is reparameterised
once more into -b E sum_k (v_k - v_k^2) (d log w_k / d z_k) (d z_k / d phi). Both together: hold q
in log q fixed, and weigh what arrives at z_k by (1 - b) v_k + b v_k^2. For b = 1 that is Tucker's
v_k^2; for a small b it is nearly v_k, and v_k^2 would be biased.
"""

from collections.abc import Mapping
from dataclasses import dataclass
import math

import torch
from torch import Tensor

from geoloc_core.errors import ConfigError
from geoloc_core.models.vmloc import VmLoc
from training.objectives.base import LOSS, Progress
from training.objectives.pose_loss import PoseLossSettings
from training.objectives.pose_regression import PoseObjective

GRADIENTS = ('doubly_reparameterised', 'plain')


@dataclass(frozen=True)
class VmLocObjectiveSettings(PoseLossSettings):
    """Settings of `VmLocObjective`; the defaults are the released ones.

    Attributes:
        samples: K.
        prior_weight: b, of the prior against the pose, in nats of one over nats of the other.
        gradient: 'doubly_reparameterised', or 'plain' for that of the bound as it stands.
    """

    samples: int = 4
    prior_weight: float = 1e-6
    gradient: str = GRADIENTS[0]

    def __post_init__(self) -> None:
        """Refuses what cannot be.

        Raises:
            ConfigError: A value out of its range.
        """
        super().__post_init__()
        if self.samples < 1 or not 0 <= self.prior_weight <= 1:
            raise ConfigError(
                f'samples is {self.samples}, prior_weight {self.prior_weight}: expected 1 or '
                'more, and 0 .. 1'
            )
        if self.gradient not in GRADIENTS:
            raise ConfigError(f'gradient is {self.gradient!r}: expected one of {GRADIENTS}')


class VmLocObjective(PoseObjective):
    """The negative bound, its mean over the batch; weights are of a sample's own K latents."""

    Settings = VmLocObjectiveSettings
    model: VmLoc

    def __init__(self, model: VmLoc, settings: VmLocObjectiveSettings) -> None:
        """Takes the network.

        Raises:
            ConfigError: It has no latent to sample.
        """
        if not isinstance(model, VmLoc):
            raise ConfigError(
                f'the objective vmloc samples a latent, which {model.NAME} does not have: take '
                'pose_regression'
            )
        super().__init__(model, settings)

    def forward(self, batch: Mapping[str, Tensor], progress: Progress) -> dict[str, Tensor]:
        """See `Objective`. `effective_samples` is 1 / sum v_k^2, of K."""
        settings = self.settings
        mean, variance = self.model.posterior(*self.inputs(batch))
        draws = torch.randn(settings.samples, *mean.shape, device=mean.device)
        latents = mean + variance.sqrt() * draws
        raw = self.model.read(latents)
        truth = batch['position'], batch['rotation']
        costs = self.pose_loss(raw, self.model.settings.scale_m, *truth)
        doubly = settings.gradient == GRADIENTS[0]
        held = (mean.detach(), variance.detach()) if doubly else (mean, variance)
        excess = log_normal(latents, *held) - log_normal(latents)
        log_weights = -costs - settings.prior_weight * excess
        loss, shares = negative_bound(log_weights, latents, settings.prior_weight, doubly=doubly)
        parts = {}
        if self.relative_loss is not None:
            # Of the posterior's mean: gradients of other terms must not meet the bound's weights.
            parts = self.relative(self.model.read(mean), batch)
        total = sum(parts.values(), loss.mean())
        return {
            LOSS: total,
            'pose': costs.mean(),
            'divergence': excess.mean(),
            'effective_samples': (1.0 / (shares**2).sum(0)).mean(),
            **parts,
            **self.weights(),
        }


def negative_bound(
    log_weights: Tensor, latents: Tensor, prior_weight: float, *, doubly: bool
) -> tuple[Tensor, Tensor]:
    """The negative bound (B,) and each latent's share v_k (K, B) of its sample's weight.

    Args:
        log_weights: (K, B); with `doubly`, of a q that is held fixed.
        latents: (K, B, D) from which `log_weights` were made: gradients that arrive here are
            weighed.
        prior_weight: b.
        doubly: Doubly reparameterised; else the gradient of the bound as it stands.
    """
    bound = torch.logsumexp(log_weights, dim=0) - math.log(len(log_weights))
    shares = torch.softmax(log_weights.detach(), dim=0)
    if doubly and latents.requires_grad:
        # What arrives has been weighed by v_k once, by the derivative of the logarithm.
        again = (1.0 - prior_weight) + prior_weight * shares
        latents.register_hook(lambda gradient: gradient * again[..., None])
    return -bound, shares


def log_normal(
    latents: Tensor, mean: Tensor | None = None, variance: Tensor | None = None
) -> Tensor:
    """Log density (...,) of latents (..., D) under a diagonal Gaussian; a standard one if None."""
    if mean is None or variance is None:
        return -0.5 * (latents**2 + math.log(2 * math.pi)).sum(-1)
    off = (latents - mean) ** 2 / variance
    return -0.5 * (off + variance.log() + math.log(2 * math.pi)).sum(-1)
