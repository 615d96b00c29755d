# SPDX-License-Identifier: Apache-2.0
"""Something that runs weights: named arrays in, named arrays out."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from numpy.typing import NDArray

Shape = tuple[int, ...]


class AbstractEngine(ABC):
    """A loaded network. Threads may not share one."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The runtime and device, for people."""

    @property
    @abstractmethod
    def inputs(self) -> Mapping[str, Shape]:
        """Name -> shape of each input; -1 where any size is taken."""

    @property
    @abstractmethod
    def outputs(self) -> Mapping[str, Shape]:
        """Name -> shape of each output; -1 where it depends on the inputs."""

    @abstractmethod
    def run(self, arrays: Mapping[str, NDArray]) -> dict[str, NDArray]:
        """Runs the network once.

        Args:
            arrays: Input name -> float32 array.

        Returns:
            Output name -> array.

        Raises:
            BundleError: The arrays are not what the network takes.
        """
