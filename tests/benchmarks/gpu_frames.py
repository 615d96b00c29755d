# SPDX-License-Identifier: Apache-2.0
"""Frame to pose on a GPU: with pictures prepared there, beside the same prepared on the CPU.

Stages are timed one by one, each waited for; the whole frame is timed again without waiting
between. Frames are made up and already uncompressed; everything they go through is the project's
own. Networks in torch have random weights, which change no time; engines have the bundle's.
"""

from dataclasses import replace
from pathlib import Path
import tempfile
from typing import Any

import numpy as np

STAGES = {
    'map_ms': 'map -> patch around the prior, on the host',
    'tables_ms': 'where each cell of the view lies, on the host',
    'prepare_ms': 'pictures -> numbers; on the host this makes the tables, too',
    'upload_ms': 'host -> GPU',
    'network_ms': 'the network',
    'decode_ms': 'its volume x prior -> pose and covariance, on the GPU',
    'download_ms': 'twelve numbers -> host',
    'frame_ms': 'all of it',
}
WARM_UP = 5
STD_YAW_DEG = 5.0


def torch_network(spec: Any, device: Any, precision: str = 'fp32') -> Any:
    """The system that a bundle is of, in torch with random weights.

    Args:
        spec: The bundle's.
        device: Of torch.
        precision: 'fp32', or 'fp16' by autocast.

    Raises:
        BundleError: The bundle is of other settings than the system's own.
    """
    import torch

    from geoloc_core.errors import BundleError
    from tests.benchmarks.engines import subject_of
    from training.onnx_graph import LogitsOf

    model = subject_of(spec.system, {}).model
    if model.inputs != spec.inputs or model.EXTRA_INPUTS:
        raise BundleError(f'{spec.system} with its own settings is fed other inputs')
    module = LogitsOf(model).to(device).eval()
    kind = torch.device(device).type

    def run(view: Any, patch: Any, yaws: Any) -> Any:
        with torch.autocast(kind, torch.float16, enabled=precision == 'fp16'):
            return module(view, patch, *(() if yaws is None else (yaws,)))

    return run


def in_precision(graph: Any, precision: str) -> Any:
    """A bundle's network (`runtime.graph.Graph`) in half precision, or as it is.

    Raises:
        BundleError: There is no way from the bundle's precision to that one.
    """
    from geoloc_core.errors import BundleError
    from training.export_subject import digest
    from training.half_precision import to_half

    if precision == graph.precision:
        return graph
    if (graph.precision, precision) != ('fp32', 'fp16'):
        raise BundleError(
            f'the bundle is in {graph.precision}, it is not to be had in {precision}'
        )
    half = to_half(graph.weights)[0]
    return replace(graph, weights=half, sha256=digest(half), precision='fp16')


def engine_network(spec: Any, engine: Any, device: Any) -> Any:
    """An engine of TensorRT that is fed from the device's memory."""
    import torch

    out = spec.output
    logits = torch.empty((1, out.yaw_bins, out.height, out.width), device=device)

    def run(view: Any, patch: Any, yaws: Any) -> Any:
        given = {spec.inputs.view.name: view, spec.inputs.patch.name: patch}
        if yaws is not None:
            given[out.yaw_input] = yaws
        given = {name: value.contiguous() for name, value in given.items()}
        if logits.is_cuda:
            # The engine has a stream of its own.
            torch.cuda.current_stream().synchronize()
        engine.run_on_device(
            {name: value.data_ptr() for name, value in given.items()},
            {out.name: logits.data_ptr()},
        )
        return logits

    return run


