# SPDX-License-Identifier: Apache-2.0
"""An ONNX graph whose multiplications by weights are done in eight bits (static, QDQ).

Ranges come from pictures of the training split: of each activation the magnitude that all but one
in ten thousand of its numbers stay below, for one number far out would make all others coarse.
Weights (a range a channel) and activations are symmetric about 0, and only what goes into a
multiplication is rounded, not what comes out: that is how TensorRT wants it. Correlations, sums
and coordinates stay in single precision.
"""

from collections.abc import Iterable, Mapping
import logging
from pathlib import Path
import tempfile
from typing import Any

import numpy as np
from numpy.typing import NDArray
import onnx
from onnx import helper, TensorProto

from geoloc_core.errors import BundleError, DataError
from geoloc_core.runtime.onnx_engine import OnnxEngine
from training.onnx_graph import quietly, without_notes

# A matrix with a side shorter than this is geometry, whose numbers want all their digits.
_LEAST_SIDE = 8
_MULTIPLY = ('Conv', 'MatMul', 'Gemm')
_KEPT_PERCENT = 99.99
# Of an activation that was 0 on all pictures.
_LEAST_RANGE = 1e-6


def to_int8(graph: bytes, pictures: Iterable[Mapping[str, NDArray]]) -> tuple[bytes, int]:
    """A graph of single precision with eight-bit multiplications.

    Args:
        graph: Content of a .onnx file, as `onnx_graph.graph_of` makes them.
        pictures: Inputs by name, to take the ranges from.

    Returns:
        Content of the new file, and how many of its operations are in eight bits.

    Raises:
        BundleError: onnxruntime cannot do it, or nothing in it could be.
        DataError: There are no pictures.
    """
    fed = [dict(arrays) for arrays in pictures]
    if not fed:
        raise DataError('there are no pictures to take the ranges of int8 from')
    model = onnx.load_from_string(graph)
    chosen = _named_multiplications(model)
    if not chosen:
        raise BundleError('the graph has no multiplication by weights that int8 could do')
    ranges = _ranges(model, set(chosen), fed)
    with tempfile.TemporaryDirectory(prefix='geoloc-int8-') as folder:
        source, made = Path(folder, 'single.onnx'), Path(folder, 'int8.onnx')
        source.write_bytes(model.SerializeToString())
        disabled = logging.root.manager.disable
        try:
            # It advises steps that the exporter has done already.
            logging.disable(logging.WARNING)
            with quietly():
                _quantize(source, made, chosen, ranges, fed[0])
        except Exception as error:  # onnxruntime's tools have no common base for their errors
            raise BundleError(f'onnxruntime cannot quantize the graph: {error}') from error
        finally:
            logging.disable(disabled)
        content: bytes = without_notes(onnx.load(str(made))).SerializeToString()
    return content, len(chosen)


def _ranges(
    model: onnx.ModelProto, chosen: set[str], fed: list[dict[str, NDArray]]
) -> dict[str, float]:
    """Name of each value that is multiplied with weights -> the magnitude that it is cut at."""
    names = sorted({node.input[0] for node in model.graph.node if node.name in chosen})
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    inputs = {each.name for each in model.graph.input}
    inside = [name for name in names if name not in inputs]
    del shown.graph.output[:]
    shown.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in inside
    )
    engine = OnnxEngine(shown.SerializeToString())
    wanted = set(engine.inputs)
    found = dict.fromkeys(names, _LEAST_RANGE)
    for arrays in fed:
        said = engine.run({n: v for n, v in arrays.items() if n in wanted}) if inside else {}
        for name in names:
            values = np.abs(said[name] if name in said else arrays[name])
            found[name] = max(found[name], float(np.percentile(values, _KEPT_PERCENT)))
    return found


def _quantize(
    source: Path,
    made: Path,
    chosen: list[str],
    ranges: dict[str, float],
    first: dict[str, NDArray],
) -> None:
    # Imported here: it is slow to load, and only int8 needs it.
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        quantize_static,
        QuantType,
    )

    class First(CalibrationDataReader):
        """It insists on finding ranges itself; they are replaced by ours."""

        def __init__(self) -> None:
            self.left = iter([first])

        def get_next(self) -> dict[str, Any] | None:
            return next(self.left, None)

    quantize_static(
        str(source),
        str(made),
        First(),
        quant_format=QuantFormat.QDQ,
        nodes_to_quantize=chosen,
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        extra_options={
            'ActivationSymmetric': True,
            'WeightSymmetric': True,
            # A bias of 32 bits has a scale of its own, which TensorRT does not take.
            'QuantizeBias': False,
            'OpTypesToExcludeOutputQuantization': list(_MULTIPLY),
            'TensorQuantOverrides': {
                name: [{'rmin': np.float32(-limit), 'rmax': np.float32(limit)}]
                for name, limit in ranges.items()
            },
        },
    )


def _named_multiplications(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes to be done in eight bits; nodes without a name get one."""
    sides = {t.name: list(t.dims) for t in model.graph.initializer}
    chosen = []
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f'{node.op_type}_{number}'
        if len(node.input) < 2 or node.domain or node.input[0] in sides:
            continue
        shape = sides.get(node.input[1], [])
        if node.op_type not in _MULTIPLY or not shape:
            continue
        if node.op_type == 'Conv' or (len(shape) == 2 and min(shape) >= _LEAST_SIDE):
            chosen.append(node.name)
    return chosen
