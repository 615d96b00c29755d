# SPDX-License-Identifier: Apache-2.0
"""Makes bundles of networks, and lets none out that answers otherwise than its network."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import Tensor

from geoloc_core.errors import BundleError, ConfigError, DataError
from geoloc_core.export_record import AccuracyFigure, ExportRecord
from geoloc_core.runtime.engine import AbstractEngine
from geoloc_core.runtime.onnx_engine import OnnxEngine
from geoloc_core.runtime.parity import Figures, figures_of
from geoloc_core.runtime.parity_sample import ParitySample
from training.export_subject import AbstractSubject, Answers, Arrays, Limits, TRUTH
from training.onnx_graph import batched

Say = Callable[[str], None]
# Rows of a graph that takes any number: it must answer alike in all of these.
_TRIED_ROWS = (1, 2, 3)


@dataclass(frozen=True)
class Making:
    """How a bundle is to be made, and what is to be said of it.

    Attributes:
        precision: One of `export_record.PRECISIONS`.
        batch: Samples at a time; 0 for any number.
        licence: SPDX name of the weights' licence.
        tolerances: Measure -> what is allowed, where it is not what is usual.
        training_data: What the weights were trained on.
        calibration: How their confidence was calibrated.
        compared_on: Where the samples of the comparison come from.
        quantized_on: Where the pictures that set the ranges of int8 come from.
    """

    precision: str = 'fp32'
    batch: int = 1
    licence: str = 'Apache-2.0'
    tolerances: Mapping[str, float] = field(default_factory=dict)
    training_data: str = ''
    calibration: str = ''
    compared_on: str = 'noise'
    quantized_on: str = ''


@dataclass
class Comparison:
    """What came out of giving network and graph the same inputs.

    Attributes:
        differences: Of each answer.
        network: (Name, unit) -> errors of the network, where the truth is known.
        bundle: The same of the graph.
        first: The first input and the network's answer to it.
        together: What is known of each sample, and the answers of network and graph to it; of
            subjects that are `JUDGED_TOGETHER` alone.
    """

    differences: list[Figures] = field(default_factory=list)
    network: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    bundle: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    first: ParitySample | None = None
    together: list[tuple[Arrays, Answers, Answers]] = field(default_factory=list)

    def accuracy(self) -> tuple[AccuracyFigure, ...]:
        """Medians of the errors."""
        return tuple(
            AccuracyFigure(*key, float(np.median(errors)), float(np.median(self.bundle[key])))
            for key, errors in self.network.items()
        )

    @property
    def judged(self) -> int:
        """Samples whose truth is known."""
        if self.together and self.network:
            return len(self.together)
        return max((len(errors) for errors in self.network.values()), default=0)


def make_bundle(
    subject: AbstractSubject,
    samples: Iterable[Arrays],
    making: Making | None = None,
    pictures: Iterable[Arrays] = (),
    say: Say = lambda _: None,
) -> Any:
    """A bundle in memory, compared with its network.

    Args:
        subject: The network, trained and calibrated.
        samples: What to compare on.
        making: How it is to be made.
        pictures: Of the training split, for the ranges of int8.
        say: Told what is being done.

    Returns:
        The bundle of the network's family; its specification's `export` says how far it is from
        the network.

    Raises:
        BundleError: It cannot be a graph, its answer cannot be described, or the graph differs
            from the network by more than is allowed.
        ConfigError: A tolerance of an unknown measure.
        DataError: There are no samples, or no pictures for int8.
    """
    making = making or Making()
    limits = _limits(subject, making)
    name = subject.model.NAME
    say(f'tracing {name} ...')
    single = subject.graph(making.batch)
    graph, quantized = _in_precision(subject, single, making, pictures, say)
    say(f'{making.precision}: {len(graph) / 1e6:.1f} MB')
    engine = OnnxEngine(graph, threads=1)
    _require_batch(subject, engine, making.batch)
    found = compare(subject, engine, samples, making.batch, say)
    assert found.first is not None
    record = ExportRecord(
        precision=making.precision,
        batch=making.batch,
        training_data=making.training_data,
        calibration=making.calibration,
        quantized_on=making.quantized_on if quantized else '',
        quantized_samples=quantized,
        compared_on=making.compared_on,
        compared=len(found.differences),
        parity=figures_of(found.differences, subject.UNITS, limits.values, limits.held),
        accuracy=found.accuracy(),
        accuracy_samples=found.judged,
        tensors=subject.tensors(making.batch),
    )
    if record.broken:
        raise BundleError(
            f'the graph of {name} ({making.precision}) does not answer like the network: '
            f'{"; ".join(str(f) for f in record.broken)}, compared on {record.compared} answers: '
            'nothing is written'
        )
    return subject.bundle(graph, making.licence, record, found.first.to_bytes())


def compare(
    subject: AbstractSubject,
    engine: AbstractEngine,
    samples: Iterable[Arrays],
    batch: int = 1,
    say: Say = lambda _: None,
) -> Comparison:
    """Gives network and graph the same inputs.

    Args:
        subject: The network.
        engine: The graph.
        samples: Inputs.
        batch: Samples that the graph takes at a time; 0 for any number.
        say: Told how far it has come.

    Raises:
        BundleError: Other shapes, or numbers that are not finite.
        DataError: There are no samples.
    """
    made = Comparison()
    for number, sample in enumerate(samples):
        for k, arrays in enumerate(subject.cases(sample)):
            fed = {name: value for name, value in arrays.items() if not name.startswith(TRUTH)}
            wanted = subject.answers(fed)
            rows = batch or _TRIED_ROWS[len(made.differences) % len(_TRIED_ROWS)]
            said = _asked(engine, fed, rows, subject.SHARED)
            made.differences.append(subject.difference(wanted, said, arrays))
            if made.first is None:
                made.first = ParitySample({n: v.numpy() for n, v in fed.items()}, wanted)
            if k == 0:
                _note(made.network, subject.errors(wanted, sample))
                _note(made.bundle, subject.errors(said, sample))
            if k == 0 and subject.JUDGED_TOGETHER:
                known = {name: value for name, value in sample.items() if name not in fed}
                made.together.append((known, wanted, said))
        if number % 8 == 7:
            say(f'compared on {number + 1} samples ...')
    if not made.differences:
        raise DataError('there are no samples to compare the graph with its network on')
    if made.together:
        truths, network, bundle = zip(*made.together, strict=True)
        _note(made.network, subject.joint_errors(network, truths))
        _note(made.bundle, subject.joint_errors(bundle, truths))
    return made


def _asked(
    engine: AbstractEngine, fed: Mapping[str, Tensor], rows: int, shared: tuple[str, ...]
) -> Answers:
    """The graph's answer to one sample, which is the last row of a batch of others."""
    many = batched(fed, rows, shared)
    # What a graph does not use is no input of it.
    said = engine.run({name: many[name].numpy() for name in engine.inputs})
    return {name: value[-1:] for name, value in said.items()}