def frame_times(spec: Any, network: Any, device: Any, repeat: int) -> dict[str, Any]:
    """Median and 99th percentile of all stages, both ways.

    Args:
        spec: The bundle's.
        network: See `device_frame.Network`.
        device: Of torch.
        repeat: Frames that are timed.

    Returns:
        'on_gpu' and 'on_cpu', where pictures are prepared: stage -> p50, p99; apart_m and
        apart_deg: how far poses of both are from each other, median and worst of the frames.
    """
    import torch

    from geoloc_core.sources.pipeline_timing import MadeUpDrive
    from geoloc_core.types import GroundView
    from tests.benchmarks.device_frame import apart, DeviceFrame, Watch

    drive = MadeUpDrive(spec.inputs.camera_kinds, float(np.radians(STD_YAW_DEG)))
    device = torch.device(device)
    found: dict[str, Any] = {}
    poses: dict[str, list] = {}
    for name in ('on_gpu', 'on_cpu'):
        path = DeviceFrame(spec, network, device, on_host=name == 'on_cpu')
        ms: dict[str, list[float]] = {}
        poses[name] = []
        for whole in (False, True):
            for number in range(WARM_UP + repeat):
                # What a camera driver hands over is new memory every time.
                image = drive.picture.copy()
                view = GroundView(number, image, drive.camera, drive.T_base_camera)
                watch = Watch(device, whole)
                with torch.no_grad():
                    pose = path.run(view, drive.prior(number), drive.ground, watch)
                if number < WARM_UP:
                    continue
                for stage, spent in watch.ms.items():
                    ms.setdefault(stage, []).append(spent)
                if whole:
                    poses[name].append(pose)
        found[name] = {
            stage: {'p50': np.percentile(ms[stage], 50), 'p99': np.percentile(ms[stage], 99)}
            for stage in STAGES
            if stage in ms
        }
    away = np.array([apart(*pair) for pair in zip(*poses.values(), strict=True)])
    for name, column in zip(('apart_m', 'apart_deg'), away.T, strict=True):
        found[name] = {'median': float(np.median(column)), 'worst': float(column.max())}
    return found


def device_frames(
    bundle: str, runs: str, precision: str = 'fp32', repeat: int = 200, device: str = 'cuda'
) -> dict:
    """Frame to pose with a bundle; in a process of its own.

    Args:
        bundle: Its folder.
        runs: 'torch', or a flavour of TensorRT.
        precision: 'fp32' or 'fp16', of a bundle that is in single precision.
        repeat: Frames that are timed.
        device: Of torch.
    """
    import torch

    from geoloc_core.errors import EngineError
    from geoloc_core.runtime.bundle import load_bundle
    from geoloc_core.runtime.cuda import open_cuda
    from geoloc_core.runtime.engine_cache import EngineCache
    from geoloc_core.runtime.engine_choice import tensorrt_engine
    from geoloc_core.runtime.tensorrt_build import load_flavour

    try:
        if device == 'cuda' and not torch.cuda.is_available():
            raise EngineError('torch sees no GPU here: it must be a build with CUDA')
        loaded = load_bundle(Path(bundle))
        if runs == 'torch':
            network = torch_network(loaded.spec, device, precision)
            return frame_times(loaded.spec, network, device, repeat)
        cuda, flavour = open_cuda(), load_flavour(runs)
    except EngineError as error:
        return {'absent': str(error)[:200]}
    with tempfile.TemporaryDirectory() as folder:
        graph = in_precision(loaded.graph(), precision)
        engine = tensorrt_engine(graph, flavour, cuda, EngineCache(folder))
        try:
            network = engine_network(loaded.spec, engine, device)
            return frame_times(loaded.spec, network, device, repeat)
        finally:
            engine.close()


def frame_table(rows: dict[str, dict]) -> str:
    """For people: median / 99th percentile of each stage, ms."""
    stages = [name.removesuffix('_ms') for name in STAGES]
    lines = [f'{"frame to pose":<24}' + ''.join(f'{name:>16}' for name in stages)]
    for runs, figures in rows.items():
        why = figures.get('error') or figures.get('absent')
        if why:
            lines.append(f'{runs:<24} {why}')
            continue
        for where in ('on_gpu', 'on_cpu'):
            cells = ''.join(
                f'{"{p50:.3f} / {p99:.3f}".format(**figures[where][stage]):>16}'
                if stage in figures[where]
                else f'{"-":>16}'
                for stage in STAGES
            )
            lines.append(f'{f"{runs}, {where}":<24}{cells}')
        metres, degrees = figures['apart_m'], figures['apart_deg']
        lines.append(
            f'  apart {metres["median"]:.2g} m, {degrees["median"]:.2g} deg '
            f'(worst {metres["worst"]:.2g} m, {degrees["worst"]:.2g} deg)'
        )
    return '\n'.join(lines)
