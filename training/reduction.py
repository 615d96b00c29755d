# SPDX-License-Identifier: Apache-2.0
"""Brings every sample of a data set to the sizes a model wants; no randomness, so it is cached."""

from dataclasses import dataclass, replace

import cv2

from geoloc_core.errors import ConfigError
from geoloc_core.geometry.grid import Grid
from geoloc_core.types import AerialPatch
from training.augmentation.geometric import resize_view
from training.datasets.sample import Sample


@dataclass(frozen=True)
class Reduction:
    """Resizes view and patches; camera and grids stay true.

    Attributes:
        view_size: (width, height) px of the view, its depth and classes; None leaves them.
        patch_size: (width, height) px of each patch; its ground stays the same, so the aspect
            ratio must too. None leaves them.
        keep_others: Keep the further patches.
    """

    view_size: tuple[int, int] | None = None
    patch_size: tuple[int, int] | None = None
    keep_others: bool = False

    @property
    def name(self) -> str:
        """Tells one reduction's cache from another's."""
        return f'view {self.view_size} patch {self.patch_size} others {self.keep_others}'

    def __call__(self, sample: Sample) -> Sample:
        """The resized sample.

        Raises:
            ConfigError: `patch_size` has another aspect ratio than a patch.
        """
        if self.view_size is not None:
            sample = resize_view(sample, *self.view_size)
        others = sample.other_patches if self.keep_others else ()
        patch, classes = sample.patch, sample.patch_classes
        if self.patch_size is not None:
            patch = patch and resize_patch(patch, *self.patch_size)
            others = tuple(resize_patch(other, *self.patch_size) for other in others)
            if classes is not None:
                classes = cv2.resize(classes, self.patch_size, interpolation=cv2.INTER_NEAREST)
        return replace(sample, patch=patch, patch_classes=classes, other_patches=others)


def resize_patch(patch: AerialPatch, width: int, height: int) -> AerialPatch:
    """A patch of the same ground in other pixels.

    Args:
        patch: Any patch.
        width: Columns wanted.
        height: Rows wanted.

    Raises:
        ConfigError: Pixels would not stay square.
    """
    grid = patch.grid
    if (width, height) == (grid.width, grid.height):
        return patch
    if abs(width * grid.height - height * grid.width) > 0.01 * grid.height * height:
        raise ConfigError(
            f'a patch of {grid.width} x {grid.height} px cannot become {width} x {height} with '
            'square pixels: keep the aspect ratio, or cut it first (shift_patch)'
        )
    shrinks = width < grid.width
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    image = cv2.resize(patch.image, (width, height), interpolation=method)
    mask = cv2.resize(patch.mask.astype('uint8') * 255, (width, height), interpolation=method)
    gsd = grid.gsd * grid.width / width
    # A pixel of which half is map shows half map: known only where all of it is.
    return AerialPatch(
        image, mask == 255, Grid(grid.center_xy, gsd, width, height), patch.attribution
    )
