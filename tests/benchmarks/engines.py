# SPDX-License-Identifier: Apache-2.0
"""From a checkpoint to milliseconds: every system as it comes, tuned, exported and quantized.

    python -m tests.benchmarks.engines [--systems NAME ...] [--threads 2] [--samples 4]

A row a system, at its published (or, ours, default) size, one after the other, each measurement in
a process of its own:

  eager     torch as it comes.
  tuned     torch with channels_last and an allocator that keeps its memory.
  onnx      exported, onnxruntime on the CPU, fp32.
  int8      the same in eight bits.
  rtx       TensorRT-RTX builds its engine, without a GPU: seconds and size. Not run.
  parity    worst difference of exported and eager answers, as `python -m training.export` has it.

Beside them, `export_speedup`: eager over onnx; `vs_authors_eager`: how many times as fast as its
authors' own code a system of theirs is in eager (see `engine_table`).

Weights are random: they change no time, and say nothing of what int8 costs in metres (its column
tells that graphs are sound; bundles of trained weights carry the real figures). A frame is
normalised pictures in, answer out. `machine_ms` is the same small convolution beside every system:
where it differs from row to row, the machine was busy with something else.

Then the bundle that ships: frame to pose through all stages, and the node that runs it.
"""

import argparse
import multiprocessing
import os
from pathlib import Path
import resource
import tempfile
import time
import traceback

from tests.benchmarks.engine_table import summary, table, with_ratios
from tests.benchmarks.results import write
from tests.benchmarks.systems import reference, timed

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / 'config' / 'models' / 'geoloc'
COMMAND = 'make bench-engines'
# glibc gives freed memory back at once, and gets it again page by page; these make it keep it.
KEEP_MEMORY = {
    'MALLOC_MMAP_MAX_': '0',
    'MALLOC_TRIM_THRESHOLD_': '4294967296',
    'MALLOC_TOP_PAD_': '67108864',
    'MALLOC_ARENA_MAX': '1',
}
# Settings that robots can run: none of them has a semantic mask.
SETTINGS: dict[str, dict] = {'fusion_transformer': {'mask_guidance': False}}
PLACES = ('vmloc', 'pose_concatenation', 'atloc', 'crossvit_student')


def subject_of(system: str, settings: dict):
    """A network with random weights, as it is exported."""
    import torch

    from geoloc_core.models.pretrained import without_pretrained
    from geoloc_core.models.registry import make_model

    torch.manual_seed(0)
    with without_pretrained():
        model = make_model(system, {**SETTINGS.get(system, {}), **settings}).eval()
    if model.FAMILY == 'camera_pose':
        from training.pose_exporting import PoseSubject

        return PoseSubject(model, 'nowhere')
    if model.FAMILY == 'descriptor':
        from training.descriptor_exporting import DescriptorSubject

        return DescriptorSubject(model)
    from training.cross_view_exporting import CrossViewSubject

    return CrossViewSubject(model)


def samples_of(subject, count: int) -> list[dict]:
    """Rendered views over maps; noise for the networks of places."""
    if subject.model.FAMILY != 'cross_view':
        return [subject.noise(seed) for seed in range(1, count + 1)]
    from tests.models.fixtures import batch_of, samples

    return [subject.sample(batch_of(subject.model, [each])) for each in samples(count)]


def eager(system: str, settings: dict, tuned: bool, options: dict) -> dict:
    """Torch, in a process of its own."""
    import torch

    torch.set_num_threads(options['threads'])
    name = 'tuned' if tuned else 'eager'
    figures: dict = {}
    try:
        subject = subject_of(system, settings)
        arrays = next(iter(subject.cases(samples_of(subject, 1)[0])))
        if tuned:
            subject.model.to(memory_format=torch.channels_last)
            flat = {n: v for n, v in arrays.items() if v.dim() == 4}
            last = {n: v.contiguous(memory_format=torch.channels_last) for n, v in flat.items()}
            arrays = {**arrays, **last}
        else:
            from geoloc_core.models.base import parameter_count

            figures['params_m'] = parameter_count(subject.model) / 1e6
            figures['machine_ms'] = timed(reference(), options['repeat'])[0]
        figures[f'{name}_ms'] = timed(lambda: subject.answers(arrays), options['repeat'])[0]
        figures[f'{name}_peak_mb'] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    except Exception as error:  # one system that fails is a row that says so
        figures[f'{name}_error'] = _words(error)
        traceback.print_exc()
    return figures


def exported(system: str, settings: dict, options: dict) -> dict:
    """The graph in fp32 and int8, and as a TensorRT-RTX engine; in a process of its own."""
    import torch

    torch.set_num_threads(options['threads'])
    figures: dict = {}
    try:
        subject = subject_of(system, settings)
        samples = samples_of(subject, options['samples'])
        single = subject.graph(1)
        _graph(figures, 'onnx', 'fp32', subject, single, samples, options)
        if not options['no_int8']:
            from training.exporting import eight_bits

            eight = eight_bits(subject, single, samples)
            _graph(figures, 'int8', 'int8', subject, eight, samples, options)
        figures.update(_rtx(subject, single))
    except Exception as error:  # one system that fails is a row that says so
        figures['error'] = _words(error)
        traceback.print_exc()
    return figures


