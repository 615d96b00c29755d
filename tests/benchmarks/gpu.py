# SPDX-License-Identifier: Apache-2.0
"""Every system on the GPU at hand: built, compared with the CPU, timed. One command, one table.

    python -m tests.benchmarks.gpu [--systems NAME ...] [--batches 1 8] [--precisions fp32 fp16]

Where there is no GPU it says so and measures nothing. A row is a system, a batch and a precision,
each in a process of its own:

  eager, compile  torch on the GPU, from pinned memory to pinned memory (single precision, or half
                  by autocast); `torch.compile` with CUDA graphs.
  tensorrt*       every flavour that is installed: seconds to build, size, whether the answer is
                  the CPU's, and runs from host memory to host memory, as the node does them.
  onnx cuda       onnxruntime with CUDA, where it is installed.
  floor_ms        the shortest time that this GPU could take: the larger of operations over the
                  rate that a large product of matrices reaches here, and of bytes (weights,
                  inputs, outputs; nothing between) over the rate that a large copy reaches.
  over_floor      how many times longer the quickest engine takes; what is beyond it are kernels
                  too small to fill the GPU, results written between them, and copies.

Weights are random: they change no time. p50 is the usual run, p99 the slow one in a hundred.
Last, frames to poses with the bundle that ships, through all stages.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
import tempfile
import time
import traceback
from typing import Any

import numpy as np

from tests.benchmarks.engines import alone, BUNDLE, PLACES, subject_of
from tests.benchmarks.results import write

COMMAND = 'make bench-gpu'
PRECISIONS = ('fp32', 'fp16', 'int8')
_WARM_UP = 10
_PATIENCE_S = 20.0
_LEAST = 30


def no_gpu() -> str:
    """Why nothing can be measured here; '' if something can."""
    from geoloc_core.errors import EngineError
    from geoloc_core.runtime.cuda import open_cuda

    try:
        open_cuda()
    except EngineError as error:
        return str(error)
    return ''


# ---- what the GPU can do ----


def peaks() -> dict[str, float]:
    """What this GPU reaches: operations a second by precision, and bytes a second."""
    import torch

    # As TensorRT multiplies in single precision.
    torch.backends.cuda.matmul.allow_tf32 = True
    side = 8192
    found: dict[str, float] = {}
    for name, dtype in (('fp32', torch.float32), ('fp16', torch.float16), ('int8', torch.int8)):
        a = torch.ones(side, side, device='cuda').to(dtype)
        b = a.t().contiguous().t()
        product = torch._int_mm if dtype is torch.int8 else torch.matmul
        found[name] = 2.0 * side**3 / _on_gpu(lambda a=a, b=b, product=product: product(a, b))
    block = torch.ones(1 << 28, device='cuda')
    target = torch.empty_like(block)
    found['bytes'] = 2.0 * block.numel() * 4 / _on_gpu(lambda: target.copy_(block))
    return found


def _on_gpu(work: Callable[[], object], runs: int = 10) -> float:
    """Seconds of one run, all of them queued at once."""
    import torch

    for _ in range(3):
        work()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(runs):
        work()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / runs


def floor_ms(flops: float, bytes_: float, peak: dict[str, float], precision: str) -> dict:
    """The shortest time of a run, and what it is set by.

    Args:
        flops: Operations of a run; a multiplication and an addition count as two.
        bytes_: That must be read and written at least.
        peak: See `peaks`.
        precision: Of the arithmetic.
    """
    arithmetic, memory = 1e3 * flops / peak[precision], 1e3 * bytes_ / peak['bytes']
    set_by = 'arithmetic' if arithmetic > memory else 'bandwidth'
    return {'floor_ms': max(arithmetic, memory), 'floor_set_by': set_by}


# ---- runs ----


def timed(work: Callable[[], object], batch: int) -> dict:
    """Median and 99th percentile of a run, and samples a second."""
    for _ in range(_WARM_UP):
        work()
    took: list[float] = []
    end = time.perf_counter() + _PATIENCE_S
    while len(took) < 300 and (len(took) < _LEAST or time.perf_counter() < end):
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    p50, p99 = (1e3 * float(np.percentile(took, q)) for q in (50, 99))
    return {'ms_p50': p50, 'ms_p99': p99, 'per_s': 1e3 * batch / p50}


def inputs_of(subject: Any, batch: int) -> dict:
    """A batch of noise, by name of the graph's inputs, as torch tensors."""
    from training.onnx_graph import batched, random_inputs

    cross_view = subject.model.FAMILY == 'cross_view'
    arrays = random_inputs(subject.model) if cross_view else subject.noise(0)
    return batched(arrays, batch, subject.SHARED)


