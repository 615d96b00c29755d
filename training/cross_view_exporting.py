# SPDX-License-Identifier: Apache-2.0
"""Bundles of networks that answer with a volume of poses."""

from collections.abc import Iterator, Mapping
import math
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from geoloc_core.errors import BundleError
from geoloc_core.export_record import ExportRecord, TensorRecord
from geoloc_core.input_spec import RasterSpec
from geoloc_core.models.base import CrossViewModel, normalise
from geoloc_core.models.belief import Belief, evenly_spaced_yaws, peak_pose
from geoloc_core.runtime.bundle import ModelBundle
from geoloc_core.runtime.parity import Figures, VOLUME, volume_difference
from geoloc_core.spec import FORMAT, ModelSpec, OutputSpec
from training.export_subject import AbstractSubject, Answers, Arrays, digest, Limits, TRUTH
from training.onnx_graph import (
    eager_logits,
    OPSET,
    OUTPUT,
    own_yaws,
    predicting,
    random_inputs,
    takes_yaws,
    to_onnx,
    YAWS,
)

# Bins that a graph which takes them was not traced with.
_OTHER_YAWS = (7, 17.0)


class CrossViewSubject(AbstractSubject):
    """A `CrossViewModel` on its way into a bundle."""

    UNITS: ClassVar[Mapping[str, str]] = VOLUME
    LIMITS: ClassVar[Mapping[str, Limits]] = {
        'fp32': Limits(
            {'log-probability': 0.02, 'probability': 0.01, 'position': 0.02, 'yaw': 0.1}, 'worst'
        ),
        'fp16': Limits(
            {'log-probability': 1.0, 'probability': 0.05, 'position': 0.2, 'yaw': 1.0}, 'worst'
        ),
        # One view in many has two places to choose from, and a grain of sand tips the scales.
        'int8': Limits(
            {'log-probability': 1.5, 'probability': 0.15, 'position': 0.5, 'yaw': 2.0}, 'median'
        ),
    }
    SHARED: ClassVar[tuple[str, ...]] = (YAWS,)

    def __init__(self, model: CrossViewModel) -> None:
        """See `AbstractSubject`."""
        super().__init__(model)
        if model.EXTRA_INPUTS:
            raise BundleError(
                f'{model.NAME} as it was set up asks for {", ".join(model.EXTRA_INPUTS)}, which a '
                'robot does not have: train it with settings that do without'
            )
        self.output = output_spec(model, self.noise(0))

    @property
    def text(self) -> str:
        """See `AbstractSubject`."""
        out = self.output
        asked = ' (or those it is asked for)' if out.yaw_input else ''
        return (
            f'{out.yaw_bins} yaws within +-{out.yaw_half_range_deg:g} degrees{asked}, '
            f'{out.width} x {out.height} cells of {out.gsd:.4g} m'
        )

    def graph(self, batch: int) -> bytes:
        """See `AbstractSubject`."""
        return to_onnx(self.model, random_inputs(self.model), batch)

    def noise(self, seed: int) -> Arrays:
        """See `AbstractSubject`."""
        inputs = self.model.inputs
        arrays = random_inputs(self.model, seed=seed)
        return {name: arrays[name] for name in (inputs.view.name, inputs.patch.name)}

    def sample(self, tensors: Mapping[str, Tensor]) -> Arrays:
        """See `AbstractSubject`."""
        inputs = self.model.inputs
        made = {
            inputs.view.name: normalise(tensors['view'], tensors['view_mask'], inputs.view),
            inputs.patch.name: normalise(tensors['patch'], tensors['patch_mask'], inputs.patch),
        }
        if 'truth' in tensors:
            made[TRUTH] = tensors['truth']
        return made

    def cases(self, sample: Arrays) -> Iterator[Arrays]:
        """A sample as it is; if the network takes yaws, with its own and with other ones."""
        if not takes_yaws(self.model):
            yield sample
            return
        names = self.model.inputs.view.name, self.model.inputs.patch.name
        yield {**sample, YAWS: own_yaws(self.model, *(sample[name] for name in names))}
        yield {**sample, YAWS: evenly_spaced_yaws(*_OTHER_YAWS)}

    def answers(self, arrays: Arrays) -> Answers:
        """See `AbstractSubject`."""
        return {OUTPUT: eager_logits(self.model, arrays)}

    def difference(self, wanted: Answers, found: Answers, arrays: Arrays) -> Figures:
        """See `AbstractSubject`."""
        yaws = arrays[YAWS] if YAWS in arrays else self._yaws()
        return volume_difference(wanted[OUTPUT], found[OUTPUT], yaws.numpy(), self.output.gsd)

    def errors(self, answers: Answers, sample: Arrays) -> dict[tuple[str, str], float]:
        """Of the best cell, refined between its neighbours."""
        if TRUTH not in sample:
            return {}
        out, truth = self.output, sample[TRUTH][0]
        logits = torch.from_numpy(np.asarray(answers[OUTPUT], np.float32))
        closed = out.yaw_half_range_deg >= 180.0
        pose = peak_pose(Belief(logits, out.gsd, self._yaws(), closed))[0]
        turn = math.remainder(float(pose[2] - truth[2]), 2 * math.pi)
        return {
            ('median position error', 'm'): math.dist(pose[:2].tolist(), truth[:2].tolist()),
            ('median yaw error', 'degrees'): math.degrees(abs(turn)),
        }

    def _yaws(self) -> Tensor:
        return evenly_spaced_yaws(self.output.yaw_bins, self.output.yaw_half_range_deg)

    def tensors(self, batch: int) -> tuple[TensorRecord, ...]:
        """See `AbstractSubject`."""
        inputs, out, rows = self.model.inputs, self.output, batch or -1
        made = [
            TensorRecord(r.name, (rows, r.channels, r.height, r.width), picture(r))
            for r in (inputs.view, inputs.patch)
        ]
        bins = out.yaw_bins
        if out.yaw_input:
            bins = -1
            made.append(TensorRecord(out.yaw_input, (-1,), 'rad, offsets to be scored, 3 or more'))
        volume = f'{out.meaning} over yaw, row (north to south) and column; {out.gsd:g} m a cell'
        return (*made, TensorRecord(OUTPUT, (rows, bins, out.height, out.width), volume))

    def bundle(
        self, graph: bytes, licence: str, record: ExportRecord, sample: bytes
    ) -> ModelBundle:
        """See `AbstractSubject`."""
        name, inputs = self.model.NAME, self.model.inputs
        spec = ModelSpec(FORMAT, name, licence, digest(graph), OPSET, inputs, self.output, record)
        return ModelBundle(Path(f'the bundle of {name}'), spec, graph, sample)


