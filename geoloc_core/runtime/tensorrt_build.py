# SPDX-License-Identifier: Apache-2.0
"""ONNX graph -> TensorRT plan, with `tensorrt` and `tensorrt_rtx` alike; no GPU for the latter.

Networks are strongly typed: the precision is the graph's own, and no flag of the builder changes
it. Whatever only one flavour has is asked for with `hasattr`.

Robots build in a process of its own (`build_in_child`): the builder takes several times the memory
of the network, its failures may end the process, and the node has other things to do.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
import importlib
import json
import os
import subprocess
import sys
from threading import Event
import time
from types import ModuleType
from typing import Any, BinaryIO

from geoloc_core.errors import EngineError
from geoloc_core.runtime.engine import Shape

FLAVOURS = ('tensorrt', 'tensorrt_rtx')
PACKAGES = {
    'tensorrt': 'tensorrt (on a Jetson it comes with JetPack)',
    'tensorrt_rtx': 'pip install tensorrt-rtx-cu12',
}
# TensorRT takes minutes for large networks on small machines, TensorRT-RTX seconds.
LIMIT_S = 1800.0
_POLL_S = 0.2
_MESSAGES_KEPT = 20


@dataclass(frozen=True)
class Flavour:
    """One of the two libraries.

    Attributes:
        name: Of `FLAVOURS`.
        version: Its own.
        module: It.
    """

    name: str
    version: str
    module: ModuleType


@dataclass(frozen=True)
class BuildRequest:
    """What a plan is made for.

    Attributes:
        flavour: Name of the library.
        shapes: Input name -> shape, no side open: plans are of fixed sizes.
        targets: Compute capabilities such as '8.9'; empty for what the flavour does by itself:
            this GPU for `tensorrt`, all from 8.0 on for `tensorrt_rtx`.
    """

    flavour: str
    shapes: Mapping[str, Shape]
    targets: tuple[str, ...] = ()


def load_flavour(name: str) -> Flavour:
    """The library of a name. It can be imported, and can build, where there is no GPU.

    Raises:
        EngineError: It is not installed, or cannot be loaded.
    """
    if name not in FLAVOURS:
        raise EngineError(f'{name!r} is no flavour of TensorRT: choose {" or ".join(FLAVOURS)}')
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        raise EngineError(f'{name} cannot be loaded ({error}): {PACKAGES[name]}') from error
    if not hasattr(module, 'Builder') or not hasattr(module, 'OnnxParser'):
        raise EngineError(f'{name} {module.__version__} is a runtime alone: it builds no engines')
    return Flavour(name, str(module.__version__), module)


def build_plan(weights: bytes, request: BuildRequest, flavour: Flavour | None = None) -> bytes:
    """Builds an engine in this process.

    Args:
        weights: Content of an .onnx file.
        request: What for.
        flavour: The library, if it is loaded already.

    Returns:
        The serialized engine.

    Raises:
        EngineError: The library cannot be loaded, or refuses the graph; its own words are given.
    """
    trt = (flavour or load_flavour(request.flavour)).module
    logger = collecting_logger(trt)
    builder = trt.Builder(logger)
    typed = trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    network = builder.create_network(1 << int(typed))
    parser = trt.OnnxParser(network, logger)
    graph, outputs = with_shapes(weights, request.shapes)
    if not parser.parse(graph):
        told = [str(parser.get_error(i)) for i in range(parser.num_errors)]
        raise EngineError(f'{request.flavour} cannot take the graph in: {_told(told)}')
    _check_names(network, request, outputs)
    config = builder.create_builder_config()
    _set_targets(trt, config, request)
    plan = builder.build_serialized_network(network, config)
    if plan is None or plan.nbytes == 0:
        raise EngineError(
            f'{request.flavour} cannot build the engine: {_told(logger.messages) or "no reason"}'
        )
    return bytes(plan)


def with_shapes(weights: bytes, shapes: Mapping[str, Shape]) -> tuple[bytes, set[str]]:
    """The graph with its inputs of fixed sizes, and the names of its outputs.

    A correlation with as many templates as are asked for is a convolution of as many output
    channels: TensorRT takes it only if their number is fixed.

    Raises:
        EngineError: onnx is not installed, or inputs and shapes are not each other's.
    """
    try:
        import onnx
    except ImportError as error:
        raise EngineError('building an engine needs onnx: pip install onnx') from error
    try:
        model = onnx.load_from_string(weights)
    except Exception as error:  # protobuf's errors have no common base
        raise EngineError(f'the graph cannot be read: {error}') from error
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = {each.name: each for each in model.graph.input if each.name not in constants}
    if set(inputs) != set(shapes):
        raise EngineError(
            f'the graph has inputs {sorted(inputs)}, shapes are given for {sorted(shapes)}'
        )
    for name, shape in shapes.items():
        sides = inputs[name].type.tensor_type.shape.dim
        said = [side.dim_value or -1 for side in sides]
        same = len(said) == len(shape) and all(
            a in (-1, b) for a, b in zip(said, shape, strict=True)
        )
        if not same or min(shape, default=0) < 1:
            raise EngineError(f'input {name} of the graph is {said}, it cannot be {list(shape)}')
        for side, size in zip(sides, shape, strict=True):
            side.dim_value = size
    for each in model.graph.output:
        # Of the open sizes; the parser finds what they have become.
        each.type.tensor_type.ClearField('shape')
    return model.SerializeToString(), {each.name for each in model.graph.output}


def _check_names(network: Any, request: BuildRequest, outputs: set[str]) -> None:
    """Refuses a network that the parser has changed on its way."""
    found = {
        network.get_input(i).name: tuple(network.get_input(i).shape)
        for i in range(network.num_inputs)
    }
    if found != {name: tuple(shape) for name, shape in request.shapes.items()}:
        raise EngineError(f'the parsed network has inputs {found}, not {dict(request.shapes)}')
    answers = {network.get_output(i).name for i in range(network.num_outputs)}
    if answers != outputs:
        raise EngineError(f'the parsed network has outputs {answers}, not {outputs}')


def _set_targets(trt: ModuleType, config: Any, request: BuildRequest) -> None:
    """Asks for an engine of several GPUs, where the flavour can make one."""
    if not request.targets:
        return
    if not hasattr(trt, 'ComputeCapability'):
        raise EngineError(f'{request.flavour} builds for the GPU of this machine only: no target')
    known = {
        _capability(name): kind
        for name, kind in trt.ComputeCapability.__members__.items()
        if name.startswith('SM')
    }
    unknown = sorted(set(request.targets) - set(known))
    if unknown:
        raise EngineError(
            f'{request.flavour} does not name the compute capability {unknown[0]}, but '
            f'{", ".join(sorted(known))}; without a target its engines are for all from 8.0 on'
        )
    config.num_compute_capabilities = len(request.targets)
    for index, target in enumerate(request.targets):
        config.set_compute_capability(known[target], index)


def _capability(name: str) -> str:
    """'SM89' -> '8.9', 'SM120' -> '12.0'."""
    return f'{name[2:-1]}.{name[-1]}'


def collecting_logger(trt: ModuleType) -> Any:
    """A logger of the library that keeps warnings and errors instead of printing them."""

    class Collected(trt.ILogger):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.messages: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if int(severity) <= int(trt.ILogger.Severity.ERROR):
                self.messages.append(message)
                del self.messages[:-_MESSAGES_KEPT]

    return Collected()


def _told(messages: list[str]) -> str:
    """Messages of the library in one line of bearable length."""
    return ' '.join(' '.join(messages).split())[:600]


# ---- in a process of its own ----


def build_in_child(
    weights: bytes,
    request: BuildRequest,
    stop: Event | None = None,
    limit_s: float = LIMIT_S,
) -> bytes:
    """`build_plan` in a process that may die of it.

    Args:
        weights: Content of an .onnx file.
        request: What for.
        stop: Once set, the process is ended and the engine given up.
        limit_s: The same after so long: a robot must not work on it for ever.

    Raises:
        EngineError: See `build_plan`; or the process ended without an answer, or was stopped.
    """
    # Where this process found its packages, the child finds them.
    paths = os.pathsep.join(path for path in sys.path if path)
    # In memory: the disk may be full, which is no reason to do without an engine.
    with os.fdopen(os.memfd_create('geoloc-graph'), 'w+b') as given:
        given.write(json.dumps(asdict(request)).encode() + b'\n' + weights)
        given.seek(0)
        process = subprocess.Popen(
            [sys.executable, '-m', 'geoloc_core.runtime.tensorrt_build'],
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, 'PYTHONPATH': paths},
        )
    end = time.monotonic() + limit_s
    while True:
        try:
            plan, said = process.communicate(timeout=_POLL_S)
            break
        except subprocess.TimeoutExpired:
            stopped = stop is not None and stop.is_set()
            if not stopped and time.monotonic() < end:
                continue
            process.kill()
            process.communicate()
            why = 'was stopped' if stopped else f'did not end within {limit_s:g} s'
            raise EngineError(f'the build of the engine {why}') from None
    if process.returncode != 0:
        lines = said.decode(errors='replace').strip().splitlines() or ['it said nothing']
        raise EngineError(
            lines[-1]
            if process.returncode == 1
            else f'the process that built the engine ended with {process.returncode}: {lines[-1]}'
        )
    return plan


def _child(given: BinaryIO, answer: BinaryIO) -> int:
    """What the child does: a line of JSON and a graph in, a plan out."""
    data = json.loads(given.readline())
    shapes = {name: tuple(shape) for name, shape in data['shapes'].items()}
    request = BuildRequest(data['flavour'], shapes, tuple(data['targets']))
    try:
        answer.write(build_plan(given.read(), request))
        answer.flush()
    except EngineError as error:
        print(str(error).replace('\n', ' '), file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    # What libraries print must not end up in the plan.
    with os.fdopen(os.dup(1), 'wb') as answer:
        os.dup2(2, 1)
        # The robot comes first.
        os.nice(5)
        sys.exit(_child(sys.stdin.buffer, answer))
