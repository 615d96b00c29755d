# SPDX-License-Identifier: Apache-2.0
"""A cross-view network as an ONNX graph: pictures in, the volume's logits out."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
import io
import logging
import warnings

import numpy as np
import onnx
import torch
from torch import nn, Tensor

from geoloc_core.errors import BundleError
from geoloc_core.models.base import CrossViewModel

# The first with grid_sample as torch means it; what TensorRT-RTX and onnxruntime read.
OPSET = 20
OUTPUT = 'logits'
YAWS = 'yaws'


def takes_yaws(model: CrossViewModel) -> bool:
    """Whether a network scores whatever yaws it is asked for.

    Such a network has `takes_yaws = True` and a keyword `yaws` (K,) rad of `forward`, absent for
    its own bins.
    """
    return bool(getattr(model, 'takes_yaws', False))


class LogitsOf(nn.Module):
    """A network as robots run it: `forward` and `belief` in one, logits only."""

    def __init__(self, model: CrossViewModel) -> None:
        """Takes the network."""
        super().__init__()
        self.model = model
        self.names = [*model.EXTRA_INPUTS, *([YAWS] if takes_yaws(model) else [])]

    def forward(self, view: Tensor, patch: Tensor, *extra: Tensor) -> Tensor:
        """(B, K, h, w) logits; `extra` in the order of `names`."""
        outputs = self.model(view, patch, **dict(zip(self.names, extra, strict=True)))
        return self.model.belief(outputs).logits


def own_yaws(model: CrossViewModel, view: Tensor, patch: Tensor) -> Tensor:
    """(K,) rad: the bins that a network answers on by itself."""
    with predicting(model):
        return model.belief(model(view, patch)).yaws.float()


def random_inputs(
    model: CrossViewModel, extras: Mapping[str, Tensor] | None = None, seed: int = 0
) -> dict[str, Tensor]:
    """One sample of noise for a network, by the names of its graph's inputs.

    Args:
        model: Any.
        extras: Its `EXTRA_INPUTS`; bins of yaw are made where a network takes them.
        seed: Of the noise.
    """
    generator = torch.Generator().manual_seed(seed)
    arrays = {}
    for raster in (model.inputs.view, model.inputs.patch):
        shape = (1, raster.channels, raster.height, raster.width)
        arrays[raster.name] = torch.randn(shape, generator=generator)
        if raster.with_mask:
            arrays[raster.name][:, -1] = 1.0
    arrays.update(extras or {})
    if takes_yaws(model) and YAWS not in arrays:
        names = model.inputs.view.name, model.inputs.patch.name
        arrays[YAWS] = own_yaws(model, *(arrays[name] for name in names))
    return arrays


def to_onnx(model: CrossViewModel, arrays: Mapping[str, Tensor], batch: int = 1) -> bytes:
    """The graph of `belief(forward(...)).logits`, weights inside.

    Args:
        model: In any mode; it is traced as it predicts (`eval`).
        arrays: One sample by name, see `random_inputs`; only the shapes count.
        batch: Samples that the graph takes at a time; 0 for any number.

    Returns:
        Content of a .onnx file; all shapes are fixed but an open batch, and the number of yaws of
        a network that takes them.

    Raises:
        BundleError: Something in the network has no ONNX form.
    """
    module = LogitsOf(model)
    names = [model.inputs.view.name, model.inputs.patch.name, *module.names]
    many = batched({name: arrays[name] for name in names}, batch, shared=(YAWS,))
    axes: dict[str, object] = dict.fromkeys(names, open_batch(batch))
    if takes_yaws(model):
        axes[YAWS] = {0: torch.export.Dim('yaw_bins', min=3, max=4096)}
    shapes: dict[str, object] | None = None
    if any(axes.values()):
        view, patch, *extra = (axes[name] for name in names)
        shapes = {'view': view, 'patch': patch, **({'extra': tuple(extra)} if extra else {})}
    arguments = tuple(many[name] for name in names)
    return graph_of(module, arguments, names, [OUTPUT], model.NAME, shapes)


def batched(
    arrays: Mapping[str, Tensor], batch: int, shared: Collection[str] = ()
) -> dict[str, Tensor]:
    """One sample in a batch that a graph is traced with: all rows alike but for a factor.

    Args:
        arrays: (1, ...) by name.
        batch: Rows; 0 (any number) is traced with two, for one is taken for a constant.
        shared: Names of arrays without a batch.
    """
    rows = batch or 2
    return {
        name: value if name in shared else torch.cat([value * (k + 1) / rows for k in range(rows)])
        for name, value in arrays.items()
    }


def open_batch(batch: int) -> dict[int, object] | None:
    """The free axis of an input of a graph that takes any number of samples (0), else None.

    One is a number like others to a graph, but tracing takes it for a case of its own.
    """
    return None if batch else {0: torch.export.Dim('batch', min=2, max=1024)}


def graph_of(
    module: nn.Module,
    arguments: tuple[Tensor, ...],
    inputs: list[str],
    outputs: list[str],
    name: str,
    dynamic_shapes: dict[str, object] | None = None,
) -> bytes:
    """A module as the content of a .onnx file.

    Args:
        module: In any mode; it is traced as it predicts (`eval`).
        arguments: Of its `forward`; only the shapes count.
        inputs: Names of those.
        outputs: Names of what it returns.
        name: Of the system, for errors.
        dynamic_shapes: As `torch.onnx.export` wants them; None fixes all shapes.

    Raises:
        BundleError: Something in the network has no ONNX form.
    """
    with predicting(module), quietly():
        try:
            program = torch.onnx.export(
                module,
                arguments,
                dynamo=True,
                opset_version=OPSET,
                input_names=inputs,
                output_names=outputs,
                dynamic_shapes=dynamic_shapes,
                external_data=False,
                verbose=False,
            )
        except Exception as error:  # torch has many, without a common base
            raise BundleError(
                f'{name} cannot be turned into an ONNX graph: {str(error)[:2000]}'
            ) from error
    assert program is not None
    content: bytes = without_notes(program.model_proto).SerializeToString()
    return content


def without_notes(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The graph without what exporters note: where operations came from, with paths of files."""
    values = (graph.graph.input, graph.graph.output, graph.graph.value_info)
    for part in (graph.graph, *graph.graph.node, *(v for group in values for v in group)):
        del part.metadata_props[:]
        part.doc_string = ''
    del graph.metadata_props[:]
    # Shapes of what flows inside are found anew by every runtime.
    del graph.graph.value_info[:]
    return graph


