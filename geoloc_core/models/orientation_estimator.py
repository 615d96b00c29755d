# SPDX-License-Identifier: Apache-2.0
"""How far a heading is from what was thought, by classes of yaw.

The orientation estimator of GeoDistill (arXiv 2507.10935, ICCV 2025).

A bird's-eye view made of the panorama is compared with the aerial patch: two EfficientNets, one
convolution over both maps, three dense layers, a class for every step of yaw. Where the robot
stands is not needed, neither to learn nor to answer: streets and roofs have their directions.

Published code counts 90 classes over +-45 degrees by a factor of 89 and reads the best class's
number, which is off by half a degree to one and a half. Here a class has a middle, the answer is
the mean of the middles about the best class, and an open range has some classes to spare at
either end, so that no bell is cut there.
"""

from dataclasses import dataclass
import math

import torch
from torch import nn, Tensor

from geoloc_core.errors import ConfigError
from geoloc_core.input_spec import RasterSpec
from geoloc_core.models.backbones import input_statistics, make_backbone
from geoloc_core.models.belief import evenly_spaced_yaws
from geoloc_core.models.spherical import SphericalTransform


@dataclass(frozen=True)
class OrientationSettings:
    """Settings of `OrientationEstimator`; the defaults are the published sizes.

    Attributes:
        backbone: An EfficientNet; two are made.
        weights: Theirs: null, 'imagenet' or a path, see `make_backbone`.
        classes: Steps of yaw; about one a degree, so 360 for a range of 180 degrees.
        margin: Of these, how many lie past either end of an open range.
        hidden: Widths of the dense layers.
        fov_deg: Of the bird's-eye view, see `SphericalTransform`.
        window: The answer is the mean of this many classes to either side of the best one.
    """

    backbone: str = 'efficientnet_b0'
    weights: str | None = None
    classes: int = 90
    margin: int = 3
    hidden: tuple[int, int] = (1024, 512)
    fov_deg: float = 170.0
    window: int = 4

    def __post_init__(self) -> None:
        """Refuses a backbone that lacks the stage which is read."""
        if not self.backbone.startswith('efficientnet'):
            raise ConfigError(
                f'orientation: backbone is {self.backbone!r}, expected an EfficientNet: its sixth '
                'stage is what is read'
            )


