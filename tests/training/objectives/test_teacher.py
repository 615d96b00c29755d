# SPDX-License-Identifier: Apache-2.0
"""A teacher follows its student in weights and in statistics."""

import torch
from torch import nn

from training.objectives.teacher import follow, make_teacher


def net():
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))


def test_weights_statistics_and_counts_follow():
    torch.manual_seed(0)
    student = net()
    teacher = make_teacher(student)
    with torch.no_grad():
        student[0].weight += 1.0
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    student(3 + 2 * torch.randn(8, 3, 5, 7))
    follow(teacher, student, decay=0.9)
    for name, value in teacher.state_dict().items():
        now = student.state_dict()[name]
        if value.is_floating_point():
            torch.testing.assert_close(value, 0.9 * before[name] + 0.1 * now)
        else:
            assert value == now == 1
    assert not torch.equal(teacher[1].running_mean, before['1.running_mean'])
    assert not torch.equal(teacher[1].running_var, before['1.running_var'])


def test_a_teacher_is_apart_from_its_student_and_does_not_learn():
    student = net()
    teacher = make_teacher(student)
    assert not teacher.training
    assert not any(p.requires_grad for p in teacher.parameters())
    assert all(p.requires_grad for p in student.parameters())
    follow(teacher, student, decay=0.0)
    with torch.no_grad():
        student[0].weight += 1.0
    assert not torch.equal(teacher[0].weight, student[0].weight)
