# SPDX-License-Identifier: Apache-2.0
"""Networks that are exported in tests, small but with what exporting must not lose."""

from dataclasses import dataclass

import torch
from torch import nn

from geoloc_core.models.belief import Belief, evenly_spaced_yaws
from tests.training.evaluation import tiny
from training import export_samples, exporting
from training.cross_view_exporting import CrossViewSubject


@dataclass(frozen=True)
class AnyYawSettings:
    half_yaw_deg: float = 60.0
    yaw_bins: int = 5


class AnyYaw(tiny.Tiny):
    """Scores the yaws that it is asked for, and has a layer that trains otherwise than it runs."""

    NAME = 'any_yaw'
    Settings = AnyYawSettings
    takes_yaws = True

    def __init__(self):
        super().__init__()
        self.settings = AnyYawSettings()
        self.norm = nn.BatchNorm2d(4)

    def forward(self, view, patch, yaws=None):
        if yaws is None:
            yaws = evenly_spaced_yaws(self.settings.yaw_bins, self.settings.half_yaw_deg)
        about = self.norm(self.view_net(view)).mean(dim=(2, 3))
        place = nn.functional.avg_pool2d(self.patch_net(patch), 2)
        heat = (place * about[:, :, None, None]).sum(dim=1)
        return {'scores': heat[:, None] * yaws.cos()[None, :, None, None], 'yaws': yaws}

    def belief(self, outputs):
        return Belief(outputs['scores'], 2.0, outputs['yaws'], False)


def noisy(model, count, **making):
    """A bundle of a network, compared (and quantized) on noise."""
    subject = CrossViewSubject(model)
    samples, pictures = (export_samples.noise(subject, count) for _ in range(2))
    return exporting.make_bundle(subject, samples, exporting.Making(**making), pictures)


class Wide(AnyYaw):
    """With enough numbers in its matrices to be worth half of them, and a sum that is not."""

    NAME = 'wide'

    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(4, 16)
        self.back = nn.Linear(16, 4)

    def forward(self, view, patch, yaws=None):
        if yaws is None:
            yaws = evenly_spaced_yaws(self.settings.yaw_bins, self.settings.half_yaw_deg)
        about = self.back(torch.relu(self.mix(self.norm(self.view_net(view)).mean(dim=(2, 3)))))
        place = nn.functional.avg_pool2d(torch.relu(self.patch_net(patch)), 2)
        heat = 10 * (place * about[:, :, None, None]).sum(dim=1)
        return {'scores': heat[:, None] * yaws.cos()[None, :, None, None], 'yaws': yaws}
