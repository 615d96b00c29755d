# SPDX-License-Identifier: Apache-2.0
"""What a method is told beforehand, drawn anew each epoch."""

from dataclasses import dataclass, replace

import numpy as np

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
