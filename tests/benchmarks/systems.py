# SPDX-License-Identifier: Apache-2.0
"""How long every cross-view system takes for one frame: in torch, and exported to onnxruntime.

    python -m tests.benchmarks.systems [CONFIG ...] [--systems NAME ...] [--threads 1]

All systems of the registry at their published sizes (weights random: they change no time), and
those of the training CONFIGs named (YAML, or folders of them). All see the same rendered place,
brought to their own sizes. Each runs in a process of its own, one after the other: median of the
runs after the first two. `machine_ms` is the same small convolution beside every system: where it
differs from row to row, the machine was busy with something else.

A frame is normalised pictures in, volume of poses out (`belief(forward(...)).logits`). `onnx_diff`
is the largest difference between both answers to that frame, as a share of the range of the first.
"""

import argparse
from collections.abc import Callable
import multiprocessing
import os
from pathlib import Path
import platform
import resource
from statistics import median
import time
import traceback

from tests.benchmarks.results import write

_WARM_UP = 2
# A slow system is not measured for longer than this, s, once it has three runs.
_PATIENCE_S = 60.0
_LEAST = 3


def entries(configs: list[Path], systems: list[str]) -> dict[str, tuple[str, dict]]:
    """Row -> (system, settings): the published ones, then those of the configs."""
    from geoloc_core.errors import ConfigError
    from geoloc_core.models.registry import MODELS
    from training.loop.reading import read_yaml
    from training.loop.settings import read_config

    unknown = sorted(set(systems) - set(MODELS))
    if unknown:
        raise ConfigError(f'no system is called {unknown[0]!r}: choose of {", ".join(MODELS)}')
    rows: dict[str, tuple[str, dict]] = {name: (name, {}) for name in systems}
    for path in configs:
        for file in sorted(path.glob('*.yaml')) if path.is_dir() else [path]:
            if 'runs' in read_yaml(file):
                rows.update(_planned(file))
                continue
            system = read_config(file).system
            name = file.stem if file.stem not in MODELS else f'{file.stem} ({file.parent.name})'
            rows[name] = (system.name, dict(system.settings))
    return rows


def _planned(plan: Path) -> dict[str, tuple[str, dict]]:
    """One row a system of a comparison's plan: its first run with that system's name."""
    from training.plan import read_plan

    rows: dict[str, tuple[str, dict]] = {}
    for run in read_plan(plan).runs:
        system = run.settings['system']
        if run.name.rsplit('_s', 1)[0] == system['name']:
            rows.setdefault(
                f'{system["name"]} ({plan.stem})', (system['name'], system['settings'])
            )
    return rows


def measure(system: str, settings: dict, repeat: int, threads: int) -> dict:
    """The figures of one system; in a process of its own."""
    import torch

    from geoloc_core.models.base import parameter_count
    from geoloc_core.models.pretrained import without_pretrained
    from geoloc_core.models.registry import make_model

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    figures: dict = {'system': system}
    try:
        with without_pretrained():
            model = make_model(system, settings).eval()
        arrays, extras = _inputs(model)
        figures['params_m'] = parameter_count(model) / 1e6
        figures['view'] = 'x'.join(str(n) for n in arrays[model.inputs.view.name].shape[2:])
        figures['patch'] = 'x'.join(str(n) for n in arrays[model.inputs.patch.name].shape[2:])
        figures['machine_ms'] = timed(reference(), repeat)[0]
        _eager(figures, model, arrays, extras, repeat)
        figures['peak_mb'] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        _exported(figures, model, arrays, extras, repeat, threads)
    except Exception as error:  # one system that fails is a row that says so
        figures['error'] = str(error).splitlines()[0][:200] or type(error).__name__
        traceback.print_exc()
    return figures


def _inputs(model) -> tuple[dict, dict]:
    """The first fixture, as this network is fed it."""
    from geoloc_core.models.base import normalise
    from tests.models.fixtures import batch_of, samples

    batch = batch_of(model, samples(1))
    inputs = model.inputs
    arrays = {
        inputs.view.name: normalise(batch['view'], batch['view_mask'], inputs.view),
        inputs.patch.name: normalise(batch['patch'], batch['patch_mask'], inputs.patch),
    }
    return arrays, {name: batch[name].float() for name in model.EXTRA_INPUTS}


