# SPDX-License-Identifier: Apache-2.0
"""Runs ONNX weights on the CPU with onnxruntime (optional: pip install geoloc[onnx])."""

from collections.abc import Mapping

from numpy.typing import NDArray

from geoloc_core.errors import BundleError
from geoloc_core.runtime.engine import AbstractEngine, Shape


class OnnxEngine(AbstractEngine):
    """onnxruntime on the CPU."""

    def __init__(self, model: bytes, threads: int = 2) -> None:
        """Loads a network.

        Args:
            model: Content of the .onnx file. Bytes, not a path: what was verified is what runs,
                and a graph cannot pull in files beside it.
            threads: Of one inference.

        Raises:
            BundleError: onnxruntime is not installed, or refuses the graph.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise BundleError(
                'running a model needs onnxruntime: pip install onnxruntime'
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                model, options, providers=['CPUExecutionProvider']
            )
        except Exception as error:  # onnxruntime has no common base for its errors
            raise BundleError(f'onnxruntime refuses the model: {error}') from error

    @property
    def name(self) -> str:
        """See `AbstractEngine`."""
        return 'onnxruntime CPU'

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
            raise BundleError(f'the model does not take these inputs: {error}') from error


def _shape(shape: list) -> Shape:
    """Named and unknown sizes become -1."""
    return tuple(size if isinstance(size, int) else -1 for size in shape)
