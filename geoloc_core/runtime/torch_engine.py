# SPDX-License-Identifier: Apache-2.0
"""Runs weights (.safetensors) in torch, for development: what is being changed, before export.

The one module outside `models/` and training that imports torch, and only when it is used.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import BundleError, EngineError
from geoloc_core.runtime.engine import AbstractEngine, Shape
from geoloc_core.runtime.threads import threads_of


class TorchEngine(AbstractEngine):
    """A cross-view network in torch, on the GPU if there is one."""

    def __init__(
        self,
        weights: str | Path,
        inputs: Mapping[str, Shape],
        output: str,
        yaw_input: str = '',
        threads: int = 2,
    ) -> None:
        """Loads a network.

        Args:
            weights: A .safetensors file that training has written.
            inputs: Name -> shape that its bundle says; -1 where any size is taken.
            output: Name of the bundle's output.
            yaw_input: Name of the bundle's input of yaws; '' if it has none.
            threads: Of one inference on the CPU, 0 for as many as leave the robot a core; torch
                has one number for the whole process.

        Raises:
            EngineError: torch is not installed.
            BundleError: There are no such weights, or they are of another kind of network.
        """
        try:
            import torch

            from geoloc_core.models.base import CrossViewModel
            from geoloc_core.models.weights import load_weights
        except ImportError as error:
            raise EngineError(
                f'the engine torch needs torch and what training needs ({error}): pip install -e '
                "'.[train]' in a checkout of geoloc, or take another engine"
            ) from error
        torch.set_num_threads(threads_of(threads))
        model = load_weights(Path(weights))
        if not isinstance(model, CrossViewModel):
            raise BundleError(f'{weights}: {model.NAME} is no cross-view network')
        self._torch = torch
        self._device = 'cuda' if torch.cuda.is_available() else 'cpu'
        self._model = model.to(self._device).eval()
        self._names = model.inputs.view.name, model.inputs.patch.name
        self._output, self._yaw_input = output, yaw_input
        self._inputs = dict(inputs)

    @property
    def name(self) -> str:
        """See `AbstractEngine`."""
        return f'torch {self._torch.__version__} on {self._device}'

    @property
    def inputs(self) -> Mapping[str, Shape]:
        """See `AbstractEngine`."""
        return dict(self._inputs)

    @property
    def outputs(self) -> Mapping[str, Shape]:
        """See `AbstractEngine`."""
        return {self._output: (-1, -1, -1, -1)}

    def run(self, arrays: Mapping[str, NDArray]) -> dict[str, NDArray]:
        """See `AbstractEngine`."""
        if set(arrays) != set(self._inputs):
            raise BundleError(f'given are {sorted(arrays)}, expected {sorted(self._inputs)}')
        given = {
            name: self._torch.from_numpy(np.ascontiguousarray(value)).to(self._device)
            for name, value in arrays.items()
        }
        more = {'yaws': given[self._yaw_input]} if self._yaw_input else {}
        try:
            with self._torch.no_grad():
                said = self._model(*(given[name] for name in self._names), **more)
                logits = self._model.belief(said).logits
        except RuntimeError as error:
            raise BundleError(f'the network does not take these inputs: {error}') from error
        return {self._output: logits.float().cpu().numpy()}
