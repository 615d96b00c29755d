# SPDX-License-Identifier: Apache-2.0
"""Runs a TensorRT plan of fixed sizes, of either flavour.

One stream, pinned memory on the host, all addresses set once. The first run is put on the stream
step by step; then copies and network together become one CUDA graph, launched once a frame. Where
inputs lie on the device already (`run_on_device`), nothing passes through the host.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import BundleError, EngineError
from geoloc_core.runtime.cuda import Buffer, Cuda, Replayed
from geoloc_core.runtime.engine import AbstractEngine, EngineReport, Shape
from geoloc_core.runtime.tensorrt_build import collecting_logger, Flavour


class TensorRtEngine(AbstractEngine):
    """TensorRT on a GPU."""

    def __init__(self, plan: bytes, flavour: Flavour, cuda: Cuda, kernels: bytes = b'') -> None:
        """Loads a plan.

        Args:
            plan: A serialized engine that this machine made or trusts: plans are programs.
            flavour: The library that it is for.
            cuda: The device; that there is one must be known before the library is asked.
            kernels: What `kernels` returned on this machine, to start sooner; or nothing.

        Raises:
            EngineError: The plan is of another version or GPU, is damaged, or the device has not
                memory enough.
        """
        self._flavour = flavour
        self._cuda = cuda
        self._plan_bytes = len(plan)
        self._buffers: dict[str, Buffer] = {}
        self._inputs: dict[str, Shape] = {}
        self._outputs: dict[str, Shape] = {}
        self._stream: Any = None
        self._whole: Replayed | None = None
        self._network: Replayed | None = None
        self._kernel_cache: Any = None
        self._context: Any = None
        self._engine: Any = None
        try:
            cuda.use()
            self._load(plan, kernels)
        except EngineError:
            self.close()
            raise
        except Exception as error:  # the library's bindings have many, without a common base
            self.close()
            raise EngineError(f'{flavour.name} cannot load the engine: {error}') from error

    def _load(self, plan: bytes, kernels: bytes) -> None:
        trt = self._flavour.module
        self._logger = collecting_logger(trt)
        self._runtime = trt.Runtime(self._logger)
        if hasattr(self._runtime, 'get_engine_validity'):
            validity, why = self._runtime.get_engine_validity(plan)
            if validity == trt.EngineValidity.INVALID:
                raise EngineError(f'{self._flavour.name} calls the engine invalid here: {why}')
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise EngineError(
                f'{self._flavour.name} {self._flavour.version} does not take the engine on '
                f'{self._cuda.gpu}: {" ".join(self._logger.messages)[:400]}'
            )
        self._context = self._engine.create_execution_context(*self._runtime_config(kernels))
        if self._context is None:
            raise EngineError(f'no memory for the engine: {" ".join(self._logger.messages)[:400]}')
        self._stream = self._cuda.call('cudaStreamCreate')
        for index in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(index)
            shape = tuple(int(side) for side in self._engine.get_tensor_shape(name))
            if min(shape, default=1) < 1:
                raise EngineError(f'{name} of the engine is {shape}: expected fixed sizes')
            taken = self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
            (self._inputs if taken else self._outputs)[name] = shape
            dtype = trt.nptype(self._engine.get_tensor_dtype(name))
            self._buffers[name] = buffer = Buffer(self._cuda, shape, dtype)
            self._context.set_tensor_address(name, int(buffer.device))
        self._whole = Replayed(self._cuda, self._stream, self._enqueue)
        self._network = Replayed(self._cuda, self._stream, self._execute)

    def _runtime_config(self, kernels: bytes) -> tuple[Any, ...]:
        """What only TensorRT-RTX has: it compiles kernels at first use, and they can be kept."""
        if not hasattr(self._engine, 'create_runtime_config'):
            return ()
        config = self._engine.create_runtime_config()
        if not hasattr(config, 'create_runtime_cache'):
            return ()
        self._kernel_cache = config.create_runtime_cache()
        if kernels:
            # Those of another driver or device it refuses by itself.
            self._kernel_cache.deserialize(kernels)
        config.set_runtime_cache(self._kernel_cache)
        self._config = config
        return (config,)

    @property
    def name(self) -> str:
        """See `AbstractEngine`."""
        return f'{self._flavour.name} {self._flavour.version} on {self._cuda.gpu.name}'

    @property
    def inputs(self) -> Mapping[str, Shape]:
        """See `AbstractEngine`."""
        return dict(self._inputs)

    @property
    def outputs(self) -> Mapping[str, Shape]:
        """See `AbstractEngine`."""
        return dict(self._outputs)

    def run(self, arrays: Mapping[str, NDArray]) -> dict[str, NDArray]:
        """See `AbstractEngine`."""
        whole = self._open(self._whole, arrays, self._inputs)
        for name, shape in self._inputs.items():
            if arrays[name].shape != shape:
                raise BundleError(f'{name} has shape {arrays[name].shape}, expected {shape}')
            np.copyto(self._buffers[name].array, arrays[name], casting='same_kind')
        self._finish(whole.start)
        # Copies: the memory is written again by the next run.
        answer = {name: np.array(self._buffers[name].array) for name in self._outputs}
        whole.settle()
        return {
            name: found.astype(np.float32) if found.dtype == np.float16 else found
            for name, found in answer.items()
        }

    def run_on_device(self, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> None:
        """Runs the network once on numbers that lie on the device; the answers stay there.

        Args:
            inputs: Input name -> address of float32 numbers of its shape, contiguous. Whatever
                writes them must have ended: the engine has a stream of its own.
            outputs: Output name -> address that the answer (float32) is written to; it is there
                when this returns.

        Raises:
            BundleError: Other names than the network's, or it has numbers of another kind.
            EngineError: The device has failed.
        """
        network = self._open(self._network, inputs, self._inputs)
        self._open(network, outputs, self._outputs)
        for name, buffer in self._buffers.items():
            if buffer.dtype != np.float32:
                raise BundleError(f'{name} is {buffer.dtype}, expected float32 to run on a device')

        def work() -> None:
            for name, address in inputs.items():
                held = self._buffers[name]
                self._cuda.copy_within(held.device, address, held.size, self._stream)
            network.start()
            for name, address in outputs.items():
                held = self._buffers[name]
                self._cuda.copy_within(address, held.device, held.size, self._stream)

        self._finish(work)
        network.settle()

    def _open(
        self, work: Replayed | None, given: Mapping[str, object], expected: Mapping[str, Shape]
    ) -> Replayed:
        """What is to be run; refuses closed engines and other names."""
        if self._context is None or work is None:
            raise EngineError('the engine is closed')
        if set(given) != set(expected):
            raise BundleError(f'given are {sorted(given)}, expected {sorted(expected)}')
        return work

    def _finish(self, work: Callable[[], None]) -> None:
        """Puts work on the stream and waits for its end."""
        try:
            self._cuda.use()
            work()
            self._cuda.call('cudaStreamSynchronize', self._stream)
        except EngineError:
            raise
        except Exception as error:  # the library's bindings have many, without a common base
            raise EngineError(f'{self._flavour.name} failed: {error}') from error

    def _enqueue(self) -> None:
        """Puts copies in, network and copies out on the stream."""
        for name in self._inputs:
            buffer = self._buffers[name]
            self._cuda.copy(buffer, buffer.size, True, self._stream)
        self._execute()
        for name in self._outputs:
            buffer = self._buffers[name]
            self._cuda.copy(buffer, buffer.size, False, self._stream)

    def _execute(self) -> None:
        """Puts the network on the stream."""
        if not self._context.execute_async_v3(int(self._stream)):
            raise EngineError(
                f'{self._flavour.name} could not run: {" ".join(self._logger.messages)[:400]}'
            )

    def kernels(self) -> bytes:
        """What was compiled for this device since loading; empty where nothing is."""
        if self._kernel_cache is None:
            return b''
        content = self._kernel_cache.serialize()
        return b'' if content is None else bytes(content)

    def report(self) -> EngineReport:
        """See `AbstractEngine`."""
        values: dict[str, str | int | float] = {
            'gpu': str(self._cuda.gpu),
            'plan_mb': round(self._plan_bytes / 1e6, 1),
            'cuda_graph': 'not yet' if self._whole is None else self._whole.state,
        }
        if self._engine is not None and hasattr(self._engine, 'device_memory_size_v2'):
            values['activations_mb'] = round(self._engine.device_memory_size_v2 / 1e6, 1)
        return EngineReport(self.name, self.reason, False, values)

    def close(self) -> None:
        """See `AbstractEngine`."""
        self._context = None
        for work in (self._whole, self._network):
            if work is not None:
                work.free()
        if self._stream is not None:
            with suppress(EngineError):
                self._cuda.call('cudaStreamDestroy', self._stream)
        for buffer in self._buffers.values():
            buffer.free()
        self._buffers, self._stream, self._engine = {}, None, None