class YawClasses(nn.Module):
    """Classes of yaw: their middles, soft labels for learning, and the answer without a bias.

    Convention: offsets from the prior's yaw, counter-clockwise, rad.

    Attributes:
        centers: (K,) middles, rad, evenly spaced.
        step: Between two, rad.
        closed: Whether they make a circle.
        half_range: Offsets that may occur, +-rad.
    """

    centers: Tensor

    def __init__(self, classes: int, half_range_deg: float, margin: int, window: int) -> None:
        """Lays the classes out.

        Args:
            classes: K.
            half_range_deg: Offsets that may occur, +-; 180 makes a circle.
            margin: Classes past either end of an open range.
            window: See `decode`.

        Raises:
            ConfigError: A range or number of classes that leaves no room.
        """
        super().__init__()
        self.closed = half_range_deg >= 180.0
        spare = 0 if self.closed else 2 * margin
        if not 0 < half_range_deg <= 180 or margin < 0 or window < 1 or classes - spare < 3:
            raise ConfigError(
                f'{classes} classes of yaw, {margin} of them past either end of '
                f'+-{half_range_deg} degrees, decoded within {window}: expected a range up to '
                '180, at least 3 classes within it and a window of at least 1'
            )
        reach = half_range_deg
        if not self.closed:
            reach += margin * 2 * half_range_deg / (classes - 1 - spare)
        if (not self.closed and reach >= 180.0) or 2 * window + 1 > classes:
            raise ConfigError(
                f'{classes} classes over +-{half_range_deg} degrees reach +-{reach:.1f} with '
                f'their margin, or are fewer than a window of {2 * window + 1}: take more '
                'classes, or the whole circle (180)'
            )
        self.window = window
        self.half_range = math.radians(half_range_deg)
        self.register_buffer('centers', evenly_spaced_yaws(classes, reach), persistent=False)
        self.step = (
            2 * math.pi / classes if self.closed else 2 * math.radians(reach) / (classes - 1)
        )

    def soft_labels(self, yaw: Tensor, sigma: float = 1.0) -> Tensor:
        """A bell about the true yaw, across the seam of a circle.

        Args:
            yaw: (B,) rad.
            sigma: Width of the bell in classes.

        Returns:
            (B, K), each row summing to one.
        """
        away = self.centers - yaw[:, None]
        # Around the circle in either case: an open range never reaches so far.
        away = (away + math.pi).remainder(2 * math.pi) - math.pi
        return torch.softmax(-0.5 * (away / (sigma * self.step)) ** 2, dim=1)

    def decode(self, logits: Tensor) -> Tensor:
        """(B,) yaw, rad: mean over the classes at most `window` steps from the best one.

        A second peak elsewhere does not pull at it, and across a circle's seam the classes are
        neighbours.
        """
        count = logits.shape[1]
        best = logits.argmax(dim=1, keepdim=True)
        away = torch.arange(count, device=logits.device) - best
        if self.closed:
            away = (away + count // 2).remainder(count) - count // 2
        near = logits.masked_fill(away.abs() > self.window, float('-inf'))
        mean = (torch.softmax(near, dim=1) * away).sum(dim=1)
        yaw = self.centers[best[:, 0]] + mean * self.step
        return (yaw + math.pi).remainder(2 * math.pi) - math.pi


class OrientationEstimator(nn.Module):
    """Panorama and patch -> logits of the yaw classes.

    At the published sizes it has 57.32 M parameters. The published count, 59.58 M, includes the
    last stage and the head of both EfficientNets, 1.13 M each, which nothing reads.

    Attributes:
        classes: What the logits mean.
    """

    ground_gain: Tensor
    ground_shift: Tensor
    aerial_gain: Tensor
    aerial_shift: Tensor

    def __init__(
        self,
        settings: OrientationSettings,
        view: RasterSpec,
        patch: RasterSpec,
        half_range_deg: float,
    ) -> None:
        """Builds the network.

        Args:
            settings: Sizes.
            view: The panorama it is fed, its middle column north if the prior's yaw is right.
            patch: The north-up patch.
            half_range_deg: Yaw offsets to expect, +-.

        Raises:
            ConfigError: Settings that do not go together.
        """
        super().__init__()
        self.classes = YawClasses(
            settings.classes, half_range_deg, settings.margin, settings.window
        )
        size = (patch.width, patch.height)
        self.birds_eye = SphericalTransform((view.width, view.height), size, settings.fov_deg)
        self.ground, self.aerial = (
            make_backbone(settings.backbone, weights=settings.weights, taps=('stage6',))
            for _ in range(2)
        )
        channels, stride = self.ground.channels[-1], self.ground.strides[-1]
        self.fuse = nn.Sequential(
            nn.Conv2d(2 * channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )
        cells = -(-patch.width // stride) * -(-patch.height // stride)
        first, second = settings.hidden
        self.head = nn.Sequential(
            nn.Linear(channels * cells, first),
            nn.ReLU(),
            nn.Linear(first, second),
            nn.ReLU(),
            nn.Linear(second, settings.classes),
        )
        # The composed model's own statistics -> those of these backbones' weights.
        mean, std = (torch.tensor(values) for values in input_statistics(settings.backbone))
        for name, raster in (('ground', view), ('aerial', patch)):
            given = torch.tensor(raster.std), torch.tensor(raster.mean)
            gain, shift = given[0] / std, (given[1] - mean) / std
            self.register_buffer(f'{name}_gain', gain.view(1, 3, 1, 1), persistent=False)
            self.register_buffer(f'{name}_shift', shift.view(1, 3, 1, 1), persistent=False)

    def forward(self, view: Tensor, patch: Tensor) -> Tensor:
        """(B, K) logits.

        Args:
            view: (B, C, H, W) panorama, normalised; a fourth channel is not looked at.
            patch: (B, C, h, w), likewise.
        """
        below = self.birds_eye(view[:, :3])
        ground = self.ground(below * self.ground_gain + self.ground_shift)[-1]
        aerial = self.aerial(patch[:, :3] * self.aerial_gain + self.aerial_shift)[-1]
        fused = self.fuse(torch.cat([aerial, ground], dim=1))
        logits: Tensor = self.head(fused.flatten(1))
        return logits
