# SPDX-License-Identifier: Apache-2.0
"""Eight rendered street views with their aerial patches, for networks that must learn something.

Made by `geoloc world render --layout vigor --count 32 --size 256x512 --cities 4 --seed 7
--conditions easy`; panoramas 160x320, patches 256x256 of a whole tile (65 to 76 m).
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from geoloc_core.geometry import se3
from training.datasets.sample import Sample
from training.datasets.storage import load_sample
from training.loading import collate
from training.preparation import CrossViewPreparation

SAMPLES = Path(__file__).parent / 'samples'


def samples(count=8) -> list[Sample]:
    """Panoramas of different places; their priors are the tiles' middles, the yaw is known."""
    return [load_sample(SAMPLES / f'{i}.npz') for i in range(count)]


def with_prior(sample: Sample, east_m=0.0, north_m=0.0, yaw=0.0) -> Sample:
    """The sample with its prior moved (m) and turned (rad): another cut of the map is seen."""
    T = sample.prior.T_map_base
    x, y, old = se3.planar(T)
    moved = se3.from_planar(x + east_m, y + north_m, old + yaw, T[2, 3])
    return replace(sample, prior=replace(sample.prior, T_map_base=moved))


def rolled(sample: Sample, columns: int) -> Sample:
    """The panorama with its content moved right: the robot has turned counter-clockwise."""
    turn = se3.from_planar(0.0, 0.0, 2 * np.pi * columns / sample.view.camera.width)
    view = replace(sample.view, image=np.roll(sample.view.image, columns, axis=1))
    return replace(sample, view=view, T_map_base=sample.T_map_base @ turn)


def batch_of(model, items, **options):
    """Tensors of samples for a model, as the training loop makes them."""
    preparation = CrossViewPreparation(model.inputs, model.EXTRA_INPUTS, **options)
    return collate([(sample.key, preparation(sample)) for sample in items]).tensors
