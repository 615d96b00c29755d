# SPDX-License-Identifier: Apache-2.0
"""Samples that must share a batch: frames some steps apart, pictures of overlapping places."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np


class Companions(ABC):
    """A rule that gives each sample those that come into its batch with it.

    A batch of B rows then holds B / size groups, anchor first. A sample that cannot be read is
    missing from its batch, so an objective finds its pairs by `batch['index']`, never by row.

    Attributes:
        size: Rows of a group, the anchor counted.
    """

    size: int

    @abstractmethod
    def of(self, place: int, rng: np.random.Generator) -> Sequence[int]:
        """The `size` - 1 places that accompany one; they may repeat, and may be drawn.

        Args:
            place: Of the anchor in the selection of the data set that is learned from.
            rng: Depends on (seed, epoch, place) alone.
        """
