# SPDX-License-Identifier: Apache-2.0
"""A teacher that follows its student as a moving average (Tarvainen & Valpola, NeurIPS 2017)."""

import copy
from typing import TypeVar

import torch
from torch import nn

M = TypeVar('M', bound=nn.Module)


def make_teacher(student: M) -> M:
    """A copy that never learns by gradients and always answers as when deployed."""
    teacher = copy.deepcopy(student)
    for parameter in teacher.parameters():
        parameter.requires_grad_(False)
    return teacher.eval()


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, decay: float) -> None:
    """Moves a teacher: decay teacher + (1 - decay) student, parameters and buffers.

    Running statistics of normalisation layers are averaged like weights: left out, the teacher's
    weights would meet statistics of long ago. Whole numbers (counts) are copied.

    Args:
        teacher: Changed in place.
        student: Of the same kind.
        decay: 0..1; 0 copies.
    """
    source = student.state_dict()
    for name, value in teacher.state_dict().items():
        other = source[name].to(value.device)
        if value.is_floating_point():
            value.lerp_(other.to(value.dtype), 1.0 - decay)
        else:
            value.copy_(other)
