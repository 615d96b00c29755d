# SPDX-License-Identifier: Apache-2.0
"""Networks on the GPU at hand: what runs them, how long it takes, and how short it could."""

from collections.abc import Callable
import tempfile
import time
from typing import Any

import numpy as np

_WARM_UP = 10
_PATIENCE_S = 20.0
_LEAST = 30


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
