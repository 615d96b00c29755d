# SPDX-License-Identifier: Apache-2.0
"""Looks into a .onnx file without any library: what a robot must know before it is run.

ONNX files are protocol buffers: records of (field number, wire type, value). Field numbers are
those of the public onnx.proto. Only what can point outside the file is followed; weights are
skipped over.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from geoloc_core.errors import BundleError

# Fields that lead from a message to further messages which may hold a tensor.
_MODEL = {7: 'graph', 25: 'function'}
_GRAPH = {1: 'node', 5: 'tensor', 15: 'sparse'}
_FUNCTION = {7: 'node'}
_NODE = {5: 'attribute'}
_ATTRIBUTE = {5: 'tensor', 6: 'graph', 10: 'tensor', 11: 'graph', 22: 'sparse', 23: 'sparse'}
_SPARSE = {1: 'tensor', 2: 'tensor'}
_BELOW = {
    'model': _MODEL,
    'graph': _GRAPH,
    'function': _FUNCTION,
    'node': _NODE,
    'attribute': _ATTRIBUTE,
    'sparse': _SPARSE,
}
_OPSET_IMPORT, _DOMAIN, _VERSION = 8, 1, 2
_NAME, _EXTERNAL_DATA, _DATA_LOCATION = 8, 13, 14
_GRAPH_OF_MODEL, _INITIALIZER, _ENDS = 7, 5, (11, 12)
_FLOAT = 1
_MAX_DEPTH = 64


@dataclass(frozen=True)
class OnnxFacts:
    """What a .onnx file says of itself.

    Attributes:
        opset: Of the standard operators; 0 if it does not say.
        external: Names of tensors whose values lie in another file.
        other_types: Names of inputs and outputs that are no tensors of float32.
    """

    opset: int
    external: tuple[str, ...]
    other_types: tuple[str, ...] = ()


def read_facts(content: bytes) -> OnnxFacts:
    """Looks through a file.

    Args:
        content: Of the .onnx file.

    Raises:
        BundleError: It ends in the middle, or is no such file.
    """
    whole = memoryview(content)
    opset = 0
    for number, value in _fields(whole):
        if number == _OPSET_IMPORT and isinstance(value, memoryview):
            imported = dict(_fields(value))
            version = imported.get(_VERSION, 0)
            if not bytes(_bytes(imported.get(_DOMAIN))) and isinstance(version, int):
                opset = version
    external = tuple(_external(whole, 'model', 0))
    return OnnxFacts(opset, external, tuple(_other_types(whole)))


def require_sound(content: bytes, opset: int) -> None:
    """Refuses a file that is cut off, of another opset, or not whole in itself.

    Args:
        content: Of the .onnx file.
        opset: That the specification names.

    Raises:
        BundleError: Says what is wrong.
    """
    facts = read_facts(content)
    if facts.external:
        raise BundleError(
            f'the model keeps {len(facts.external)} of its tensors ({facts.external[0]!r} is one) '
            'in other files: a bundle holds all of its weights itself; export it again with '
            '`python -m training.export`'
        )
    if facts.other_types:
        raise BundleError(
            f'the model has an input or output {facts.other_types[0]!r} that is not float32: '
            'export it again with `python -m training.export`'
        )
    if facts.opset != opset:
        raise BundleError(
            f'the model is of opset {facts.opset}, but its specification says {opset}: they '
            'belong to different bundles'
        )


def _external(message: memoryview, kind: str, depth: int) -> Iterator[str]:
    """Names of tensors with values elsewhere."""
    if depth > _MAX_DEPTH:
        raise BundleError('the model is nested too deeply to be one')
    if kind == 'tensor':
        named, away = '', False
        for number, value in _fields(message):
            if number == _NAME:
                named = bytes(_bytes(value)).decode('utf-8', 'replace')
            away = away or number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value == 1)
        if away:
            yield named
        return
    below = _BELOW[kind]
    for number, value in _fields(message):
        if number in below and isinstance(value, memoryview):
            yield from _external(value, below[number], depth + 1)


def _other_types(model: memoryview) -> Iterator[str]:
    """Names of inputs and outputs that are not float32; constants among the inputs are none."""
    for graph in _parts(model, _GRAPH_OF_MODEL):
        constants = {
            bytes(name) for tensor in _parts(graph, _INITIALIZER) for name in _parts(tensor, _NAME)
        }
        for number, value in _fields(graph):
            if number not in _ENDS or not isinstance(value, memoryview):
                continue
            name = b''.join(bytes(part) for part in _parts(value, 1))
            # ValueInfoProto.type.tensor_type.elem_type
            kinds = [
                kind
                for type_ in _parts(value, 2)
                for tensor in _parts(type_, 1)
                for each, kind in _fields(tensor)
                if each == 1
            ]
            if kinds != [_FLOAT] and name not in constants:
                yield name.decode('utf-8', 'replace')


def _parts(message: memoryview, wanted: int) -> Iterator[memoryview]:
    """The messages or texts in a field."""
    for number, value in _fields(message):
        if number == wanted and isinstance(value, memoryview):
            yield value


def _bytes(value: 'int | memoryview | None') -> memoryview:
    return value if isinstance(value, memoryview) else memoryview(b'')


def _fields(message: memoryview) -> Iterator[tuple[int, 'int | memoryview']]:
    """(field number, number or content) of a message's fields, in order.

    Raises:
        BundleError: It ends in the middle of one, or is no protocol buffer.
    """
    at, end = 0, len(message)
    while at < end:
        key, at = _varint(message, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(message, at)
            yield number, value
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
            if at > end:
                raise _cut_off()
        elif wire == 2:
            length, at = _varint(message, at)
            if at + length > end:
                raise _cut_off()
            yield number, message[at : at + length]
            at += length
        else:
            raise BundleError('the model is damaged or no ONNX file: copy the bundle again')


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number of variable length, and where it ends."""
    value = shift = 0
    while True:
        if at >= len(message) or shift > 63:
            raise _cut_off()
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _cut_off() -> BundleError:
    return BundleError('the model ends in the middle of a record: copy or export it again')
