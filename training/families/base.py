# SPDX-License-Identifier: Apache-2.0
"""What the loop asks of a family: arrays of a sample, figures of a split, a fit of the doubt."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import torch

from geoloc_core.errors import ConfigError
from geoloc_core.models.network import Network
from training.calibration_fit import Fit
from training.loading import Prepare


class AbstractFamily(ABC):
    """One family of networks (`geoloc_core.models.network` says how to add one).

    Attributes:
        METRICS: Figures of a validation, all of which `figures` gives.
        INDEXED: Whether batches say which sample of the data set each row is, `index` (B,) int64.
    """

    METRICS: ClassVar[tuple[str, ...]]
    INDEXED: ClassVar[bool] = True

    @abstractmethod
    def preparation(self, model: Network, extras: tuple[str, ...]) -> Prepare:
        """What turns a sample into arrays.

        Args:
            model: Says what it is fed.
            extras: Further arrays that an objective asks for.

        Raises:
            ConfigError: An extra that this family does not have.
        """

    @abstractmethod
    def measure(self, model: Network, batches: Iterable[Any], device: torch.device) -> list[Any]:
        """Runs a network over batches, in evaluation mode and without gradients.

        Returns:
            What `figures` is made of, batch by batch; plain values that processes can exchange.
        """

    @abstractmethod
    def figures(self, parts: Sequence[Any]) -> dict[str, float]:
        """Name -> value of the whole split, at least `METRICS`.

        Args:
            parts: Of `measure`, of all processes.

        Raises:
            DataError: Not one sample could be read.
        """

    def fit(
        self, model: Network, batches: Iterable[Any], device: torch.device, samples: int
    ) -> Fit:
        """Fits `model.calibration` in place; a family whose answers state no doubt has nothing to.

        Args:
            model: Trained.
            batches: Of validation data.
            device: Of the model.
            samples: At most so many are looked at.
        """
        return Fit(0, float('nan'), float('nan'))

    def require_metric(self, name: str) -> None:
        """Refuses to choose the best weights by a figure that there will be none of.

        Raises:
            ConfigError: Says which there are.
        """
        if name not in self.METRICS:
            raise ConfigError(
                f'validate.metric: {name!r} is not measured for this system: choose one of '
                f'{", ".join(self.METRICS)}'
            )
