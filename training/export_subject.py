# SPDX-License-Identifier: Apache-2.0
"""What the families of networks differ in when one of them becomes a bundle."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
import hashlib
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from geoloc_core.export_record import ExportRecord, TensorRecord
from geoloc_core.runtime.parity import Figures

# One sample: inputs of the graph (1, ...) by name, and under the names below what is known of it.
Arrays = dict[str, Tensor]
# What a network or a graph answers, by name of the output.
Answers = dict[str, np.ndarray]
TRUTH = 'truth/'


@dataclass(frozen=True)
class Limits:
    """How far a graph may be from its network.

    Attributes:
        values: Measure -> the most that is allowed.
        held: What must keep to them: the 'worst' answer, or the 'median' of all.
    """

    values: Mapping[str, float]
    held: str


class AbstractSubject(ABC):
    """A trained network on its way into a bundle.

    Attributes:
        UNITS: Measures of `parity` that its answers are compared by, and their units.
        LIMITS: Precision -> what is allowed unless one says otherwise.
        SHARED: Inputs of the graph that are the same for all samples of a batch.
        JUDGED_TOGETHER: Whether only many answers together can be held against the truth.
        model: The network, on the CPU.
    """

    UNITS: ClassVar[Mapping[str, str]]
    LIMITS: ClassVar[Mapping[str, Limits]]
    SHARED: ClassVar[tuple[str, ...]] = ()
    JUDGED_TOGETHER: ClassVar[bool] = False

    def __init__(self, model: Any) -> None:
        """Takes the network, brought to the CPU.

        Raises:
            BundleError: It cannot be used without what a robot lacks.
        """
        self.model = model.to('cpu')

    @property
    @abstractmethod
    def text(self) -> str:
        """What the network answers with, for people."""

    @abstractmethod
    def graph(self, batch: int) -> bytes:
        """The network as the content of a .onnx file, in single precision.

        Args:
            batch: Samples at a time; 0 for any number.

        Raises:
            BundleError: Something in it has no ONNX form.
        """

    @abstractmethod
    def noise(self, seed: int) -> Arrays:
        """A sample without any picture in it."""

    @abstractmethod
    def sample(self, tensors: Mapping[str, Tensor]) -> Arrays:
        """A batch of one of the family's preparation as the graph is fed it."""

    def cases(self, sample: Arrays) -> Iterator[Arrays]:
        """The ways in which a sample is asked about; the first is the usual one."""
        yield sample

    @abstractmethod
    def answers(self, arrays: Arrays) -> Answers:
        """What the network itself says to one sample."""

    @abstractmethod
    def difference(self, wanted: Answers, found: Answers, arrays: Arrays) -> Figures:
        """How far two answers to a sample lie apart, by the measures of `UNITS`.

        Raises:
            BundleError: They cannot be compared.
        """

    def errors(self, answers: Answers, sample: Arrays) -> dict[tuple[str, str], float]:
        """(Name, unit) -> error of an answer, of samples whose truth is known."""
        return {}

    def joint_errors(
        self, answers: Sequence[Answers], samples: Sequence[Arrays]
    ) -> dict[tuple[str, str], float]:
        """The same of answers that only mean something beside each other, if `JUDGED_TOGETHER`.

        Args:
            answers: To all samples.
            samples: What is known of each: names that begin with `TRUTH`.
        """
        return {}

    @abstractmethod
    def tensors(self, batch: int) -> tuple[TensorRecord, ...]:
        """Inputs and outputs of the graph."""

    @abstractmethod
    def bundle(self, graph: bytes, licence: str, record: ExportRecord, sample: bytes) -> Any:
        """The bundle, in memory."""


def digest(graph: bytes) -> str:
    """sha256, as specifications say it."""
    return hashlib.sha256(graph).hexdigest()