def _note(
    kept: dict[tuple[str, str], list[float]], errors: Mapping[tuple[str, str], float]
) -> None:
    for key, value in errors.items():
        kept.setdefault(key, []).append(value)


def _require_batch(subject: AbstractSubject, engine: AbstractEngine, batch: int) -> None:
    """Refuses a graph of another batch than was asked for: tracing may settle on its example's."""
    for name, shape in engine.inputs.items():
        if name not in subject.SHARED and shape[0] != (batch or -1):
            raise BundleError(
                f'{subject.model.NAME} becomes a graph for {shape[0]} samples at a time, not for '
                f'{batch or "any number"}: something in it asks how many there are (say '
                '`x.shape[0]`, not `len(x)`); export it for a fixed number'
            )


def _limits(subject: AbstractSubject, making: Making) -> Limits:
    if making.precision not in subject.LIMITS:
        raise ConfigError(f'--precision {making.precision}: expected fp32, fp16 or int8')
    usual = subject.LIMITS[making.precision]
    unknown = sorted(set(making.tolerances) - set(usual.values))
    if unknown:
        raise ConfigError(
            f'--tolerance {unknown[0]}: no such measure; {subject.model.NAME} is compared by '
            f'{", ".join(usual.values)}'
        )
    return replace(usual, values={**usual.values, **making.tolerances})


def _in_precision(
    subject: AbstractSubject,
    single: bytes,
    making: Making,
    pictures: Iterable[Arrays],
    say: Say,
) -> tuple[bytes, int]:
    """The graph in the precision asked for, and how many pictures set its ranges."""
    if making.precision == 'fp32':
        return single, 0
    # Imported here: neither is needed for single precision.
    if making.precision == 'fp16':
        from training.half_precision import to_half

        graph, count = to_half(single)
        say(f'{count} operations in half precision')
        return graph, 0
    every = list(pictures)
    say(f'ranges of int8 from {len(every)} pictures ...')
    return eight_bits(subject, single, every, making.batch, say), len(every)


def eight_bits(
    subject: AbstractSubject,
    single: bytes,
    pictures: Iterable[Arrays],
    batch: int = 1,
    say: Say = lambda _: None,
) -> bytes:
    """A graph in eight bits.

    Args:
        subject: The network that it was made of.
        single: The graph in single precision.
        pictures: Of the training split.
        batch: Samples that the graph takes at a time; 0 for any number.
        say: Told how much is in eight bits.

    Raises:
        BundleError: It cannot be done.
        DataError: There are no pictures.
    """
    from training.quantization import to_int8

    names = set(OnnxEngine(single, threads=1).inputs)
    # The first way of asking is the usual one.
    asked = (next(iter(subject.cases(picture))) for picture in pictures)
    fed = (
        {n: v.numpy() for n, v in batched(a, batch or 1, subject.SHARED).items() if n in names}
        for a in asked
    )
    graph, count = to_int8(single, fed)
    say(f'{count} operations in eight bits')
    return graph
