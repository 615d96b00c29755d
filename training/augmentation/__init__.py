# SPDX-License-Identifier: Apache-2.0
"""Changes of samples for training that keep picture, depth, masks, map and pose true together.

A step says how far it may go; the draw comes from (seed, epoch, index) alone. There is no
mirroring here, and none may be added: one mirrored view shows a world that does not exist, in
which right and left, and with them every yaw, are exchanged against the other view; and mirroring
both needs streets driven on the other side, unreadable signs, and poses that no label set has.
Quarter turns of the map (`TurnMap`) give an aerial picture new sides without that.
"""

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
from training.augmentation.pipeline import Pipeline, pipeline_from, STEPS
from training.augmentation.prior import DrawPrior, MovePrior
from training.augmentation.step import Step
from training.augmentation.viewpoint import MoveViewpoint

__all__ = [
    'CropView',
    'DrawPrior',
    'DropDepth',
    'EraseBlocks',
    'JitterPatch',
    'JitterView',
    'LimitFieldOfView',
    'MovePrior',
    'MoveViewpoint',
    'Pipeline',
    'pipeline_from',
    'RollPanorama',
    'ScaleDepth',
    'ShiftPatch',
    'Step',
    'STEPS',
    'ThroughLens',
    'TurnMap',
]
