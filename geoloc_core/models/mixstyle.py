# SPDX-License-Identifier: Apache-2.0
"""MixStyle (Zhou et al., ICLR 2021): while learning, pictures borrow each other's style.

The style of a feature map is the mean and the spread of each of its channels: light, season,
camera. Exchanging it between samples makes cities that do not exist, so that an unseen one is
less of a surprise.
"""

import torch
from torch import nn, Tensor

from geoloc_core.errors import ConfigError

PARTNERS = ('random', 'cross_domain')
_EPS = 1e-6


class MixStyle(nn.Module):
    """Mixes channel statistics within a batch; does nothing in use, or to a single sample.

    x' = (x - mean) / std * (l std + (1 - l) std_p) + l mean + (1 - l) mean_p (eq. 3 to 5), with
    l ~ Beta(alpha, alpha) for each sample and p its partner. It has no parameters, so one instance
    may serve several layers; each call draws anew, from torch's generator on the CPU.
    """

    def __init__(
        self,
        probability: float = 0.5,
        alpha: float = 0.1,
        partners: str = 'random',
        detach: bool = False,
    ) -> None:
        """Takes the settings.

        Args:
            probability: Of mixing, for each call.
            alpha: Of the Beta distribution; small values mostly keep one of the two styles.
            partners: 'random' (a permutation of the batch), or 'cross_domain' (each sample of the
                first half of a batch is paired with one of the second half, and the other way
                round: halves of different domains never mix within themselves).
            detach: Whether the statistics are constants to the gradient, as in MixStyle's paper.

        Raises:
            ConfigError: A value out of range.
        """
        super().__init__()
        if not 0 <= probability <= 1 or alpha <= 0:
            raise ConfigError(
                f'mixstyle: probability {probability} and alpha {alpha}, expected 0..1 and a '
                'positive number'
            )
        if partners not in PARTNERS:
            raise ConfigError(f'mixstyle: partners {partners!r}, expected one of {PARTNERS}')
        self.probability = probability
        self.alpha = alpha
        self.partners = partners
        self.detach = detach

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        if not self.training or self.probability == 0 or x.shape[0] < 2:
            return x
        if float(torch.rand(())) >= self.probability:
            return x
        batch = x.shape[0]
        partner = self.draw_partners(batch).to(x.device)
        beta = torch.distributions.Beta(self.alpha, self.alpha)
        own = beta.sample(torch.Size((batch, 1, 1, 1))).to(x.device)
        # Variances lose all their digits in half precision.
        full = x.float()
        mean = full.mean(dim=(2, 3), keepdim=True)
        std = (full.var(dim=(2, 3), keepdim=True, correction=0) + _EPS).sqrt()
        if self.detach:
            mean, std = mean.detach(), std.detach()
        new_mean = own * mean + (1 - own) * mean[partner]
        new_std = own * std + (1 - own) * std[partner]
        return ((full - mean) / std * new_std + new_mean).to(x.dtype)

    def draw_partners(self, batch: int) -> Tensor:
        """(B,) index of the sample that each one borrows from."""
        if self.partners == 'random':
            return torch.randperm(batch)
        half = batch // 2
        # The middle one of an odd batch belongs to the second half.
        first = half + torch.randperm(batch - half)[:half]
        second = torch.cat([torch.randperm(half), torch.randperm(half)])[: batch - half]
        return torch.cat([first, second])
