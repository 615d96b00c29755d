# SPDX-License-Identifier: Apache-2.0
"""Runs ONNX weights with onnxruntime (optional: pip install onnxruntime)."""

from collections.abc import Mapping

from numpy.typing import NDArray

from geoloc_core.errors import BundleError, EngineError
from geoloc_core.runtime.engine import AbstractEngine, Shape
from geoloc_core.runtime.threads import threads_of

CPU = 'CPUExecutionProvider'
# Providers for a GPU, the quickest first, and what people call them.
GPU_PROVIDERS = {'TensorrtExecutionProvider': 'TensorRT', 'CUDAExecutionProvider': 'CUDA'}


class OnnxEngine(AbstractEngine):
    """onnxruntime, on the CPU unless told otherwise."""

    def __init__(self, model: bytes, threads: int = 2, provider: str = CPU) -> None:
        """Loads a network.

        Args:
            model: Content of the .onnx file. Bytes, not a path: what was verified is what runs,
                and a graph cannot pull in files beside it.
            threads: Of one inference; 0 for as many as leave the robot a core, see `threads_of`.
            provider: `CPU`, or one of `GPU_PROVIDERS`.

        Raises:
            BundleError: onnxruntime is not installed, or refuses the graph.
            EngineError: The provider does not come up.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise BundleError(
                'running a model needs onnxruntime: pip install onnxruntime'
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads_of(threads)
        # Threads that wait for work turn in circles: that is quicker within a run,
        # but between runs the robot needs the cores.
        options.add_session_config_entry('session.intra_op.allow_spinning', '1')
        options.add_session_config_entry('session.force_spinning_stop', '1')
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # A pattern keeps one more block of memory for each shape of the inputs: numbers of yaws
        # change from frame to frame, and a robot's memory would grow. The arena stays: without
        # it every run gets its pages anew, and correlating over many yaws takes many.
        options.enable_mem_pattern = False
        self._provider = provider
        providers = [provider] if provider == CPU else [provider, CPU]
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=providers)
        except Exception as error:  # onnxruntime has no common base for its errors
            raise self._error(f'onnxruntime refuses the model: {error}') from error
        # Of a provider that does not come up it says nothing, and takes the next.
        if self._session.get_providers()[0] != provider:
            raise EngineError(f'onnxruntime could not start its {provider}')

    @property
    def name(self) -> str:
        """See `AbstractEngine`."""
        return f'onnxruntime {GPU_PROVIDERS.get(self._provider, "CPU")}'

    @property
    def inputs(self) -> Mapping[str, Shape]:
        """See `AbstractEngine`."""
        return {node.name: _shape(node.shape) for node in self._session.get_inputs()}

    @property
    def outputs(self) -> Mapping[str, Shape]:
        """See `AbstractEngine`."""
        return {node.name: _shape(node.shape) for node in self._session.get_outputs()}

    def run(self, arrays: Mapping[str, NDArray]) -> dict[str, NDArray]:
        """See `AbstractEngine`."""
        names = [node.name for node in self._session.get_outputs()]
        try:
            return dict(zip(names, self._session.run(names, dict(arrays)), strict=True))
        except Exception as error:  # onnxruntime has no common base for its errors
            raise self._error(f'the model does not take these inputs: {error}') from error

    def _error(self, text: str) -> BundleError | EngineError:
        """On the CPU it is the model's fault; on a GPU another engine may do better."""
        return BundleError(text) if self._provider == CPU else EngineError(text)


def available_providers() -> tuple[str, ...]:
    """Of `GPU_PROVIDERS`, those that the installed onnxruntime was built with."""
    try:
        import onnxruntime
    except ImportError:
        return ()
    built = onnxruntime.get_available_providers()
    return tuple(name for name in GPU_PROVIDERS if name in built)


def _shape(shape: list) -> Shape:
    """Named and unknown sizes become -1."""
    return tuple(size if isinstance(size, int) else -1 for size in shape)
