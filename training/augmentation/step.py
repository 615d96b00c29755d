# SPDX-License-Identifier: Apache-2.0
"""What every step of an augmentation is."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np

from geoloc_core.errors import ConfigError
from training.datasets.sample import Sample


@dataclass(frozen=True)
class Step(ABC):
    """One change of a sample; its attributes are its settings.

    Attributes:
        p: Probability with which it is applied, 0..1.
    """

    p: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        """Refuses settings outside their range.

        Raises:
            ConfigError: A setting is out of range.
        """
        self.require(0 <= self.p <= 1, 'p', 'a probability, 0..1')

    def require(self, holds: bool, name: str, expected: str) -> None:
        """Raises ConfigError, naming the setting, unless `holds`."""
        if not holds:
            raise ConfigError(
                f'{type(self).__name__}.{name} = {getattr(self, name)!r}: expected {expected}'
            )

    @abstractmethod
    def apply(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The changed sample; arrays of the given one stay as they are.

        Args:
            sample: Any sample; a step that does not concern it returns it unchanged.
            rng: Source of all draws.
        """
