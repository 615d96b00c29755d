# SPDX-License-Identifier: Apache-2.0
"""The little of CUDA that engines need: is there a GPU, pinned memory, a stream, a graph.

Every call that fails raises `EngineError`. Nothing is loaded before a driver was found: TensorRT's
libraries have ended the process where there was none. `CUDA_VISIBLE_DEVICES` chooses the GPU.
"""

from collections.abc import Callable
from contextlib import suppress
import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import EngineError

_DRIVER = 'libcuda.so.1'
_TO_DEVICE, _TO_HOST = 'cudaMemcpyHostToDevice', 'cudaMemcpyDeviceToHost'


@dataclass(frozen=True)
class Gpu:
    """A device.

    Attributes:
        name: As its maker calls it.
        capability: Compute capability, such as '8.9'.
        memory_mb: Of the device, MiB.
    """

    name: str
    capability: str
    memory_mb: int

    def __str__(self) -> str:
        """One line."""
        return f'{self.name} ({self.capability})'


class Cuda:
    """The CUDA runtime with one device."""

    def __init__(self, api: Any) -> None:
        """Looks for a device.

        Args:
            api: `cuda.bindings.runtime`, or what behaves like it.

        Raises:
            EngineError: There is none.
        """
        self._api = api
        if self.call('cudaGetDeviceCount') < 1:
            raise EngineError('there is a CUDA driver but no GPU')
        self.call('cudaSetDevice', 0)
        seen = self.call('cudaGetDeviceProperties', 0)
        name = seen.name.decode() if isinstance(seen.name, bytes) else str(seen.name)
        self.gpu = Gpu(
            name.rstrip('\0'), f'{seen.major}.{seen.minor}', int(seen.totalGlobalMem) >> 20
        )

    def call(self, name: str, *arguments: Any) -> Any:
        """Calls a function of the runtime.

        Returns:
            What it returns beside its error code: None, one value or a tuple.

        Raises:
            EngineError: It returned another code than success.
        """
        code, *values = getattr(self._api, name)(*arguments)
        if int(code) != 0:
            raise EngineError(f'CUDA: {name} failed with {getattr(code, "name", code)}')
        return values[0] if len(values) == 1 else (tuple(values) or None)

    def use(self) -> None:
        """Makes the device that of the calling thread."""
        self.call('cudaSetDevice', 0)

    def memory_free_mb(self) -> int:
        """Of the device, MiB."""
        return int(self.call('cudaMemGetInfo')[0]) >> 20

    def copy(self, buffer: 'Buffer', bytes_: int, to_device: bool, stream: Any) -> None:
        """Starts a copy between both sides of a buffer, in the order of a stream."""
        ends = (buffer.device, buffer.host) if to_device else (buffer.host, buffer.device)
        kind = getattr(self._api.cudaMemcpyKind, _TO_DEVICE if to_device else _TO_HOST)
        self.call('cudaMemcpyAsync', *ends, bytes_, kind, stream)

    def copy_within(self, to: Any, source: Any, bytes_: int, stream: Any) -> None:
        """Starts a copy from one address on the device to another, in the order of a stream."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyDeviceToDevice
        self.call('cudaMemcpyAsync', to, source, bytes_, kind, stream)

    def captured(self, stream: Any, work: Callable[[], None]) -> Any:
        """The work that is put on a stream, as a graph that can be launched again and again.

        Raises:
            EngineError: Something of it cannot be part of a graph.
        """
        mode = self._api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self.call('cudaStreamBeginCapture', stream, mode)
        try:
            work()
        except EngineError:
            # The stream is of no use until the capture is ended.
            with suppress(EngineError):
                self.call('cudaStreamEndCapture', stream)
            raise
        graph = self.call('cudaStreamEndCapture', stream)
        try:
            return self.call('cudaGraphInstantiate', graph, 0)
        finally:
            self.call('cudaGraphDestroy', graph)


class Replayed:
    """Work on a stream: step by step at first, then as one graph, where that can be made.

    Attributes:
        state: What became of the graph, for people.
    """

    def __init__(self, cuda: Cuda, stream: Any, work: Callable[[], None]) -> None:
        """Does nothing yet.

        Args:
            cuda: The device.
            stream: That the work is put on.
            work: Puts it there; the same addresses every time.
        """
        self._cuda, self._stream, self._work = cuda, stream, work
        self._graph: Any = None
        self.state = 'not yet'

    def start(self) -> None:
        """Puts the work on the stream.

        Raises:
            EngineError: It cannot be put there.
        """
        if self._graph is not None:
            self._cuda.call('cudaGraphLaunch', self._graph, self._stream)
        else:
            self._work()

    def settle(self) -> None:
        """After a first run that went well: makes the graph; else runs stay as they are."""
        if self.state != 'not yet':
            return
        try:
            self._graph = self._cuda.captured(self._stream, self._work)
            self.state = 'used'
        except EngineError as error:
            self.state = f'not used: {error}'

    def free(self) -> None:
        """Gives the graph back."""
        graph, self._graph = self._graph, None
        if graph is not None:
            with suppress(EngineError):
                self._cuda.call('cudaGraphExecDestroy', graph)


class Buffer:
    """Memory of one tensor: pinned on the host, and on the device."""

    def __init__(self, cuda: Cuda, shape: tuple[int, ...], dtype: Any) -> None:
        """Takes the memory.

        Args:
            cuda: The device.
            shape: Of the tensor.
            dtype: Of its numbers.

        Raises:
            EngineError: There is not enough of it.
        """
        self._cuda = cuda
        self.dtype = np.dtype(dtype)
        self.shape = shape
        self.size = int(np.prod(shape)) * self.dtype.itemsize
        self.host = cuda.call('cudaHostAlloc', max(self.size, 1), 0)
        try:
            self.device = cuda.call('cudaMalloc', max(self.size, 1))
        except EngineError:
            with suppress(EngineError):
                cuda.call('cudaFreeHost', self.host)
            raise
        memory = (ctypes.c_byte * self.size).from_address(int(self.host))
        self.array: NDArray[Any] = np.frombuffer(memory, self.dtype).reshape(shape)

    def free(self) -> None:
        """Gives it back; of a device that is gone nothing can be given back."""
        self.array = np.zeros(0, self.dtype)
        for name, address in (('cudaFree', self.device), ('cudaFreeHost', self.host)):
            with suppress(EngineError):
                self._cuda.call(name, address)


def has_driver() -> bool:
    """Whether there is an NVIDIA driver. Cheap, and loads nothing where there is none."""
    try:
        ctypes.CDLL(_DRIVER)
    except OSError:
        return False
    return True


def open_cuda() -> Cuda:
    """The first visible device.

    Raises:
        EngineError: There is no driver, no device, or no binding to them.
    """
    if not has_driver():
        raise EngineError(f'there is no NVIDIA driver ({_DRIVER})')
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        raise EngineError(
            'there is an NVIDIA driver, but using it needs cuda-bindings, of a CUDA version that '
            'the driver supports (nvidia-smi names the newest): pip install cuda-bindings'
        ) from error
    return Cuda(runtime)
