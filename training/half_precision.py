# SPDX-License-Identifier: Apache-2.0
"""An ONNX graph in half precision where that does no harm, in single precision elsewhere.

Types are written down for every value, as runtimes with strong types (TensorRT) want them: what
multiplies weights becomes float16, and so do the steps between two of those; sums over many
values, softmax, norms, coordinates and whatever is fed and answered stay float32.
"""

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import helper, numpy_helper, TensorProto

from geoloc_core.errors import BundleError

# Multiply weights with values: nearly all of the work.
_HEAVY = ('Conv', 'ConvTranspose', 'Gemm', 'MatMul', 'Einsum')
# Go along with their inputs; name -> which inputs are values (None: all of them). Divisions, means
# and whatever sums over more than a small window are not here.
_LIGHT: dict[str, tuple[int, ...] | None] = {
    **dict.fromkeys(
        'Relu LeakyRelu PRelu Sigmoid HardSigmoid HardSwish Tanh Erf Gelu Elu Neg Abs Identity '
        'Add Sub Mul Max Min Clip Concat MaxPool'.split()
    ),
    **dict.fromkeys(
        'Reshape Transpose Squeeze Unsqueeze Flatten Slice Split Expand Tile Gather DepthToSpace '
        'SpaceToDepth Resize'.split(),
        (0,),
    ),
    'Pad': (0, 2),
    'Where': (1, 2),
}
# A matrix with a side shorter than this is geometry, whose numbers are not small.
_LEAST_SIDE = 8
# What float16 holds with all its digits; constants outside (1e-12 against division by nothing,
# say) would become something else.
_SMALLEST, _LARGEST = 6.2e-5, 6.0e4


def to_half(graph: bytes) -> tuple[bytes, int]:
    """A graph of single precision in half precision.

    Args:
        graph: Content of a .onnx file, as `onnx_graph.graph_of` makes them.

    Returns:
        Content of the new file, and how many of its operations are in half precision.

    Raises:
        BundleError: Nothing in it could be.
    """
    model = onnx.load_from_string(graph)
    converted = _Converter(model)
    count = converted.run()
    if count == 0:
        raise BundleError('the graph has no operation that could be in half precision')
    content: bytes = model.SerializeToString()
    return content, count


class _Converter:
    """Walks the graph once, in its order, and writes each node anew."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = model.graph
        self._lift_constants()
        self.constants = {t.name: t for t in self.graph.initializer}
        self.floats = self._floats(model)
        # Value -> its name in half precision: made by a node, or by a cast.
        self.made: dict[str, str] = {}
        self.cast: dict[str, str] = {}
        self.restored: set[str] = set()
        self.nodes: list[onnx.NodeProto] = []

    def run(self) -> int:
        """Converts in place; how many nodes were."""
        count = 0
        for node in list(self.graph.node):
            places = self._places(node)
            if places:
                self._convert(node, places)
                count += 1
            else:
                for name in _read_by(node):
                    self._restore(name)
                self.nodes.append(node)
        for output in self.graph.output:
            self._restore(output.name)
        del self.graph.node[:]
        self.graph.node.extend(self.nodes)
        read = {name for node in self.nodes for name in _read_by(node)}
        read |= {output.name for output in self.graph.output}
        kept = [t for t in self.graph.initializer if t.name in read]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)
        return count

    def _lift_constants(self) -> None:
        """Constants become initializers, so that there is one way to know them."""
        kept = []
        for node in self.graph.node:
            value = next((a.t for a in node.attribute if a.name == 'value'), None)
            if node.op_type == 'Constant' and value is not None:
                tensor = TensorProto()
                tensor.CopyFrom(value)
                tensor.name = node.output[0]
                self.graph.initializer.append(tensor)
            else:
                kept.append(node)
        del self.graph.node[:]
        self.graph.node.extend(kept)

    def _floats(self, model: onnx.ModelProto) -> set[str]:
        """Names of all values of single precision."""
        inferred = onnx.shape_inference.infer_shapes(model).graph
        values = (*inferred.value_info, *inferred.input, *inferred.output)
        known = {v.name: v.type.tensor_type.elem_type for v in values}
        known.update({t.name: t.data_type for t in self.graph.initializer})
        return {name for name, kind in known.items() if kind == TensorProto.FLOAT}

    def _places(self, node: onnx.NodeProto) -> tuple[int, ...]:
        """Inputs of a node that shall be in half precision; none for a node that stays."""
        if node.domain or node.output[0] not in self.floats:
            return ()
        wanted = _LIGHT.get(node.op_type) if node.op_type in _LIGHT else None
        if node.op_type not in (*_HEAVY, *_LIGHT):
            return ()
        every = range(len(node.input)) if wanted is None else wanted
        places = tuple(i for i in every if i < len(node.input) and node.input[i] in self.floats)
        values = [node.input[i] for i in places if node.input[i] not in self.constants]
        fixed = [node.input[i] for i in places if node.input[i] in self.constants]
        if node.op_type in _HEAVY:
            good = self._weighs(node) or all(name in self.made for name in values)
        else:
            good = all(name in self.made for name in values)
            good = good and all(_fits(self.constants[name]) for name in fixed)
        return places if good and values else ()

    def _weighs(self, node: onnx.NodeProto) -> bool:
        """Whether a node multiplies with learned weights, not with a small matrix of geometry."""
        for name in node.input[:2]:
            sides = list(self.constants[name].dims) if name in self.constants else []
            if node.op_type in ('Conv', 'ConvTranspose'):
                if sides:
                    return True
            elif len(sides) >= 2 and min(sides[-2:]) >= _LEAST_SIDE:
                return True
        return False

    def _convert(self, node: onnx.NodeProto, places: tuple[int, ...]) -> None:
        new = onnx.NodeProto()
        new.CopyFrom(node)
        for i, name in enumerate(node.input):
            if i in places:
                new.input[i] = self._half(name)
            else:
                self._restore(name)
        for i, name in enumerate(node.output):
            if name in self.floats:
                self.made[name] = new.output[i] = f'{name}_half'
        self.nodes.append(new)

    def _half(self, name: str) -> str:
        """The name of a value in half precision; brought there if need be."""
        if name in self.made:
            return self.made[name]
        if name not in self.cast:
            self.cast[name] = f'{name}_as_half'
            if name in self.constants:
                values = numpy_helper.to_array(self.constants[name]).astype(np.float16)
                self.graph.initializer.append(numpy_helper.from_array(values, self.cast[name]))
            else:
                self._cast(name, self.cast[name], TensorProto.FLOAT16)
        return self.cast[name]

    def _restore(self, name: str) -> None:
        """Makes sure that a value is there in single precision."""
        if name in self.made and name not in self.restored:
            self.restored.add(name)
            self._cast(self.made[name], name, TensorProto.FLOAT)

    def _cast(self, source: str, target: str, kind: int) -> None:
        self.nodes.append(
            helper.make_node('Cast', [source], [target], name=f'{target}_cast', to=kind)
        )


def _read_by(node: onnx.NodeProto) -> Iterator[str]:
    """Names of all values that a node reads, also inside its branches and loops."""
    yield from node.input
    for attribute in node.attribute:
        for inner in (attribute.g, *attribute.graphs):
            for each in inner.node:
                yield from _read_by(each)
            for output in inner.output:
                yield output.name


def _fits(constant: TensorProto) -> bool:
    """Whether half precision holds all numbers of a constant; infinities it does."""
    values = np.abs(numpy_helper.to_array(constant).astype(np.float64))
    finite = values[np.isfinite(values) & (values > 0)]
    return bool(((finite >= _SMALLEST) & (finite <= _LARGEST)).all())
