# SPDX-License-Identifier: Apache-2.0
"""A network too small to be good, and one that answers what it is told to."""

from dataclasses import dataclass, replace
import sys

import torch
from torch import nn

from geoloc_core.input_spec import CameraSpec, InputSpec, RasterSpec
from geoloc_core.models.base import CrossViewModel
from geoloc_core.models.belief import Belief, evenly_spaced_yaws
from geoloc_core.models.registry import MODELS
from tests.models.fixtures import samples
from training.datasets.base import AbstractDataset, UnreadableError
from training.datasets.registry import READERS

HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class TinySettings:
    half_yaw_deg: float = 180.0
    yaw_bins: int = 8
    cells: int = 24
    cell_m: float = 2.0
    patch_size: int = 48


class Tiny(CrossViewModel):
    """Compares the mean colour of the view with that of each place; the yaw it cannot know."""

    NAME = 'tiny_judged'
    Settings = TinySettings

    def __init__(self, settings=None):
        settings = settings or TinySettings()
        size = settings.patch_size
        super().__init__(
            settings,
            InputSpec(
                ('equirectangular',),
                'camera',
                RasterSpec('view', 64, 32, HALF, HALF),
                None,
                None,
                CameraSpec('equirectangular', None, None, 2.0),
                RasterSpec('patch', size, size, HALF, HALF),
                settings.cells * settings.cell_m / size,
                'view',
            ),
        )
        self.view_net = nn.Conv2d(3, 4, 3, padding=1)
        self.patch_net = nn.Conv2d(3, 4, 3, padding=1)
        self.turn_net = nn.Linear(4, settings.yaw_bins)
        self.calibration['log_temperature'] = nn.Parameter(torch.zeros(()))

    def forward(self, view, patch, **extra):
        about = self.view_net(view).mean(dim=(2, 3))
        step = self.settings.patch_size // self.settings.cells
        place = nn.functional.avg_pool2d(self.patch_net(patch), step)
        return {
            'heat': (place * about[:, :, None, None]).sum(dim=1),
            'turn': self.turn_net(about),
        }

    def belief(self, outputs):
        cold = (-self.calibration['log_temperature']).exp()
        yaws = evenly_spaced_yaws(self.settings.yaw_bins, self.settings.half_yaw_deg)
        logits = (outputs['heat'][:, None] + outputs['turn'][:, :, None, None]) * cold
        return Belief(
            logits,
            self.settings.cell_m,
            yaws.to(logits.device),
            self.settings.half_yaw_deg >= 180,
        )


class Told(Tiny):
    """Answers with a normal distribution of given width around truth + offset, both told."""

    def __init__(self, settings=None, std=(2.0, 2.0, 0.5), offset=(0.0, 0.0, 0.0)):
        super().__init__(settings)
        self.std, self.offset, self.truth = std, torch.tensor(offset), None

    def forward(self, view, patch, **extra):
        return {'pose': self.truth[: len(view)] + self.offset}

    def belief(self, outputs):
        pose, s = outputs['pose'], self.settings
        yaws = evenly_spaced_yaws(s.yaw_bins, s.half_yaw_deg)
        x = (torch.arange(s.cells) - (s.cells - 1) / 2) * s.cell_m
        dx = (x[None] - pose[:, :1]) / self.std[0]
        dy = (-x[None] - pose[:, 1:2]) / self.std[1]
        turn = (yaws[None] - pose[:, 2:] + torch.pi).remainder(2 * torch.pi) - torch.pi
        logits = -0.5 * (
            dx[:, None, None] ** 2
            + dy[:, None, :, None] ** 2
            + (turn / self.std[2])[..., None, None] ** 2
        )
        return Belief(logits, s.cell_m, yaws, s.half_yaw_deg >= 180, pose)


def install():
    """Makes the network and a data set of the fixtures' samples known by name."""
    MODELS['tiny_judged'] = ('tiny_judged', 'Tiny')
    READERS['eight'] = ('eight', 'Eight')
    here = sys.modules[__name__]
    sys.modules['geoloc_core.models.tiny_judged'] = here
    sys.modules['training.datasets.eight'] = here


class Eight(AbstractDataset):
    """The fixtures' samples; 'empty' has none, and of 'torn' the first cannot be read."""

    NAME = 'eight'
    LAYOUT = 'any folder'
    SPLITS = ('train', 'test', 'empty', 'torn')

    @classmethod
    def recognises(cls, root):
        return False

    @property
    def keys(self):
        every = [f'{self.split} {i}' for i in range(8)]
        return {'train': every[:3], 'test': every[3:], 'empty': [], 'torn': every[:2]}[self.split]

    @property
    def protocol(self):
        return None

    def files(self, index):
        return ()

    def sample(self, index, epoch=0):
        if self.split == 'torn' and index == 0:
            raise UnreadableError(self.root / 'a.jpg', 'a whole picture')
        number = int(self.keys[index].split()[1])
        return replace(samples()[number], key=self.keys[index])
