# SPDX-License-Identifier: Apache-2.0
"""What a method is told beforehand, drawn anew each epoch."""

from dataclasses import dataclass, replace

import numpy as np

from geoloc_core.geometry import se3
from training.augmentation.step import Step
from training.datasets.protocol import Protocol
from training.datasets.sample import Sample


@dataclass(frozen=True)
class DrawPrior(Step):
    """Places the prior around the truth; pictures and pose stay.

    A prior that a reader drew is the same in every epoch once its sample is cached; this one is
    not. Samples whose label is kept back are left alone.

    Attributes:
        half_x_m: The prior is uniform within plus or minus this of the truth, m.
        half_y_m: Along the other axis, m.
        half_yaw_deg: And in yaw; 0 = known, 180 = unknown.
        axes: 'map' (x east, y north) or 'heading' (x along the true heading, y to its left).
    """

    half_x_m: float = 0.0
    half_y_m: float = 0.0
    half_yaw_deg: float = 0.0
    axes: str = 'map'

    def __post_init__(self) -> None:
        """Refuses settings outside their range."""
        super().__post_init__()
        for name in ('half_x_m', 'half_y_m'):
            self.require(getattr(self, name) >= 0, name, 'metres, 0 or more')
        self.require(0 <= self.half_yaw_deg <= 180, 'half_yaw_deg', '0..180')
        self.require(self.axes in ('map', 'heading'), 'axes', "'map' or 'heading'")

    def apply(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """See `Step.apply`."""
        draws = tuple(rng.uniform(-1, 1, 3))
        if sample.T_map_base is None:
            return sample
        bounds = Protocol(
            'drawn', self.half_x_m, self.half_y_m, float(np.radians(self.half_yaw_deg)), self.axes
        )
        prior = bounds.prior(sample.view.stamp_ns, sample.T_map_base, draws)
        return replace(sample, prior=prior)


@dataclass(frozen=True)
class MovePrior(Step):
    """Moves the prior from where it is, and with it the patch that a robot would ask for.

    Unlike `DrawPrior` it keeps what a data set says about places, such as a tile's middle that is
    far from the truth; where the yaw is given, it makes any other protocol of it.

    Attributes:
        half_m: East and north, uniform within plus or minus this, m.
        half_yaw_deg: The prior's yaw is turned by up to this, either way; 180 = unknown.
    """

    half_m: float = 0.0
    half_yaw_deg: float = 0.0

    def __post_init__(self) -> None:
        """Refuses settings outside their range."""
        super().__post_init__()
        self.require(self.half_m >= 0, 'half_m', 'metres, 0 or more')
        self.require(0 <= self.half_yaw_deg <= 180, 'half_yaw_deg', '0..180')

    def apply(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """See `Step.apply`."""
        east, north, turn = rng.uniform(-1, 1, 3) * (
            self.half_m,
            self.half_m,
            np.radians(self.half_yaw_deg),
        )
        prior = sample.prior
        if prior is None:
            return sample
        x, y, yaw = se3.planar(prior.T_map_base)
        T = se3.from_planar(x + east, y + north, yaw + turn, float(prior.T_map_base[2, 3]))
        cov = prior.cov.copy()
        cov[[0, 1], [0, 1]] += self.half_m**2 / 3
        cov[5, 5] += np.radians(self.half_yaw_deg) ** 2 / 3
        return replace(sample, prior=replace(prior, T_map_base=T, cov=cov))
