# SPDX-License-Identifier: Apache-2.0
"""An ONNX graph whose multiplications by weights are done in eight bits (static, QDQ).

Ranges come from pictures of the training split. Both weights (a range a channel) and activations
are symmetric about 0, which is what TensorRT takes as well; correlations, sums and coordinates
stay in single precision.
"""

from collections.abc import Iterable, Mapping
import logging
from pathlib import Path
import tempfile
from typing import Any

from numpy.typing import NDArray
import onnx

from geoloc_core.errors import BundleError, DataError
from training.onnx_graph import quietly, without_notes

# A matrix with a side shorter than this is geometry, whose numbers want all their digits.
_LEAST_SIDE = 8


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
    with tempfile.TemporaryDirectory(prefix='geoloc-int8-') as folder:
        source, made = Path(folder, 'single.onnx'), Path(folder, 'int8.onnx')
        source.write_bytes(model.SerializeToString())
        disabled = logging.root.manager.disable
        try:
            # It advises steps that the exporter has done already.
            logging.disable(logging.WARNING)
            with quietly():
                _quantize(source, made, chosen, fed)
        except Exception as error:  # onnxruntime's tools have no common base for their errors
            raise BundleError(f'onnxruntime cannot quantize the graph: {error}') from error
        finally:
            logging.disable(disabled)
        content: bytes = without_notes(onnx.load(str(made))).SerializeToString()
    return content, len(chosen)


def _quantize(source: Path, made: Path, chosen: list[str], fed: list[dict[str, NDArray]]) -> None:
    # Imported here: it is slow to load, and only int8 needs it.
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        quantize_static,
        QuantType,
    )

    class Pictures(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(fed)

        def get_next(self) -> dict[str, Any] | None:
            return next(self.left, None)

    quantize_static(
        str(source),
        str(made),
        Pictures(),
        quant_format=QuantFormat.QDQ,
        nodes_to_quantize=chosen,
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
        # A bias of 32 bits has a scale of its own, which TensorRT does not take.
        extra_options={
            'ActivationSymmetric': True,
            'WeightSymmetric': True,
            'QuantizeBias': False,
        },
    )


def _named_multiplications(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes to be done in eight bits; nodes without a name get one."""
    sides = {t.name: list(t.dims) for t in model.graph.initializer}
    chosen = []
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f'{node.op_type}_{number}'
        if len(node.input) < 2 or node.domain:
            continue
        shape = sides.get(node.input[1], [])
        matrix = node.op_type in ('MatMul', 'Gemm') and len(shape) == 2
        if (node.op_type == 'Conv' and shape) or (matrix and min(shape) >= _LEAST_SIDE):
            chosen.append(node.name)
    return chosen
