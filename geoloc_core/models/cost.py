# SPDX-License-Identifier: Apache-2.0
"""What an answer of a network costs, counted rather than timed."""

import torch
from torch import nn, Tensor
from torch.nn.attention import sdpa_kernel, SDPBackend
from torch.utils.flop_counter import FlopCounterMode


def multiply_adds(module: nn.Module, *inputs: Tensor, **named: Tensor) -> int:
    """Multiplications with their additions in convolutions, layers and attention.

    Papers on vision transformers call this number FLOPs; it is half of the additions and
    multiplications counted one by one. Normalisations and activations are left out.

    Args:
        module: In any mode; it is run once, as it predicts.
        inputs: Of its `forward`; a batch of one gives the cost of one answer.
        named: The same, by name.
    """
    was_training = module.training
    module.eval()
    try:
        # Fused kernels of attention are not counted: take the plain one.
        counter = FlopCounterMode(display=False)
        with counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
            module(*inputs, **named)
    finally:
        module.train(was_training)
    return int(counter.get_total_flops()) // 2