def _graph(
    figures: dict, name: str, precision: str, subject, graph: bytes, samples: list, options: dict
) -> None:
    """Size, parity and time of a graph."""
    from geoloc_core.runtime.onnx_engine import OnnxEngine
    from geoloc_core.runtime.parity import figures_of
    from training.exporting import compare

    figures[f'{name}_mb'] = len(graph) / 1e6
    limits = subject.LIMITS[precision]
    found = compare(subject, OnnxEngine(graph, options['threads']), samples)
    parity = figures_of(found.differences, subject.UNITS, limits.values, limits.held)
    figures[f'{name}_parity'] = {f.name: f.worst for f in parity}
    figures[f'{name}_kept'] = all(f.kept for f in parity)
    engine = OnnxEngine(graph, options['threads'])
    arrays = next(iter(subject.cases(samples[0])))
    fed = {each: arrays[each].numpy() for each in engine.inputs}
    figures[f'{name}_ms'] = timed(lambda: engine.run(fed), options['repeat'])[0]


def _rtx(subject, graph: bytes) -> dict:
    """Time and size of an engine, or why there is none."""
    from geoloc_core.errors import EngineError
    from geoloc_core.runtime.tensorrt_build import build_plan, BuildRequest, load_flavour
    from training.onnx_graph import random_inputs

    try:
        flavour = load_flavour('tensorrt_rtx')
    except EngineError:
        return {'rtx': 'not installed'}
    inputs = subject.noise(0)
    if subject.model.FAMILY == 'cross_view':
        inputs = random_inputs(subject.model)
    shapes = {name: tuple(value.shape) for name, value in inputs.items()}
    start = time.perf_counter()
    try:
        plan = build_plan(graph, BuildRequest('tensorrt_rtx', shapes), flavour)
    except EngineError as error:
        return {'rtx': _words(error)}
    return {
        'rtx': 'built',
        'rtx_build_s': time.perf_counter() - start,
        'rtx_mb': len(plan) / 1e6,
    }


def pipeline(bundle: str, options: dict) -> dict:
    """Frame to pose with a bundle; in a process of its own."""
    from geoloc_core.runtime.any_bundle import against_sample
    from geoloc_core.runtime.bundle import load_bundle
    from geoloc_core.sources.pipeline_timing import STAGES, time_pipeline

    loaded = load_bundle(bundle)
    times = time_pipeline(loaded, options['threads'], max(options['repeat'], 10))
    sample = against_sample(loaded, loaded.open_engine(options['threads']))
    figures: dict = {
        stage: {'p50': times.percentile(stage, 50), 'p99': times.percentile(stage, 99)}
        for stage in STAGES
    }
    figures['sample_kept'] = all(f.kept for f in sample) if sample else None
    return figures


def _words(error: Exception) -> str:
    return (str(error).splitlines() or [''])[0][:200] or type(error).__name__


def alone(work, *arguments, environment: dict[str, str] | None = None):
    """Calls a function in a fresh process: none inherits another's memory or caches."""
    before = {name: os.environ.get(name) for name in environment or {}}
    os.environ.update(environment or {})
    try:
        pool = multiprocessing.get_context('spawn').Pool(1)
        try:
            return pool.apply(work, arguments)
        finally:
            pool.close()
            pool.join()
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def row(system: str, settings: dict, options: dict) -> dict:
    """All figures of a system."""
    figures = alone(eager, system, settings, False, options)
    figures.update(alone(eager, system, settings, True, options, environment=KEEP_MEMORY))
    figures.update(alone(exported, system, settings, options))
    return figures


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    from geoloc_core.models.registry import MODELS

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--systems', nargs='*', default=[*MODELS, *PLACES], metavar='NAME')
    parser.add_argument('--bundle', type=Path, default=BUNDLE, help='that ships')
    parser.add_argument('--repeat', type=int, default=9, help='runs measured (9)')
    parser.add_argument('--samples', type=int, default=4, help='compared, and for int8 (4)')
    parser.add_argument('--threads', type=int, default=2, help='of one inference (2)')
    parser.add_argument('--no-int8', action='store_true', help='leave int8 out')
    parser.add_argument('--no-node', action='store_true', help='leave the node out')
    return parser


def main():
    """Measures, prints and stores the figures."""
    from geoloc_core.errors import ConfigError
    from geoloc_core.models.registry import known_models

    args = arguments().parse_args()
    unknown = sorted(set(args.systems) - set(known_models()))
    if unknown:
        raise ConfigError(
            f'no system is called {unknown[0]!r}: choose of {", ".join(known_models())}'
        )
    options = {name: getattr(args, name) for name in ('repeat', 'samples', 'threads', 'no_int8')}
    # Read when the children load their libraries.
    os.environ['OMP_NUM_THREADS'] = str(args.threads)
    rows: dict[str, dict] = {}
    for system in args.systems:
        print(f'{system} ...', flush=True)
        rows[system] = with_ratios(system, row(system, {}, options), args.threads)
    print('frame to pose ...', flush=True)
    figures = summary(rows, alone(pipeline, str(args.bundle), options))
    if not args.no_node:
        from tests.benchmarks.engine_node import measure_node

        with tempfile.TemporaryDirectory() as folder:
            node = alone(measure_node, args.bundle, Path(folder))
        figures['node_rss_mb'] = node.rss_mb
        figures['node_peak_rss_mb'] = node.peak_rss_mb
        figures['node_first_pose_s'] = node.first_pose_s
        figures['node_torch_imported'] = node.torch
    text = table(rows)
    print(text)
    figures = {'threads': args.threads, **figures}
    print(write('engines', {**rows, **figures}, COMMAND, text, figures))


if __name__ == '__main__':
    main()