def module_of(subject: Any) -> Any:
    """The network with the inputs and outputs of its graph."""
    if subject.model.FAMILY == 'cross_view':
        from training.onnx_graph import LogitsOf

        return LogitsOf(subject.model)
    if subject.model.FAMILY == 'camera_pose':
        from training.pose_exporting import PoseGraph

        return PoseGraph(subject.model)
    return subject.model


def in_torch(subject: Any, inputs: dict, precision: str, batch: int, compiled: bool) -> dict:
    """Torch, from the host and back."""
    import torch

    module = module_of(subject).to('cuda').eval()
    pinned = [value.float().contiguous().pin_memory() for value in inputs.values()]
    run = torch.compile(module, mode='reduce-overhead') if compiled else module
    torch.cuda.reset_peak_memory_stats()

    def once() -> None:
        half = torch.autocast('cuda', torch.float16, enabled=precision == 'fp16')
        with torch.no_grad(), half:
            said = run(*(value.to('cuda', non_blocking=True) for value in pinned))
            for each in said if isinstance(said, tuple) else (said,):
                each.cpu()

    return {**timed(once, batch), 'peak_mb': torch.cuda.max_memory_allocated() / 2**20}


def in_tensorrt(graph: Any, flavour: Any, cuda: Any, expected: dict, batch: int) -> dict:
    """A flavour of TensorRT, from the host and back, with an empty cache.

    Args:
        graph: `runtime.graph.Graph`.
        flavour: Loaded.
        cuda: The device.
        expected: What the CPU answers to `graph.warm_up()`.
        batch: Samples a run.
    """
    from geoloc_core.runtime.engine_cache import EngineCache
    from geoloc_core.runtime.engine_choice import tensorrt_engine
    from geoloc_core.runtime.swapping_engine import difference

    free = cuda.memory_free_mb()
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        engine = tensorrt_engine(graph, flavour, cuda, EngineCache(folder))
        figures: dict = {'build_s': time.perf_counter() - start}
        used = free - cuda.memory_free_mb()
        try:
            arrays = graph.warm_up()
            off = difference(expected, engine.run(arrays))
            figures.update(timed(lambda: engine.run(arrays), batch))
            report = engine.report()
        finally:
            engine.close()
        start = time.perf_counter()
        tensorrt_engine(graph, flavour, cuda, EngineCache(folder)).close()
        figures['load_s'] = time.perf_counter() - start
    figures.update({'off_cpu': off, 'parity': off <= graph.tolerance, 'memory_mb': used})
    return {**figures, **{k: report.values[k] for k in ('plan_mb', 'cuda_graph')}}


def in_onnxruntime(graph: Any, batch: int) -> dict:
    """onnxruntime with CUDA."""
    from geoloc_core.runtime.onnx_engine import OnnxEngine

    engine, arrays = OnnxEngine(graph.weights, 2, 'CUDAExecutionProvider'), graph.warm_up()
    return timed(lambda: engine.run(arrays), batch)