def picture(raster: RasterSpec) -> str:
    """Range and normalisation of a picture's input, in words."""
    mean, std = ('[' + ', '.join(f'{v:.4g}' for v in vs) + ']' for vs in (raster.mean, raster.std))
    mask = '; last channel 1 where there is content, else 0' if raster.with_mask else ''
    return f'(rgb / 255 - {mean}) / {std} of 8-bit RGB, 0 without content{mask}'


def output_spec(model: CrossViewModel, arrays: Mapping[str, Tensor]) -> OutputSpec:
    """Describes a network's answer.

    Args:
        model: Any.
        arrays: Inputs of one sample.

    Raises:
        BundleError: Its bins of yaw are not ones that a `ModelSpec` can name.
    """
    with predicting(model):
        names = model.inputs.view.name, model.inputs.patch.name
        belief = model.belief(model(*(arrays[name] for name in names)))
    bins, height, width = belief.logits.shape[1:]
    yaws = belief.yaws.double().cpu()
    half = 180.0 if belief.closed else round(math.degrees(float(yaws[..., -1].max())), 4)
    described = evenly_spaced_yaws(bins, half).double()
    if yaws.dim() != 1 or not torch.allclose(yaws, described, atol=1e-4):
        raise BundleError(
            f'{model.NAME} answers on yaws from {float(yaws.min()):.4f} to '
            f'{float(yaws.max()):.4f} rad that are not spread evenly over +-{half:g} degrees: '
            'a specification cannot describe them (`evenly_spaced_yaws` gives ones that it can)'
        )
    # Calibration is inside the graph: nothing is left to divide by.
    yaw_input = YAWS if takes_yaws(model) else ''
    return OutputSpec(
        OUTPUT, 'log_likelihood', bins, half, yaw_input, width, height, belief.cell_m, 1.0
    )
