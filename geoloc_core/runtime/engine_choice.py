# SPDX-License-Identifier: Apache-2.0
"""Which engine runs a network: the one that was asked for, or the quickest that is here.

`auto` takes TensorRT, TensorRT-RTX or onnxruntime's CUDA where there is a GPU, and the CPU
otherwise. Whatever runs on a GPU is made in the background, proven against the CPU, and given up
for it when it fails (`swapping_engine`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event

from geoloc_core.errors import ConfigError, EngineError
from geoloc_core.runtime.cuda import Cuda, has_driver, open_cuda
from geoloc_core.runtime.engine import AbstractEngine
from geoloc_core.runtime.engine_cache import CachedEngine, CacheEntry, EngineCache
from geoloc_core.runtime.graph import Graph
from geoloc_core.runtime.onnx_engine import available_providers, GPU_PROVIDERS, OnnxEngine
from geoloc_core.runtime.swapping_engine import SwappingEngine
from geoloc_core.runtime.tensorrt_build import (
    build_in_child,
    BuildRequest,
    Flavour,
    FLAVOURS,
    load_flavour,
)
from geoloc_core.runtime.tensorrt_engine import TensorRtEngine

ENGINES = ('auto', 'onnxruntime', *FLAVOURS, 'torch')


@dataclass(frozen=True)
class EngineSettings:
    """What runs networks.

    Attributes:
        engine: One of `ENGINES`.
        threads: Of one inference on the CPU; 0 for as many as leave the robot a core.
        cache: Folder of built engines; '' for the user's cache.
        torch_weights: For `torch`: the weights (.safetensors) that the bundle was exported from.
    """

    engine: str = 'auto'
    threads: int = 0
    cache: str = ''
    torch_weights: str = ''


@dataclass(frozen=True)
class Machine:
    """What there is to run networks with.

    Attributes:
        cuda: The GPU, or None.
        no_gpu: Why there is none.
        flavours: Libraries of TensorRT that can be loaded.
        missing: Flavour -> why it cannot.
        providers: Of onnxruntime, for a GPU.
    """

    cuda: Cuda | None = None
    no_gpu: str = ''
    flavours: tuple[Flavour, ...] = ()
    missing: dict[str, str] = field(default_factory=dict)
    providers: tuple[str, ...] = ()


def look_around(wanted: str = 'auto') -> Machine:
    """What this machine has, as far as it matters for what is wanted.

    Libraries of TensorRT are not even loaded where there is no GPU.
    """
    providers = available_providers() if has_driver() else ()
    if wanted == 'onnxruntime':
        return Machine(providers=providers, no_gpu='there is no NVIDIA driver')
    try:
        cuda = open_cuda()
    except EngineError as error:
        return Machine(no_gpu=str(error), providers=providers)
    flavours: list[Flavour] = []
    missing: dict[str, str] = {}
    for name in FLAVOURS:
        if wanted in ('auto', name):
            try:
                flavours.append(load_flavour(name))
            except EngineError as error:
                missing[name] = str(error)
    return Machine(cuda, '', tuple(flavours), missing, providers)


@dataclass(frozen=True)
class Choice:
    """What to run on a GPU, and why.

    Attributes:
        candidates: The best first: a flavour, or a provider's name. None: the CPU runs.
        reason: For people.
    """

    candidates: tuple[Flavour | str, ...]
    reason: str


def choose(wanted: str, machine: Machine) -> Choice:
    """Decides what runs.

    Args:
        wanted: One of `ENGINES` but 'torch'.
        machine: What there is.

    Raises:
        ConfigError: It is no such name.
        EngineError: What is asked for by name is not here.
    """
    if wanted not in ENGINES:
        raise ConfigError(f'engine {wanted!r}: choose one of {", ".join(ENGINES)}')
    if wanted in FLAVOURS:
        if machine.cuda is None:
            raise EngineError(
                f'engine {wanted} needs a GPU, but {machine.no_gpu}; the engine auto takes what '
                'there is'
            )
        if wanted in machine.missing:
            raise EngineError(f'{machine.missing[wanted]}; or take the engine auto')
        chosen = tuple(f for f in machine.flavours if f.name == wanted)
        return Choice(chosen, f'{wanted} is asked for')
    if wanted == 'onnxruntime':
        if machine.providers:
            return Choice(machine.providers, 'onnxruntime is asked for, and has a GPU provider')
        return Choice((), 'onnxruntime is asked for, and has no provider for a GPU here')
    # TensorRT inside onnxruntime would be no quicker than by itself.
    providers = tuple(p for p in machine.providers if GPU_PROVIDERS[p] == 'CUDA')
    if machine.cuda is None:
        if providers:
            return Choice(providers, f'auto: onnxruntime has CUDA ({machine.no_gpu})')
        return Choice((), f'auto: {machine.no_gpu}')
    found: tuple[Flavour | str, ...] = (*machine.flavours, *providers)
    names = [f'{f.name} {f.version}' if isinstance(f, Flavour) else f for f in found]
    if not found:
        missing = '; '.join(machine.missing.values())
        return Choice(
            (), f'auto: there is a GPU, {machine.cuda.gpu}, but nothing for it: {missing}'
        )
    return Choice(found, f'auto: {machine.cuda.gpu} with {", ".join(names)}')


def open_engine(
    graph: Graph, cpu: AbstractEngine, settings: EngineSettings, machine: Machine | None = None
) -> AbstractEngine:
    """Loads a network into an engine. On a GPU it is made later: `wait_ready` waits for it.

    Args:
        graph: The network.
        cpu: It on the CPU, verified: what runs at first, and what is fallen back to.
        settings: What to run it with; torch runs no graphs and counts as `auto`.
        machine: What there is; None looks.

    Raises:
        BundleError: The CPU does not run the graph.
        ConfigError: There is no such engine.
        EngineError: The engine asked for is not here.
    """
    wanted = 'auto' if settings.engine == 'torch' else settings.engine
    machine = machine or look_around(wanted)
    choice = choose(wanted, machine)
    if not choice.candidates:
        cpu.reason = choice.reason
        return cpu
    make = _maker(graph, settings, machine, choice)
    return SwappingEngine(cpu, make, graph.warm_up(), graph.tolerance, choice.reason)


def _maker(
    graph: Graph, settings: EngineSettings, machine: Machine, choice: Choice
) -> Callable[[Event], AbstractEngine]:
    """Makes the first of the candidates that can be made."""

    def make(stop: Event) -> AbstractEngine:
        refused: list[str] = []
        for candidate in choice.candidates:
            if stop.is_set():
                break
            try:
                if isinstance(candidate, str):
                    return OnnxEngine(graph.weights, settings.threads, candidate)
                assert machine.cuda is not None
                cache = EngineCache(settings.cache)
                return tensorrt_engine(graph, candidate, machine.cuda, cache, stop)
            except EngineError as error:
                refused.append(str(error))
        raise EngineError('; '.join(refused) or 'it was stopped')

    return make


def tensorrt_engine(
    graph: Graph, flavour: Flavour, cuda: Cuda, cache: EngineCache, stop: Event | None = None
) -> AbstractEngine:
    """An engine of TensorRT, from the cache or built now; it has run once.

    Args:
        graph: The network.
        flavour: The library.
        cuda: The device.
        cache: Where built engines are kept.
        stop: Ends a build.

    Raises:
        EngineError: It cannot be built, loaded or run.
    """
    wanted = cache_entry(graph, flavour, str(cuda.gpu))
    cached, passed = cache.find(wanted, cuda.gpu)
    if cached is not None:
        try:
            return _started(graph, cached, flavour, cuda, cache, 'from the cache')
        except EngineError as error:
            # It claimed to fit and does not: forgotten, so that it is not tried at each start.
            cache.remove(cached)
            passed = f'the one from the cache did not run ({error})'
    request = BuildRequest(flavour.name, graph.shapes)
    plan = build_in_child(graph.weights, request, stop)
    why = f'built now{": " if passed else ""}{passed}'
    try:
        kept = cache.store(wanted, plan)
    except EngineError as error:
        return _started(graph, plan, flavour, cuda, None, f'{why}; {error}')
    return _started(graph, kept, flavour, cuda, cache, why)


def cache_entry(
    graph: Graph, flavour: Flavour, gpu: str, targets: tuple[str, ...] = ()
) -> CacheEntry:
    """What a plan of a network must be, or is."""
    return CacheEntry(
        graph.sha256,
        flavour.name,
        flavour.version,
        gpu,
        targets,
        graph.precision,
        dict(graph.shapes),
    )


def _started(
    graph: Graph,
    source: CachedEngine | bytes,
    flavour: Flavour,
    cuda: Cuda,
    cache: EngineCache | None,
    why: str,
) -> AbstractEngine:
    """Loads a plan and runs it once, so that all that is compiled at first use is compiled."""
    plan, kernels = (source, b'') if isinstance(source, bytes) else (source.plan, source.kernels)
    engine = TensorRtEngine(plan, flavour, cuda, kernels)
    try:
        engine.run(graph.warm_up())
    except EngineError:
        engine.close()
        raise
    if cache is not None and isinstance(source, CachedEngine):
        cache.store_kernels(source, engine.kernels())
    engine.reason = why
    return engine
