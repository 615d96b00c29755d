# SPDX-License-Identifier: Apache-2.0
"""Steps that change what pixels show, and nothing about where they are."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from training.augmentation.step import Step
from training.datasets.sample import Sample

Image = NDArray[np.uint8]

# Class number of a pixel that was hidden; no publisher uses it.
HIDDEN_CLASS = 255
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@dataclass(frozen=True)
class _Jitter(Step):
    """Ranges of brightness and colour; each factor is drawn from 1 plus or minus its range.

    Attributes:
        brightness: Of a factor on all values, 0..1.
        contrast: Of a factor on the distance from the mean, 0..1.
        saturation: Of a factor on the distance from grey, 0..1.
        gamma: Of an exponent, 0..1.
        tint: Of a factor on each channel of its own, 0..1.
        noise: Standard deviation of noise on each value is drawn from 0 .. this, grey levels.
    """

    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    gamma: float = 0.1
    tint: float = 0.05
    noise: float = 0.0

    def __post_init__(self) -> None:
        """Refuses settings outside their range."""
        super().__post_init__()
        for name in ('brightness', 'contrast', 'saturation', 'gamma', 'tint'):
            self.require(0 <= getattr(self, name) < 1, name, '0 or more, less than 1')
        self.require(self.noise >= 0, 'noise', 'grey levels, 0 or more')

    def jitter(self, image: Image, rng: np.random.Generator) -> Image:
        """A picture (H, W, 3) in other light."""
        ranges = (self.brightness, self.contrast, self.saturation, self.gamma)
        brightness, contrast, saturation, gamma = (1 + rng.uniform(-r, r) for r in ranges)
        tint = (1 + rng.uniform(-self.tint, self.tint, 3)).astype(np.float32)
        sigma = rng.uniform(0, self.noise)
        # Everything that is the same for all pixels of one value goes through a table.
        table = (np.arange(256, dtype=np.float32) / 255) ** np.float32(gamma)
        values = table[image] * (tint * np.float32(brightness))
        values += (values.mean() - values) * np.float32(1 - contrast)
        grey = (values @ _LUMA)[..., None]
        values += (grey - values) * np.float32(1 - saturation)
        values *= 255
        if sigma > 0:
            values += rng.standard_normal(values.shape, dtype=np.float32) * np.float32(sigma)
        return np.clip(np.rint(values), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class JitterView(_Jitter):
    """Other light on the ground view alone: it and the map were never taken on the same day."""

    def apply(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """See `Step.apply`."""
        image = self.jitter(sample.view.image, rng)
        return replace(sample, view=replace(sample.view, image=image))


@dataclass(frozen=True)
class JitterPatch(_Jitter):
    """Other light on the aerial patch alone; each of `other_patches` draws its own."""

    def apply(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """See `Step.apply`."""
        if sample.patch is None:
            return sample
        patch, *others = (
            replace(p, image=self.jitter(p.image, rng) * p.mask[..., None])
            for p in (sample.patch, *sample.other_patches)
        )
        return replace(sample, patch=patch, other_patches=tuple(others))


@dataclass(frozen=True)
class LimitFieldOfView(Step):
    """Blackens a panorama but for one contiguous part of the circle.

    Depth there becomes NaN and the class `HIDDEN_CLASS`. The part may lie across the seam. The
    picture keeps its size: to cut the part out instead use `crop_view`. Pictures that are no
    whole circle are left alone.

    Attributes:
        visible_deg: (least, most) angle that stays visible, 0..360.
    """

    visible_deg: tuple[float, float] = (180.0, 240.0)

    def __post_init__(self) -> None:
        """Refuses settings outside their range."""
        super().__post_init__()
        good = len(self.visible_deg) == 2 and (
            0 < self.visible_deg[0] <= self.visible_deg[1] <= 360
        )
        self.require(good, 'visible_deg', '(least, most), both within 0..360')

    def apply(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """See `Step.apply`."""
        visible_deg = rng.uniform(*self.visible_deg)
        start = rng.uniform(0, 1)
        if not sample.view.camera.wraps:
            return sample
        width = sample.view.camera.width
        count = max(1, round(width * visible_deg / 360))
        hidden = np.ones(width, dtype=bool)
        hidden[(int(start * width) + np.arange(count)) % width] = False
        return _hide(sample, np.broadcast_to(hidden, sample.view.image.shape[:2]), 0)


@dataclass(frozen=True)
class EraseBlocks(Step):
    """Covers rectangles of the ground view: something stood before the camera.

    They are filled with noise, from which no network can learn a colour, or are black, as a hand
    on the lens is. Depth there becomes NaN and the class `HIDDEN_CLASS`.

    Attributes:
        count: (least, most) rectangles.
        side: (least, most) side of a rectangle, as a part of the picture's, 0..1.
        black: Share of the samples, 0..1, whose rectangles are black.
    """

    count: tuple[int, int] = (1, 3)
    side: tuple[float, float] = (0.05, 0.25)
    black: float = 0.0

    def __post_init__(self) -> None:
        """Refuses settings outside their range."""
        super().__post_init__()
        good = len(self.count) == 2 and 0 <= self.count[0] <= self.count[1]
        self.require(good, 'count', '(least, most), 0 or more')
        good = len(self.side) == 2 and 0 < self.side[0] <= self.side[1] <= 1
        self.require(good, 'side', '(least, most), both within 0..1')
        self.require(0 <= self.black <= 1, 'black', 'a share, 0..1')

    def apply(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """See `Step.apply`."""
        height, width = sample.view.image.shape[:2]
        hidden = np.zeros((height, width), dtype=bool)
        for _ in range(rng.integers(self.count[0], self.count[1] + 1)):
            size = rng.uniform(*self.side, 2) * (height, width)
            rows, columns = np.maximum(1, np.rint(size)).astype(int)
            top = rng.integers(0, height - rows + 1)
            left = rng.integers(0, width - columns + 1)
            hidden[top : top + rows, left : left + columns] = True
        noise = rng.integers(0, 256, (int(hidden.sum()), 3), dtype=np.uint8)
        return _hide(sample, hidden, 0 if rng.uniform() < self.black else noise)


@dataclass(frozen=True)
class DropDepth(Step):
    """Takes depth away, as real sensors do: single pixels, and rectangles.

    Attributes:
        pixels: (least, most) part of all pixels, 0..1.
        blocks: (least, most) rectangles.
        side: (least, most) side of a rectangle, as a part of the picture's, 0..1.
    """

    pixels: tuple[float, float] = (0.0, 0.1)
    blocks: tuple[int, int] = (0, 3)
    side: tuple[float, float] = (0.05, 0.3)

    def __post_init__(self) -> None:
        """Refuses settings outside their range."""
        super().__post_init__()
        good = len(self.pixels) == 2 and 0 <= self.pixels[0] <= self.pixels[1] <= 1
        self.require(good, 'pixels', '(least, most), both within 0..1')
        good = len(self.blocks) == 2 and 0 <= self.blocks[0] <= self.blocks[1]
        self.require(good, 'blocks', '(least, most), 0 or more')
        good = len(self.side) == 2 and 0 < self.side[0] <= self.side[1] <= 1
        self.require(good, 'side', '(least, most), both within 0..1')

    def apply(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """See `Step.apply`."""
        if sample.view.depth is None:
            return sample
        depth = sample.view.depth.copy()
        height, width = depth.shape
        depth[rng.uniform(size=depth.shape) < rng.uniform(*self.pixels)] = np.nan
        for _ in range(rng.integers(self.blocks[0], self.blocks[1] + 1)):
            size = rng.uniform(*self.side, 2) * (height, width)
            rows, columns = np.maximum(1, np.rint(size)).astype(int)
            top = rng.integers(0, height - rows + 1)
            left = rng.integers(0, width - columns + 1)
            depth[top : top + rows, left : left + columns] = np.nan
        return replace(sample, view=replace(sample.view, depth=depth))


@dataclass(frozen=True)
class ScaleDepth(Step):
    """Multiplies all depth by one factor: a sensor out of calibration.

    Attributes:
        factor: (least, most), more than 0; shorter and longer come as often in proportion.
    """

    factor: tuple[float, float] = (0.8, 1.25)

    def __post_init__(self) -> None:
        """Refuses settings outside their range."""
        super().__post_init__()
        good = len(self.factor) == 2 and 0 < self.factor[0] <= self.factor[1]
        self.require(good, 'factor', '(least, most), more than 0')

    def apply(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """See `Step.apply`."""
        factor = np.exp(rng.uniform(*np.log(self.factor)))
        if sample.view.depth is None:
            return sample
        depth = sample.view.depth * np.float32(factor)
        return replace(sample, view=replace(sample.view, depth=depth))


def _hide(sample: Sample, hidden: NDArray[np.bool_], colour: Image | int) -> Sample:
    """A sample whose camera does not see some pixels (H, W)."""
    view = sample.view
    image = view.image.copy()
    image[hidden] = colour
    depth, classes = view.depth, sample.view_classes
    if depth is not None:
        depth = np.where(hidden, np.float32(np.nan), depth)
    if classes is not None:
        classes = np.where(hidden, np.uint8(HIDDEN_CLASS), classes)
    return replace(sample, view=replace(view, image=image, depth=depth), view_classes=classes)
