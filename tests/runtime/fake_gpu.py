# SPDX-License-Identifier: Apache-2.0
"""A GPU that is none: the part of the CUDA runtime and of TensorRT that engines use.

Its memory is the host's, its streams run at once unless they are being captured, its plans hold an
ONNX graph that onnxruntime runs. What the real ones check, it checks: addresses that were never
given, plans of another version or device, memory that is full, a device that is gone.
"""

import ctypes
from enum import IntEnum
import json
import types

import numpy as np

from geoloc_core.runtime.cuda import Cuda
from geoloc_core.runtime.onnx_engine import OnnxEngine
from geoloc_core.runtime.tensorrt_build import Flavour

MAGIC = b'FAKEPLAN'
DEVICE = 'Imaginary RTX'


class Code(IntEnum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorDevicesUnavailable = 46
    cudaErrorNoDevice = 100
    cudaErrorStreamCaptureUnsupported = 900


class Stream:
    def __init__(self, number):
        self.number = number
        self.capturing = None

    def __int__(self):
        return self.number

    def put(self, work):
        """Runs at once; during a capture it is written down instead."""
        if self.capturing is None:
            work()
        else:
            self.capturing.append(work)


class FakeCudaRuntime:
    """`cuda.bindings.runtime`; `calls` counts, `failing` makes a call fail, `gone` all of them."""

    cudaMemcpyKind = types.SimpleNamespace(
        cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2, cudaMemcpyDeviceToDevice=3
    )
    cudaStreamCaptureMode = types.SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)

    def __init__(self, devices=1, memory=1 << 30, name=DEVICE, capability=(8, 9)):
        self.devices, self.memory, self.name, self.capability = devices, memory, name, capability
        self.failing = {}
        self.gone = False
        self.calls = []
        self.pinned, self.on_device, self.streams = {}, {}, {}

    def __getattr__(self, name):
        if not name.startswith('cuda'):
            raise AttributeError(name)

        def call(*arguments):
            self.calls.append(name)
            if self.gone:
                return (Code.cudaErrorDevicesUnavailable,)
            if name in self.failing:
                return (self.failing[name],)
            return getattr(self, '_' + name)(*arguments)

        return call

    def _cudaGetDeviceCount(self):
        return Code.cudaSuccess, self.devices

    def _cudaSetDevice(self, index):
        return (Code.cudaSuccess if index < self.devices else Code.cudaErrorNoDevice,)

    def _cudaGetDeviceProperties(self, index):
        major, minor = self.capability
        seen = types.SimpleNamespace(
            name=self.name.encode() + b'\0', major=major, minor=minor, totalGlobalMem=self.memory
        )
        return Code.cudaSuccess, seen

    def _cudaMemGetInfo(self):
        used = sum(len(block) for block in self.on_device.values())
        return Code.cudaSuccess, self.memory - used, self.memory

    def _take(self, blocks, size):
        block = (ctypes.c_byte * size)()
        blocks[ctypes.addressof(block)] = block
        return Code.cudaSuccess, ctypes.addressof(block)

    def _cudaHostAlloc(self, size, flags):
        return self._take(self.pinned, size)

    def _cudaMalloc(self, size):
        if size > self._cudaMemGetInfo()[1]:
            return Code.cudaErrorMemoryAllocation, None
        return self._take(self.on_device, size)

    def _cudaFree(self, address):
        del self.on_device[address]
        return (Code.cudaSuccess,)

    def _cudaFreeHost(self, address):
        del self.pinned[address]
        return (Code.cudaSuccess,)

    def _cudaStreamCreate(self):
        stream = Stream(len(self.streams) + 7)
        self.streams[stream.number] = stream
        return Code.cudaSuccess, stream

    def _cudaStreamDestroy(self, stream):
        del self.streams[int(stream)]
        return (Code.cudaSuccess,)

    def _cudaStreamSynchronize(self, stream):
        assert stream.capturing is None
        return (Code.cudaSuccess,)

    def _cudaMemcpyAsync(self, to, source, size, kind, stream):
        if kind == 3:
            # One side is this runtime's; what torch holds on the CPU stands for the other.
            (mine,) = (each for each in (to, source) if each in self.on_device)
            assert size <= len(self.on_device[mine])
            stream.put(lambda: ctypes.memmove(to, source, size))
            return (Code.cudaSuccess,)
        sides = (self.on_device, self.pinned) if kind == 1 else (self.pinned, self.on_device)
        assert to in sides[0] and source in sides[1]
        assert size <= len(sides[0][to]) and size <= len(sides[1][source])
        stream.put(lambda: ctypes.memmove(to, source, size))
        return (Code.cudaSuccess,)

    def _cudaStreamBeginCapture(self, stream, mode):
        stream.capturing = []
        return (Code.cudaSuccess,)

    def _cudaStreamEndCapture(self, stream):
        graph, stream.capturing = stream.capturing, None
        return Code.cudaSuccess, graph

    def _cudaGraphInstantiate(self, graph, flags):
        return Code.cudaSuccess, list(graph)

    def _cudaGraphDestroy(self, graph):
        return (Code.cudaSuccess,)

    def _cudaGraphExecDestroy(self, graph):
        return (Code.cudaSuccess,)

    def _cudaGraphLaunch(self, graph, stream):
        for work in graph:
            work()
        return (Code.cudaSuccess,)


