# SPDX-License-Identifier: Apache-2.0
"""Sizes of the CrossViT descriptors; the defaults are CrossViT-Ti as published."""

from dataclasses import dataclass

from geoloc_core.errors import ConfigError
from geoloc_core.models.descriptor import SAME_PLACE, SamePlace

DESCRIPTORS = ('classes', 'compact')
POINTS = ('rays', 'depth')
ENCODINGS = ('sine', 'rotary')
_SIZES = {'classes': 1000, 'compact': 256}


@dataclass(frozen=True)
class BranchSettings:
    """One branch: a picture of its own size, cut into its own patches.

    Attributes:
        image_px: Side of its square picture.
        patch_px: Side of a patch.
        width: Numbers a token.
        heads: Of its attention.
        depth: Self-attention blocks in each encoder.
        mlp_ratio: Hidden numbers of a block's perceptron, as a multiple of `width`.
    """

    image_px: int
    patch_px: int
    width: int
    heads: int
    depth: int
    mlp_ratio: float = 4.0

    def __post_init__(self) -> None:
        """Checks what must divide what.

        Raises:
            ConfigError: Sizes that do not fit.
        """
        for name in ('image_px', 'patch_px', 'width', 'heads', 'depth'):
            if getattr(self, name) < 1:
                raise ConfigError(f'a branch has {name} {getattr(self, name)}: expected 1 or more')
        if self.image_px % self.patch_px:
            raise ConfigError(
                f'a branch cuts {self.image_px} px into patches of {self.patch_px} px: expected '
                'whole patches'
            )
        if self.width % (2 * self.heads):
            raise ConfigError(
                f'a branch of width {self.width} has {self.heads} heads: expected a multiple of '
                'twice the heads'
            )

    @property
    def side(self) -> int:
        """Patches along a side."""
        return self.image_px // self.patch_px


SMALL = BranchSettings(image_px=240, patch_px=12, width=96, heads=3, depth=1)
LARGE = BranchSettings(image_px=224, patch_px=16, width=192, heads=3, depth=4)


@dataclass(frozen=True)
class CrossVitSettings:
    """A network that describes a picture by one unit vector.

    Attributes:
        small: The branch of small patches. Its picture is the network's input.
        large: The branch of large patches; sees the same picture, resized (bicubic).
        encoders: Multi-scale encoders, one after the other.
        descriptor: 'classes' (published: the mean of two layers of 1000 classes, one a branch)
            or 'compact' (one layer on both class tokens side by side).
        size: Numbers of the descriptor; null for 1000 of 'classes', 256 of 'compact'.
        weights: File of ImageNet weights of CrossViT-Ti (names as its authors or timm give
            them); null begins at random.
        same_place: Which pictures it learns to find for each other.
    """

    small: BranchSettings = SMALL
    large: BranchSettings = LARGE
    encoders: int = 3
    descriptor: str = 'classes'
    size: int | None = None
    weights: str | None = None
    same_place: SamePlace = SAME_PLACE

    def __post_init__(self) -> None:
        """Settles the size.

        Raises:
            ConfigError: A value that cannot be.
        """
        if self.descriptor not in DESCRIPTORS:
            raise ConfigError(
                f'crossvit: descriptor is {self.descriptor!r}, expected one of {DESCRIPTORS}'
            )
        size = _SIZES[self.descriptor] if self.size is None else self.size
        if size < 1 or self.encoders < 1:
            raise ConfigError(
                f'crossvit: size is {size} and encoders {self.encoders}: expected 1 or more'
            )
        object.__setattr__(self, 'size', size)

    @property
    def descriptor_size(self) -> int:
        """Numbers of the descriptor."""
        assert self.size is not None
        return self.size


@dataclass(frozen=True)
class SpatialSettings:
    """What the teacher is told of space, in place of the large patches.

    Attributes:
        points: Where the middle of each patch lies: 'rays' (published: at one distance along its
            ray, whatever is there) or 'depth' (measured; patches without depth are unknown).
        ray_length: That distance, in units of the map.
        encoding: 'sine' (published: sines and cosines of each token's own numbers, repeated) or
            'rotary' (queries and keys are turned by where their points lie).
        wavelengths: Shortest and longest of 'rotary', in units of the map.
    """

    points: str = 'rays'
    ray_length: float = 10.0
    encoding: str = 'sine'
    wavelengths: tuple[float, float] = (0.5, 200.0)

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            ConfigError: One that cannot be.
        """
        for name, allowed in (('points', POINTS), ('encoding', ENCODINGS)):
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    f'spatial.{name} is {getattr(self, name)!r}, expected one of {allowed}'
                )
        if not self.ray_length > 0:
            raise ConfigError(f'spatial.ray_length is {self.ray_length}, expected more than 0')
        if len(self.wavelengths) != 2 or not 0 < self.wavelengths[0] < self.wavelengths[1]:
            raise ConfigError(
                f'spatial.wavelengths are {self.wavelengths}: expected a short and a longer one'
            )


@dataclass(frozen=True)
class CrossVitTeacherSettings(CrossVitSettings):
    """The network that is told of space beside the picture."""

    spatial: SpatialSettings = SpatialSettings()