def _eager(figures: dict, model, arrays: dict, extras: dict, repeat: int) -> None:
    import torch

    view, patch = arrays[model.inputs.view.name], arrays[model.inputs.patch.name]

    def run():
        with torch.no_grad():
            return model.belief(model(view, patch, **extras)).logits

    figures['answer'] = 'x'.join(str(n) for n in run().shape[1:])
    figures['eager_ms'], figures['eager_runs'] = timed(run, repeat)


def _exported(figures: dict, model, arrays: dict, extras: dict, repeat: int, threads: int) -> None:
    from geoloc_core.runtime.onnx_engine import OnnxEngine
    from training.onnx_graph import (
        eager_logits,
        OUTPUT,
        random_inputs,
        relative_difference,
        to_onnx,
    )

    given = {**random_inputs(model, extras), **arrays}
    graph = to_onnx(model, given)
    engine = OnnxEngine(graph, threads)
    fed = {name: given[name].numpy() for name in engine.inputs}
    figures['onnx_ms'], figures['onnx_runs'] = timed(lambda: engine.run(fed), repeat)
    figures['onnx_mb'] = len(graph) / 1e6
    found = engine.run(fed)[OUTPUT]
    figures['onnx_diff'] = relative_difference(eager_logits(model, given), found)


def cpu_name() -> str:
    """What the processor calls itself, and how many of its threads there are."""
    try:
        lines = Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines()
    except OSError:
        lines = []
    names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    name = next((n for n in names if n), platform.processor() or platform.machine())
    return f'{name} ({os.cpu_count()} CPUs)'


def reference() -> Callable[[], object]:
    import torch

    image, kernel = torch.zeros(1, 32, 128, 128), torch.zeros(32, 32, 3, 3)
    return lambda: torch.nn.functional.conv2d(image, kernel, padding=1)


def timed(work: Callable[[], object], repeat: int) -> tuple[float, int]:
    """Median ms of a run, and how many there were."""
    for _ in range(_WARM_UP):
        work()
    took: list[float] = []
    while len(took) < repeat and (len(took) < _LEAST or sum(took) < _PATIENCE_S):
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    return 1e3 * median(took), len(took)


def table(rows: dict[str, dict]) -> str:
    """For people."""
    lines = [
        f'{"system":<28}{"params M":>10}{"view":>10}{"patch":>10}{"eager ms":>10}{"onnx ms":>10}'
        f'{"onnx MB":>9}{"onnx diff":>11}{"peak MB":>9}{"machine ms":>12}'
    ]
    for name, row in rows.items():

        def cell(key: str, digits: int, row: dict = row) -> str:
            return f'{row[key]:.{digits}f}' if key in row else '-'

        different = f'{row["onnx_diff"]:.1e}' if 'onnx_diff' in row else '-'
        lines.append(
            f'{name:<28}{cell("params_m", 2):>10}{row.get("view", "-"):>10}'
            f'{row.get("patch", "-"):>10}{cell("eager_ms", 0):>10}{cell("onnx_ms", 0):>10}'
            f'{cell("onnx_mb", 1):>9}{different:>11}'
            f'{cell("peak_mb", 0):>9}{cell("machine_ms", 2):>12}'
            + (f'  {row["error"]}' if 'error' in row else '')
        )
    return '\n'.join(lines)


def main():
    """Measures, prints and stores the figures."""
    from geoloc_core.models.registry import MODELS

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        'configs',
        nargs='*',
        type=Path,
        metavar='CONFIG',
        help='training YAML, or a folder of them',
    )
    parser.add_argument(
        '--systems', nargs='*', default=list(MODELS), metavar='NAME', help='at published sizes'
    )
    parser.add_argument('--repeat', type=int, default=9, help='runs measured (9)')
    parser.add_argument('--threads', type=int, default=1, help='of torch and onnxruntime (1)')
    args = parser.parse_args()
    # Read when the children load their libraries.
    os.environ['OMP_NUM_THREADS'] = str(args.threads)
    rows: dict[str, dict] = {}
    for name, (system, settings) in entries(args.configs, args.systems).items():
        print(f'{name} ...', flush=True)
        # A fresh process: no system inherits another's memory or caches.
        pool = multiprocessing.get_context('spawn').Pool(1)
        rows[name] = pool.apply(measure, (system, settings, args.repeat, args.threads))
        pool.close()
        pool.join()
    print(table(rows))
    machine = {'cpu': cpu_name(), 'threads': args.threads}
    print(write('systems', {**machine, **rows}, 'make bench-systems'))


if __name__ == '__main__':
    main()