def eager_logits(model: CrossViewModel, arrays: Mapping[str, Tensor]) -> np.ndarray:
    """What the network itself answers, (1, K, h, w) float32."""
    module = LogitsOf(model)
    names = [model.inputs.view.name, model.inputs.patch.name, *module.names]
    with predicting(model):
        logits: Tensor = module(*(arrays[name] for name in names))
    return logits.float().cpu().numpy()


def relative_difference(wanted: np.ndarray, found: np.ndarray) -> float:
    """Largest difference of two answers, as a share of the range of the first.

    Raises:
        BundleError: Other shapes, numbers that are not finite, or an answer without any range.
    """
    if wanted.shape != found.shape:
        raise BundleError(f'the graph answers with {found.shape}, the network with {wanted.shape}')
    if not (np.isfinite(wanted).all() and np.isfinite(found).all()):
        raise BundleError('the logits are not all finite: there is nothing to compare')
    span = float(wanted.max() - wanted.min())
    if span == 0.0:
        raise BundleError('the network answers the same everywhere: there is nothing to compare')
    return float(np.abs(wanted.astype(np.float64) - found).max()) / span


@contextmanager
def predicting(model: nn.Module) -> Iterator[None]:
    """`eval` and no gradients inside; the modes of all parts come back."""
    modes = {part: part.training for part in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, mode in modes.items():
            part.training = mode


@contextmanager
def quietly() -> Iterator[None]:
    """The exporter tells of its every step; what matters comes as an exception."""
    loggers = [logging.getLogger(name) for name in ('torch.onnx', 'torch.export', 'onnxscript')]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter('ignore')
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
