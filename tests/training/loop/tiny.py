# SPDX-License-Identifier: Apache-2.0
"""A network, a reader and a command small enough to train in a test; `install` registers them."""

from dataclasses import dataclass
from pathlib import Path
import sys

import torch
from torch import nn
from torch.nn import functional as F

from geoloc_core.input_spec import CameraSpec, InputSpec, RasterSpec
from geoloc_core.models.base import CrossViewModel
from geoloc_core.models.belief import Belief, evenly_spaced_yaws
from geoloc_core.models.registry import MODELS
from training.datasets.base import AbstractDataset
from training.datasets.protocol import fractions, Protocol
from training.datasets.registry import READERS
from training.datasets.storage import load_sample
from training.objectives.base import LOSS, Objective, run_model
from training.objectives.registry import OBJECTIVES

SAMPLES = Path(__file__).parents[2] / 'models' / 'samples'
CONFIG = f"""
system: {{name: tiny}}
objective: {{name: volume}}
data:
  reader: stored
  root: {SAMPLES}
  train: {{split: train}}
  validation: {{split: validation}}
  workers: 0
batch_size: 2
epochs: 3
optimizer: {{name: adamw, lr: 1e-3}}
schedule: {{name: one_cycle, warmup: 0.2}}
clip_norm: 1.0
seed: 5
devices: {{accelerator: cpu, threads: 1}}
"""


@dataclass(frozen=True)
class TinySettings:
    channels: int = 4
    dropout: float = 0.0
    yaw_bins: int = 3


class Tiny(CrossViewModel):
    """A word of the panorama compared with every cell of the patch."""

    NAME = 'tiny'
    Settings = TinySettings

    def __init__(self, settings):
        mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
        inputs = InputSpec(
            camera_kinds=('equirectangular',),
            view_kind='camera',
            view=RasterSpec('view', 64, 32, mean, std),
            bev=None,
            polar=None,
            camera=CameraSpec('equirectangular', None, None, 2.0),
            patch=RasterSpec('patch', 48, 32, mean, std),
            patch_gsd=1.0,
            turned='view',
        )
        super().__init__(settings, inputs)
        c = settings.channels
        self.of_view = nn.Conv2d(3, c, 4, 4)
        self.of_patch = nn.Conv2d(3, c, 4, 4)
        self.of_yaw = nn.Linear(c, settings.yaw_bins)
        self.dropout = nn.Dropout(settings.dropout)
        self.calibration['log_temperature'] = nn.Parameter(torch.zeros(()))

    def forward(self, view, patch, **extra):
        word = self.dropout(F.relu(self.of_view(view)).mean((2, 3)))
        cells = torch.einsum('bc,bchw->bhw', word, self.of_patch(patch))
        return {'cells': cells, 'yaw': self.of_yaw(word), 'unused': view}

    def belief(self, outputs):
        logits = outputs['cells'][:, None] + outputs['yaw'][:, :, None, None]
        yaws = evenly_spaced_yaws(self.settings.yaw_bins, 5.0)
        scale = self.calibration['log_temperature'].exp()
        return Belief(logits * scale, 4.0, yaws, False)


@dataclass(frozen=True)
class PoisonSettings:
    at_step: int = 3


class Poison(Objective):
    """A loss that is no number from one step on."""

    Settings = PoisonSettings

    def forward(self, batch, progress):
        outputs = run_model(self.model, batch)
        loss = outputs['cells'].mean() + outputs['yaw'].mean()
        return {LOSS: loss * (float('nan') if progress.step >= self.settings.at_step else 1.0)}


class Stored(AbstractDataset):
    """The stored samples, with priors up to 8 m off."""

    NAME = 'stored'
    LAYOUT = '  <root>/N.npz'
    SPLITS = ('train', 'validation', 'nothing')

    def __init__(self, root, split, *, seed=0, half_m=8.0):
        super().__init__(root, split, seed=seed)
        self._protocol = Protocol('stored', half_m, half_m, 0.0)

    @classmethod
    def recognises(cls, root):
        return (root / '0.npz').exists()

    @property
    def keys(self):
        names = [str(i) for i in range(8)]
        return {'train': names, 'validation': names[:3], 'nothing': []}[self.split]

    @property
    def protocol(self):
        return self._protocol

    def files(self, index):
        return (self.root / f'{self.keys[index]}.npz',)

    def sample(self, index, epoch=0):
        from dataclasses import replace

        sample = load_sample(self.files(index)[0])
        prior = self._protocol.prior(0, sample.T_map_base, fractions(self.seed, index, epoch))
        return replace(sample, prior=prior)


def install():
    here = sys.modules[__name__]
    for package in ('geoloc_core.models', 'training.objectives', 'training.datasets'):
        sys.modules[f'{package}._tiny'] = here
    MODELS['tiny'] = ('_tiny', 'Tiny')
    OBJECTIVES['poison'] = ('_tiny', 'Poison')
    READERS['stored'] = ('_tiny', 'Stored')


def write_config(folder, text=CONFIG):
    path = Path(folder) / 'tiny.yaml'
    path.write_text(text)
    return path


if __name__ == '__main__':
    # The registries are those of this process: python -m tests.training.loop.tiny CONFIG ...
    from tests.training.loop import tiny
    from training.train import main

    tiny.install()
    sys.exit(main())
