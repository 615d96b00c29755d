# SPDX-License-Identifier: Apache-2.0
"""A data set of tiny pictures, for tests of what surrounds the readers."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import PinholeCamera
from geoloc_core.geometry.geodesy import Datum
from geoloc_core.geometry.grid import Grid
from geoloc_core.simulation.robots.drive import mounted
from geoloc_core.types import AerialPatch, GroundView
from training.datasets.base import AbstractDataset, read_rgb
from training.datasets.protocol import fractions, Protocol
from training.datasets.sample import Sample

CAMERA = PinholeCamera(24, 16, 20.0, 21.0, 11.5, 7.5, (-0.05, 0.01, 0.0, 0.0, 0.0))


class Tiny(AbstractDataset):
    """Pictures NNN.png, all equal to their number; positions along a line."""

    NAME = 'tiny'
    LAYOUT = '  <root>/NNN.png'
    SPLITS = ('train', 'test')

    @classmethod
    def recognises(cls, root):
        return (root / '000.png').exists()

    @property
    def keys(self):
        return [path.stem for path in sorted(self.root.glob('*.png'))]

    @property
    def protocol(self):
        return Protocol('tiny', 5.0, 2.0, 0.1)

    def files(self, index):
        return (self.root / f'{self.keys[index]}.png',)

    def label_error_m(self, index):
        return 0.5 + 0.01 * index

    def sample(self, index, epoch=0):
        image = read_rgb(self.files(index)[0])
        T = se3.from_planar(index - 2.0, 1.0, 0.3)
        grid = Grid((0.0, 0.0), 0.5, 30, 20)
        patch = AerialPatch(
            np.full((20, 30, 3), index, np.uint8), np.ones((20, 30), bool), grid, '© a mapper'
        )
        prior = self.protocol.prior(index, T, fractions(self.seed, index, epoch))
        view = GroundView(index, image, CAMERA, mounted(0.5, 0.0, 1.5, 10.0))
        return Sample(
            f'{index:03d}', 'line', view, T, patch=patch, prior=prior, datum=Datum(48.0, 11.0, 0.0)
        )


@pytest.fixture
def tiny_root(tmp_path: Path) -> Path:
    """Ten pictures."""
    root = tmp_path / 'tiny'
    root.mkdir()
    for i in range(10):
        cv2.imwrite(str(root / f'{i:03d}.png'), np.full((16, 24, 3), 10 * i, np.uint8))
    return root


@pytest.fixture
def tiny(tiny_root: Path) -> Tiny:
    """The data set of them."""
    return Tiny(tiny_root, 'train')
