# SPDX-License-Identifier: Apache-2.0
"""Something that runs weights: named arrays in, named arrays out."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

from numpy.typing import NDArray

Shape = tuple[int, ...]


@dataclass(frozen=True)
class EngineReport:
    """What runs a network and why, for people.

    Attributes:
        running: The runtime and device that answer now.
        reason: Why it is this one.
        degraded: Whether something better was asked for and does not run.
        values: Further facts.
    """

    running: str
    reason: str = ''
    degraded: bool = False
    values: Mapping[str, str | int | float] = field(default_factory=dict)

    def __str__(self) -> str:
        """One line."""
        return f'{self.running}: {self.reason}' if self.reason else self.running


class AbstractEngine(ABC):
    """A loaded network. Threads may not share one.

    Attributes:
        reason: Why this engine was chosen, for people; set by whoever chose.
        system: Name of the network that it runs; set by the bundle that opened it.
    """

    reason: str = ''
    system: str = ''

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
            EngineError: The device that runs it has failed.
        """

    def report(self) -> EngineReport:
        """What runs and why; may be asked by any thread."""
        return EngineReport(self.name, self.reason)

    def news(self) -> tuple[str, ...]:
        """What happened to the engine since this was asked last, for people."""
        return ()

    def wait_ready(self) -> None:  # noqa: B027 - most engines are ready from the start
        """Blocks until the engine is what it is going to be."""

    def close(self) -> None:  # noqa: B027 - most engines hold nothing that must be given back
        """Gives back what it holds on a device; it is not run again."""