def operations(subject: Any, inputs: dict) -> float:
    """Floating point operations of a run, as torch counts them."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module_of(subject).eval()(*inputs.values())
    return float(counter.get_total_flops())


# ---- rows ----


def graph_of(subject: Any, inputs: dict, batch: int, precision: str) -> Any:
    """The exported network for engines."""
    from geoloc_core.runtime.graph import Graph
    from geoloc_core.runtime.onnx_engine import OnnxEngine
    from training.export_subject import digest
    from training.onnx_graph import YAWS

    content = subject.graph(batch)
    if precision == 'fp16':
        from training.half_precision import to_half

        content = to_half(content)[0]
    elif precision == 'int8':
        from training.exporting import eight_bits

        content = eight_bits(subject, content, [subject.noise(seed) for seed in (1, 2)], batch)
    # What a graph does not use is no input of it.
    names = OnnxEngine(content, 2).inputs
    shapes = {name: tuple(inputs[name].shape) for name in names}
    yaws = YAWS if YAWS in names else ''
    return Graph(subject.model.NAME, content, digest(content), precision, shapes, yaws)


def row(system: str, batch: int, precision: str, peak: dict[str, float]) -> dict:
    """All figures of one system; in a process of its own."""
    from geoloc_core.errors import EngineError
    from geoloc_core.runtime.cuda import open_cuda
    from geoloc_core.runtime.onnx_engine import available_providers, OnnxEngine
    from geoloc_core.runtime.tensorrt_build import FLAVOURS, load_flavour

    figures: dict = {}

    def measured(name: str, work: Callable[[], dict]) -> None:
        try:
            figures[name] = work()
        except Exception as error:  # one that fails is a cell that says so
            words = ' '.join(str(error).split())[:200]
            figures[name] = {'error': words or type(error).__name__}
            traceback.print_exc()

    subject = subject_of(system, {})
    inputs = inputs_of(subject, batch)
    graph = graph_of(subject, inputs, batch, precision)
    arrays = graph.warm_up()
    expected = OnnxEngine(graph.weights, 8).run(arrays)
    moved = len(graph.weights) + sum(v.nbytes for v in (*arrays.values(), *expected.values()))
    figures.update(floor_ms(operations(subject, inputs), moved, peak, precision))
    cuda = open_cuda()
    for name in FLAVOURS:
        try:
            flavour = load_flavour(name)
        except EngineError as error:
            figures[name] = {'absent': str(error)[:200]}
            continue
        measured(name, lambda f=flavour: in_tensorrt(graph, f, cuda, expected, batch))
    if 'CUDAExecutionProvider' in available_providers():
        measured('onnx_cuda', lambda: in_onnxruntime(graph, batch))
    if precision != 'int8':
        # Last: it moves the network to the GPU.
        for name, compiled in (('eager', False), ('compile', True)):
            measured(name, lambda c=compiled: in_torch(subject, inputs, precision, batch, c))
    times = [figures[n]['ms_p50'] for n in FLAVOURS if 'ms_p50' in figures.get(n, {})]
    if times:
        figures['over_floor'] = min(times) / figures['floor_ms']
    return figures


def frames(bundle: str, engine: str) -> dict:
    """Frame to pose with a bundle; in a process of its own."""
    from geoloc_core.runtime.bundle import load_bundle
    from geoloc_core.runtime.engine_choice import EngineSettings
    from geoloc_core.sources.pipeline_timing import STAGES, time_pipeline

    with tempfile.TemporaryDirectory() as folder:
        settings = EngineSettings(engine, cache=folder)
        times = time_pipeline(load_bundle(bundle), 2, 200, engine=settings)
    found: dict = {'engine': times.engine}
    for stage in STAGES:
        found[stage] = {'p50': times.percentile(stage, 50), 'p99': times.percentile(stage, 99)}
    return found


def table(rows: dict[str, dict]) -> str:
    """For people: medians, ms."""
    columns = ('eager', 'compile', 'onnx_cuda', 'tensorrt', 'tensorrt_rtx')
    lines = [f'{"row":<34}' + ''.join(f'{name:>14}' for name in columns) + '   floor  over']
    for name, figures in rows.items():
        cells = ''.join(
            f'{figures[c]["ms_p50"]:>14.3f}'
            if 'ms_p50' in figures.get(c, {})
            else f'{"error" if "error" in figures.get(c, {}) else "-":>14}'
            for c in columns
        )
        floor = f'{figures["floor_ms"]:8.3f}' if 'floor_ms' in figures else '       -'
        over = f'{figures["over_floor"]:6.0f}' if 'over_floor' in figures else '     -'
        lines.append(f'{name:<34}{cells}{floor}{over} {figures.get("error", "")}'.rstrip())
    return '\n'.join(lines)


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    from geoloc_core.models.registry import MODELS

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--systems', nargs='*', default=[*MODELS, *PLACES], metavar='NAME')
    parser.add_argument('--batches', nargs='*', type=int, default=[1, 8], metavar='N')
    parser.add_argument('--precisions', nargs='*', choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument('--bundle', type=Path, default=BUNDLE, help='that ships')
    return parser


def main(argv: list[str] | None = None) -> int:
    """Measures, prints and stores the figures; 0 also where there is nothing to measure on."""
    args = arguments().parse_args(argv)
    why = no_gpu()
    if why:
        print(f'skipped: {why}')
        return 0
    peak = alone(peaks)
    rows: dict[str, dict] = {}
    for system in args.systems:
        for batch in args.batches:
            for precision in args.precisions:
                name = f'{system} x{batch} {precision}'
                print(f'{name} ...', flush=True)
                try:
                    rows[name] = alone(row, system, batch, precision, peak)
                except Exception as error:  # one that fails is a row that says so
                    rows[name] = {'error': ' '.join(str(error).split())[:200]}
    whole = {engine: alone(frames, str(args.bundle), engine) for engine in ('auto', 'onnxruntime')}
    from geoloc_core.runtime.cuda import open_cuda

    print(table(rows))
    figures = {'gpu': str(open_cuda().gpu), 'peak': peak, **rows, 'frame': whole}
    print(write('gpu', figures, COMMAND))
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
