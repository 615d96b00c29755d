# SPDX-License-Identifier: Apache-2.0
"""What calibration did, for logs and summaries."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Fit:
    """What calibration did.

    Attributes:
        samples: It was fitted on.
        before: Mean negative log-likelihood with the scalars as they were, nats.
        after: With the fitted ones.
        scalars: Name -> (before, after).
    """

    samples: int
    before: float
    after: float
    scalars: dict[str, tuple[Any, Any]] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """One line for people."""
        if not self.scalars:
            return 'calibration: this network has nothing to calibrate'
        changes = ', '.join(
            f'{n} {_shown(a)} -> {_shown(b)}' for n, (a, b) in self.scalars.items()
        )
        return (
            f'calibration on {self.samples} validation samples: nll {self.before:.4f} -> '
            f'{self.after:.4f} ({changes})'
        )


def _shown(value: Any) -> str:
    return f'{value:.4g}' if isinstance(value, float) else str(value)