def plan_of(weights, version='1.7.1', capability='8.9', distort=0.0):
    """A plan that runs a graph; `distort` makes it calculate wrongly."""
    head = json.dumps({'version': version, 'capability': capability, 'distort': distort})
    return MAGIC + head.encode() + b'\n' + weights


def fake_tensorrt(cuda, version='1.7.1', kernels=True):
    """A module like `tensorrt_rtx`; without kernels like `tensorrt` 10, which keeps none."""
    trt = types.ModuleType('tensorrt_rtx')
    trt.__version__ = version
    trt.TensorIOMode = types.SimpleNamespace(INPUT=0, OUTPUT=1)
    trt.EngineValidity = types.SimpleNamespace(VALID=0, INVALID=1)
    trt.nptype = lambda dtype: dtype
    trt.loaded_kernels = []

    class ILogger:
        Severity = types.SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2)

    class RuntimeCache:
        def deserialize(self, blob):
            trt.loaded_kernels.append(bytes(blob))
            return True

        def serialize(self):
            return b'compiled for ' + cuda.name.encode()

    class RuntimeConfig:
        def set_runtime_cache(self, cache):
            self.cache = cache
            return True

        if kernels:

            def create_runtime_cache(self):
                return RuntimeCache()

    class Context:
        def __init__(self, engine):
            self.engine = engine
            self.addresses = {}

        def set_tensor_address(self, name, address):
            self.addresses[name] = address
            return True

        def execute_async_v3(self, stream):
            if set(self.addresses) != {name for name, *_ in self.engine.tensors}:
                return False
            cuda.streams[stream].put(self._execute)
            return True

        def _execute(self):
            arrays = {}
            for name, shape, _ in self.engine.tensors:
                arrays[name] = self._memory(name, shape)
            fed = {n: np.array(arrays[n]) for n, _, mode in self.engine.tensors if mode == 0}
            for name, value in self.engine.runs.run(fed).items():
                arrays[name][...] = value + self.engine.distort * np.ptp(value)

        def _memory(self, name, shape):
            block = cuda.on_device[self.addresses[name]]
            return np.frombuffer(block, np.float32).reshape(shape)

    class Engine:
        device_memory_size_v2 = 1000

        def __init__(self, weights, distort):
            self.runs, self.distort = OnnxEngine(weights, 1), distort
            self.tensors = [(n, s, 0) for n, s in self.runs.inputs.items()]
            self.tensors += [(n, s, 1) for n, s in self.runs.outputs.items()]
            self.num_io_tensors = len(self.tensors)

        def get_tensor_name(self, index):
            return self.tensors[index][0]

        def _of(self, name):
            return next(t for t in self.tensors if t[0] == name)

        def get_tensor_shape(self, name):
            return self._of(name)[1]

        def get_tensor_mode(self, name):
            return self._of(name)[2]

        def get_tensor_dtype(self, name):
            return np.float32

        def create_runtime_config(self):
            return RuntimeConfig()

        def create_execution_context(self, config=None):
            return Context(self)

    class Runtime:
        def __init__(self, logger):
            assert cuda.devices, 'the real one has ended the process here'
            self.logger = logger

        def _head(self, plan):
            line, _, weights = plan[len(MAGIC) :].partition(b'\n')
            return json.loads(line), weights

        def get_engine_validity(self, plan):
            if not plan.startswith(MAGIC):
                return trt.EngineValidity.INVALID, 'MALFORMED_ENGINE'
            return trt.EngineValidity.VALID, 0

        def deserialize_cuda_engine(self, plan):
            head, weights = self._head(plan)
            capability = '.'.join(str(n) for n in cuda.capability)
            if head['version'] != version or head['capability'] != capability:
                self.logger.log(1, 'The engine plan file is of another version or device')
                return None
            return Engine(weights, head['distort'])

    trt.ILogger, trt.Runtime = ILogger, Runtime
    trt.Builder = trt.OnnxParser = object
    return trt


def fake_gpu(version='1.7.1', kernels=True, **device):
    """(runtime, Cuda, Flavour) of a machine with such a device."""
    runtime = FakeCudaRuntime(**device)
    trt = fake_tensorrt(runtime, version, kernels)
    return runtime, Cuda(runtime), Flavour('tensorrt_rtx', version, trt)
