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
Then frames to poses with the bundle that ships: as the node does them, from a JPEG on, and wholly
on the GPU, pictures and volume too, beside the same with pictures prepared on the CPU
(`gpu_frames`).
"""

import argparse
from collections.abc import Callable
from pathlib import Path
import tempfile
import traceback

from tests.benchmarks.engines import alone, BUNDLE, PLACES, subject_of
from tests.benchmarks.gpu_frames import device_frames, frame_table
from tests.benchmarks.gpu_runs import (
    floor_ms,
    graph_of,
    in_onnxruntime,
    in_tensorrt,
    in_torch,
    inputs_of,
    operations,
    peaks,
)
from tests.benchmarks.results import write

COMMAND = 'make bench-gpu'
PRECISIONS = ('fp32', 'fp16', 'int8')


def no_gpu() -> str:
    """Why nothing can be measured here; '' if something can."""
    from geoloc_core.errors import EngineError
    from geoloc_core.runtime.cuda import open_cuda

    try:
        open_cuda()
    except EngineError as error:
        return str(error)
    return ''


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


def attempted(work: Callable[..., dict], *arguments: object) -> dict:
    """Figures made in a process of its own; one that fails is a row that says so."""
    try:
        return alone(work, *arguments)
    except Exception as error:
        return {'error': ' '.join(str(error).split())[:200] or type(error).__name__}


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
    from geoloc_core.runtime.cuda import open_cuda
    from geoloc_core.runtime.tensorrt_build import FLAVOURS

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
                rows[name] = attempted(row, system, batch, precision, peak)
    whole = {
        engine: attempted(frames, str(args.bundle), engine) for engine in ('auto', 'onnxruntime')
    }
    on_device = {
        f'{name} {precision}': attempted(device_frames, str(args.bundle), name, precision)
        for name in ('torch', *FLAVOURS)
        for precision in args.precisions
        if precision != 'int8'  # that has no form without pictures to find its ranges with
    }
    print(f'{table(rows)}\n\n{frame_table(on_device)}')
    figures = {'gpu': str(open_cuda().gpu), 'peak': peak, **rows}
    print(write('gpu', {**figures, 'frame': whole, 'frame_on_gpu': on_device}, COMMAND))
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
