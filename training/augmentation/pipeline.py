# SPDX-License-Identifier: Apache-2.0
"""A chain of steps, and how it is written in a file of settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from geoloc_core.errors import ConfigError
from training.augmentation.geometric import CropView, RollPanorama, ShiftPatch, TurnMap
from training.augmentation.lens import ThroughLens
from training.augmentation.photometric import (
    DropDepth,
    EraseBlocks,
    JitterPatch,
    JitterView,
    LimitFieldOfView,
    ScaleDepth,
)
from training.augmentation.prior import DrawPrior, MovePrior
from training.augmentation.step import Step
from training.augmentation.viewpoint import MoveViewpoint
from training.datasets.sample import Sample

STEPS: dict[str, type[Step]] = {
    'roll_panorama': RollPanorama,
    'shift_patch': ShiftPatch,
    'turn_map': TurnMap,
    'crop_view': CropView,
    'through_lens': ThroughLens,
    'limit_field_of_view': LimitFieldOfView,
    'jitter_view': JitterView,
    'jitter_patch': JitterPatch,
    'erase_blocks': EraseBlocks,
    'drop_depth': DropDepth,
    'scale_depth': ScaleDepth,
    'draw_prior': DrawPrior,
    'move_prior': MovePrior,
    'move_viewpoint': MoveViewpoint,
}
# Keeps these draws apart from a reader's, which come from (seed, epoch, index) too.
_STREAM = 0x617567


@dataclass(frozen=True)
class Pipeline:
    """Steps applied one after the other.

    Convention: what becomes of a sample depends on (seed, epoch, index) and on the step's place
    in the chain alone, so it does not matter which worker does it. A step draws the same whether
    or not the ones before it were applied.

    Attributes:
        steps: In order.
        seed: Of all draws.
    """

    steps: tuple[Step, ...] = ()
    seed: int = 0

    def __call__(self, sample: Sample, index: int, epoch: int = 0) -> Sample:
        """The changed sample.

        Args:
            sample: As read; it stays as it is.
            index: Of the sample in its data set.
            epoch: Of training.
        """
        for number, step in enumerate(self.steps):
            rng = np.random.default_rng([_STREAM, self.seed, epoch, index, number])
            if rng.uniform() < step.p:
                sample = step.apply(sample, rng)
        return sample


def pipeline_from(settings: Sequence[Mapping[str, Any]], seed: int = 0) -> Pipeline:
    """A chain as a file of settings describes it.

    Args:
        settings: One mapping a step, in order: 'step' is its name in `STEPS`, the rest are its
            attributes, e.g. {'step': 'roll_panorama', 'half_turn_deg': 45, 'p': 0.5}.
        seed: Of all draws.

    Raises:
        ConfigError: Unknown step, unknown attribute, or a value out of range.
    """
    if isinstance(settings, (str, Mapping)) or not isinstance(settings, Sequence):
        raise ConfigError(f'augmentation must be a list of steps, got {settings!r}')
    return Pipeline(tuple(_step(one) for one in settings), seed)


def _step(setting: Mapping[str, Any]) -> Step:
    if not isinstance(setting, Mapping) or 'step' not in setting:
        raise ConfigError(f"a step must say which it is, 'step: <name>', got {setting!r}")
    options = {key: value for key, value in setting.items() if key != 'step'}
    name = setting['step']
    if name not in STEPS:
        hint = ''
        if 'flip' in str(name) or 'mirror' in str(name):
            hint = ' (a mirrored world does not exist; turn_map turns the map instead)'
        raise ConfigError(
            f'no augmentation is called {name!r}{hint}: choose one of {", ".join(STEPS)}'
        )
    kind = STEPS[name]
    known = [field.name for field in fields(kind)]
    for key, value in options.items():
        if key not in known:
            raise ConfigError(f'{name} has no setting {key!r}: choose from {", ".join(known)}')
        if isinstance(value, list):
            options[key] = tuple(value)
    try:
        return kind(**options)
    except TypeError as error:
        raise ConfigError(f'{name}: {options}: a value is of the wrong kind ({error})') from error
