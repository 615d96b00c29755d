# SPDX-License-Identifier: Apache-2.0
"""geoloc model build: TensorRT engines ahead of time, so that robots start with them."""

import argparse
from pathlib import Path
import time
from typing import Any

TEXT = """Builds a bundle's TensorRT engine ahead of time and puts it into the folder where the
node looks for engines. Without this, the node builds at its first start, in the background, and
runs on the CPU until then: it is never needed, but it saves a robot the first minutes.

With a GPU, the engine is built for that GPU, run once and compared with the CPU. Without one,
TensorRT-RTX still builds: one engine for all GPUs from compute capability 8.0 on, or, with
--target, for those named. Nothing can be run then; the robot compares before it believes.

The precision is the bundle's own (export with --precision fp16 for half precision). An engine is
found again only for the same weights, library, version, precision and sizes, and on a GPU that it
was built for; any other is built anew, not run. So use the robot's own version of the library."""

EXAMPLES = """examples:
  geoloc model build config/models/geoloc              into the user cache of this machine
  geoloc model build out/geoloc_fp16 --cache engines   on a PC, then copy engines/ to the robot and
                                                       set model.engine_cache there
  geoloc model build out/geoloc_fp16 --target 8.6 8.9  for two kinds of GPU, and no other

which library:
  tensorrt_rtx   pip install tensorrt-rtx-cu12 onnx cuda-bindings; GeForce and RTX, 7.5 and later
  tensorrt       comes with JetPack (Jetson Orin: 8.7) or from NVIDIA; builds on the robot alone"""


def register(commands: Any) -> None:
    """Adds `geoloc model build`.

    Args:
        commands: The subparsers of `geoloc model`.
    """
    parser = commands.add_parser(
        'build',
        help='build TensorRT engines ahead of time',
        description=TEXT,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('bundles', nargs='+', type=Path, metavar='BUNDLE', help='folder or file')
    parser.add_argument(
        '--flavour',
        choices=('auto', 'tensorrt', 'tensorrt_rtx'),
        default='auto',
        help='library (auto: what is installed; without a GPU, tensorrt_rtx)',
    )
    parser.add_argument(
        '--target',
        nargs='+',
        default=[],
        metavar='CAPABILITY',
        help='compute capabilities such as 8.9 (tensorrt_rtx alone); other GPUs than this one',
    )
    parser.add_argument(
        '--cache', default='', metavar='DIR', help='where to put engines (the user cache)'
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Builds the engine of each bundle."""
    from geoloc_core.errors import EngineError
    from geoloc_core.runtime.any_bundle import load_any
    from geoloc_core.runtime.cuda import open_cuda
    from geoloc_core.runtime.engine_cache import EngineCache

    cuda, no_gpu = None, 'an engine for other GPUs is asked for'
    if not args.target:
        try:
            cuda = open_cuda()
        except EngineError as error:
            no_gpu = str(error)
    flavour = _flavour(args.flavour, cuda is not None)
    if cuda is None and flavour.name == 'tensorrt':
        raise EngineError(
            f'tensorrt builds for the GPU of this machine alone, but {no_gpu}: build on the '
            'robot, or with --flavour tensorrt_rtx'
        )
    print(f'{flavour.name} {flavour.version}, for {_for_whom(cuda, args.target)}')
    cache = EngineCache(args.cache)
    for path in args.bundles:
        bundle = load_any(path)
        # Refuses graphs that do not do what the specification says.
        cpu = bundle.open_engine()
        start = time.perf_counter()
        if cuda is None:
            said = _ahead(bundle.graph(), flavour, tuple(args.target), cache)
        else:
            said = here(bundle.graph(), cpu, flavour, cuda, cache)
        print(f'{path}: {said}, {time.perf_counter() - start:.1f} s')
    print(f'in {cache.folder}' + ('; name it as model.engine_cache' if args.cache else ''))
    return 0


def _flavour(wanted: str, gpu: bool) -> Any:
    """The library to build with.

    Raises:
        EngineError: None is installed.
    """
    from geoloc_core.errors import EngineError
    from geoloc_core.runtime.tensorrt_build import load_flavour

    if wanted != 'auto':
        return load_flavour(wanted)
    missing: list[str] = []
    for name in ('tensorrt', 'tensorrt_rtx') if gpu else ('tensorrt_rtx',):
        try:
            return load_flavour(name)
        except EngineError as error:
            missing.append(str(error))
    raise EngineError('; '.join(missing))


def _for_whom(cuda: Any, targets: list[str]) -> str:
    if cuda is not None:
        return str(cuda.gpu)
    return f'compute capability {", ".join(targets) or "8.0 and later"}'


def _ahead(graph: Any, flavour: Any, targets: tuple[str, ...], cache: Any) -> str:
    """Builds for machines that are not here."""
    from geoloc_core.runtime.engine_choice import cache_entry
    from geoloc_core.runtime.tensorrt_build import build_in_child, BuildRequest

    plan = build_in_child(graph.weights, BuildRequest(flavour.name, graph.shapes, targets))
    cache.store(cache_entry(graph, flavour, '', targets), plan)
    return f'{graph.system} {graph.precision}, {len(plan) / 1e6:.1f} MB, not run'


def here(graph: Any, cpu: Any, flavour: Any, cuda: Any, cache: Any) -> str:
    """Builds for this machine, runs, and compares with the CPU.

    Returns:
        What came of it, for people.

    Raises:
        EngineError: It cannot be built, is wrong, or cannot be kept, as on a full disk.
    """
    from geoloc_core.errors import EngineError
    from geoloc_core.runtime.engine_choice import cache_entry, tensorrt_engine
    from geoloc_core.runtime.swapping_engine import difference

    engine = tensorrt_engine(graph, flavour, cuda, cache)
    try:
        arrays = graph.warm_up()
        off = difference(cpu.run(arrays), engine.run(arrays))
        values, why = engine.report().values, engine.report().reason
    finally:
        engine.close()
    if not off <= graph.tolerance:
        raise EngineError(
            f'the engine of {graph.system} answers otherwise than the CPU, by {off:.2g} of its '
            f'range ({graph.tolerance:g} are allowed): the node will not use it'
        )
    if cache.find(cache_entry(graph, flavour, str(cuda.gpu)), cuda.gpu)[0] is None:
        raise EngineError(f'the engine of {graph.system} runs, but is not kept: {why}')
    return (
        f'{graph.system} {graph.precision}, {values["plan_mb"]} MB, {why}, answers like the CPU '
        f'to {off:.1e} of its range'
    )
