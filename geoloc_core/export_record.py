# SPDX-License-Identifier: Apache-2.0
"""How a bundle was made and how well it keeps to its network: the `export` part of its JSON.

All families of bundles have the same part, so that one command can show and judge any of them.
"""

from dataclasses import dataclass
import math

from geoloc_core.errors import BundleError

PRECISIONS = ('fp32', 'fp16', 'int8')
ANY_BATCH = 0
_HELD = ('worst', 'median')


@dataclass(frozen=True)
class TensorRecord:
    """One input or output of the graph.

    Attributes:
        name: In the graph.
        shape: Its sides; -1 where any size is taken.
        content: Range, unit and normalisation of its numbers, for people. All are float32.
    """

    name: str
    shape: tuple[int, ...]
    content: str


@dataclass(frozen=True)
class ParityFigure:
    """How far the graph's answers lie from the network's, by one measure.

    Attributes:
        name: Of the measure, e.g. 'position'.
        unit: E.g. 'm'.
        median: Over the answers compared.
        worst: Over the same.
        tolerance: What was allowed.
        held: Which of the two had to keep to it, 'worst' or 'median'.
    """

    name: str
    unit: str
    median: float
    worst: float
    tolerance: float
    held: str

    def __post_init__(self) -> None:
        """Checks what the fields must be.

        Raises:
            BundleError: A value that cannot be.
        """
        if self.held not in _HELD:
            raise BundleError(
                f'export.parity {self.name}: held is {self.held!r}, expected {_HELD}'
            )

    @property
    def kept(self) -> bool:
        """Whether the tolerance was kept; what is no number keeps none."""
        return (self.worst if self.held == 'worst' else self.median) <= self.tolerance

    def __str__(self) -> str:
        """A few words."""
        unit = f' {self.unit}' if self.unit else ''
        return (
            f'{self.name} {self.median:.2g} (worst {self.worst:.2g}){unit}, allowed '
            f'{self.tolerance:.2g} at the {self.held}'
        )


@dataclass(frozen=True)
class AccuracyFigure:
    """An error against the truth, of the network and of what the bundle made of it.

    Attributes:
        name: E.g. 'median position error'.
        unit: E.g. 'm'.
        network: In torch, single precision.
        bundle: On the same samples.
    """

    name: str
    unit: str
    network: float
    bundle: float

    def __str__(self) -> str:
        """A few words."""
        return f'{self.name} {self.bundle:.3g} {self.unit} (network: {self.network:.3g})'


@dataclass(frozen=True)
class ExportRecord:
    """How a bundle was made.

    Attributes:
        precision: Of the graph's arithmetic, one of `PRECISIONS`. Inputs and outputs are float32
            in all of them.
        batch: Samples an inference takes; 0 for any number.
        training_data: What the weights were trained on, for people; empty where it is not known.
        calibration: How the stated confidence was brought to be true, for people.
        quantized_on: Where the pictures that set the ranges of int8 came from; empty for others.
        quantized_samples: How many there were.
        compared_on: Where the samples of the comparison came from.
        compared: Number of answers compared.
        parity: How far they lay from the network's.
        accuracy: Errors against the truth, where the samples have one.
        accuracy_samples: How many had one.
        tensors: Inputs and outputs of the graph.
    """

    precision: str
    batch: int
    training_data: str
    calibration: str
    quantized_on: str
    quantized_samples: int
    compared_on: str
    compared: int
    parity: tuple[ParityFigure, ...]
    accuracy: tuple[AccuracyFigure, ...]
    accuracy_samples: int
    tensors: tuple[TensorRecord, ...]

    def __post_init__(self) -> None:
        """Checks what the fields must be.

        Raises:
            BundleError: A value that cannot be.
        """
        if self.precision not in PRECISIONS:
            raise BundleError(
                f'export.precision is {self.precision!r}, expected one of {PRECISIONS}'
            )
        if self.batch < 0:
            raise BundleError(f'export.batch is {self.batch}, expected 1 or more, or 0 for any')
        figures = [v for p in self.parity for v in (p.median, p.worst, p.tolerance)]
        if not all(math.isfinite(value) for value in figures):
            raise BundleError('export.parity holds what is no number')

    @property
    def broken(self) -> tuple[ParityFigure, ...]:
        """The measures whose tolerance was not kept."""
        return tuple(figure for figure in self.parity if not figure.kept)


def leading(record: ExportRecord | None) -> int:
    """Samples that a bundle's graph takes at a time: what its first axis must be.

    Args:
        record: Of the bundle; None for bundles written before there were records.
    """
    return 1 if record is None else record.batch or 1
