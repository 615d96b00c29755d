# SPDX-License-Identifier: Apache-2.0
"""CrossViT as a descriptor of places: the student, which needs a picture alone.

Reference: "Multi-modal CrossViT using 3D spatial information for visual localization" (Multimedia
Tools and Applications 2024), whose networks are CrossViT-Ti (arXiv 2103.14899). The published
descriptor is the mean of both branches' 1000 classes; 'compact' reads both class tokens instead.
Not as published: descriptors always have length one, because a margin means nothing otherwise.
"""

from collections.abc import Sequence

import torch
from torch import nn, Tensor
from torch.nn import functional as F

from geoloc_core.input_spec import RasterSpec
from geoloc_core.models.crossvit_layers import MultiScaleEncoder, Rotation
from geoloc_core.models.crossvit_settings import BranchSettings, CrossVitSettings
from geoloc_core.models.crossvit_weights import load_imagenet
from geoloc_core.models.descriptor import DescriptorModel

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_EPS = 1e-6
_INIT_STD = 0.02


class PatchTokens(nn.Module):
    """A picture in patches, and a class token before them."""

    resize: Tensor | None

    def __init__(self, branch: BranchSettings, picture_px: int) -> None:
        """Takes the sizes of its branch, and the side of the pictures that it is given."""
        super().__init__()
        resize = None if branch.image_px == picture_px else bicubic(picture_px, branch.image_px)
        self.register_buffer('resize', resize, persistent=False)
        self.proj = nn.Conv2d(3, branch.width, branch.patch_px, branch.patch_px)
        self.class_token = nn.Parameter(torch.zeros(1, 1, branch.width))

    def forward(self, view: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 1 + patches, width), patches row by row from the top left."""
        if self.resize is not None:
            view = self.resize @ view @ self.resize.T
        patches = self.proj(view).flatten(2).transpose(1, 2)
        return torch.cat([self.class_token.expand(patches.shape[0], -1, -1), patches], dim=1)


def bicubic(old: int, new: int) -> Tensor:
    """(new, old) weights of torch's bicubic resampling along one side of a picture.

    As a product with these, every runtime does it with its quickest operation; its own cubic
    resampling may be its slowest.
    """
    # A picture that is the same in all rows stays so: the resampled unit vectors are the weights.
    rows = torch.eye(old)[None, :, None, :].expand(-1, -1, 4, -1)
    resized = F.interpolate(rows, (4, new), mode='bicubic', align_corners=False)
    return resized[0, :, 0, :].T.contiguous()


class TwoBranches(nn.Module):
    """The transformer: tokens of both branches in, their class tokens out.

    Attributes:
        patches: What makes tokens of pictures; a branch that is given tokens has none.
        positions: What is learned of each place in the picture, added to its token.
        encoders: Multi-scale encoders.
        norms: Of the class tokens.
    """

    def __init__(
        self, settings: CrossVitSettings, pictures: Sequence[bool] = (True, True)
    ) -> None:
        """Builds it with random weights.

        Args:
            settings: Sizes.
            pictures: Whether each branch sees the picture.
        """
        super().__init__()
        branches = (settings.small, settings.large)
        self.patches = nn.ModuleList(
            PatchTokens(branch, settings.small.image_px) if sees else nn.Identity()
            for branch, sees in zip(branches, pictures, strict=True)
        )
        self.positions = nn.ParameterList(
            nn.Parameter(torch.zeros(1, 1 + branch.side**2, branch.width)) for branch in branches
        )
        self.encoders = nn.ModuleList(
            MultiScaleEncoder(branches) for _ in range(settings.encoders)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(branch.width, eps=_EPS) for branch in branches)

    def forward(
        self, given: Sequence[Tensor], rotations: Sequence[Rotation | None] = (None, None)
    ) -> list[Tensor]:
        """(B, width) class token of each branch.

        Args:
            given: For each branch the picture (B, 3, H, W), or tokens (B, 1 + patches, width).
            rotations: For the self-attention of each branch.
        """
        tokens = [
            make(x) + position
            for make, x, position in zip(self.patches, given, self.positions, strict=True)
        ]
        for encoder in self.encoders:
            tokens = encoder(tokens, rotations)
        return [norm(x[:, 0]) for norm, x in zip(self.norms, tokens, strict=True)]


class DescriptorHead(nn.Module):
    """Class tokens of both branches to a unit vector; see `CrossVitSettings.descriptor`."""

    def __init__(self, settings: CrossVitSettings) -> None:
        """Takes the kind and the size."""
        super().__init__()
        widths = settings.small.width, settings.large.width
        size = settings.descriptor_size
        self.by_classes = settings.descriptor == 'classes'
        self.layers = nn.ModuleList(
            nn.Linear(width, size) for width in (widths if self.by_classes else (sum(widths),))
        )

    def forward(self, tokens: Sequence[Tensor]) -> Tensor:
        """Two of (B, width) -> (B, size) float32, of length one."""
        if self.by_classes:
            made = [layer(x) for layer, x in zip(self.layers, tokens, strict=True)]
            vector = torch.stack(made).mean(dim=0)
        else:
            vector = self.layers[0](torch.cat(list(tokens), dim=-1))
        # Half precision has too few digits for distances between like places.
        return F.normalize(vector.float(), dim=-1)


def begin(module: nn.Module) -> None:
    """Random weights as CrossViT begins with; patches keep torch's own."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.trunc_normal_(part.weight, std=_INIT_STD)
            nn.init.zeros_(part.bias)
    for name, parameter in module.named_parameters():
        if 'positions' in name or 'class_token' in name:
            nn.init.trunc_normal_(parameter, std=_INIT_STD)


def picture_of(settings: CrossVitSettings) -> RasterSpec:
    """What a network of these settings is fed."""
    side = settings.small.image_px
    return RasterSpec('view', side, side, IMAGENET_MEAN, IMAGENET_STD)


class CrossVitStudent(DescriptorModel):
    """CrossViT that sees a picture in both branches.

    Attributes:
        trunk: The transformer.
        head: Its class tokens to the descriptor.
    """

    NAME = 'crossvit_student'
    Settings = CrossVitSettings

    def __init__(self, settings: CrossVitSettings) -> None:
        """Builds the network.

        Raises:
            ConfigError: The file of weights does not fit.
        """
        super().__init__(settings, picture_of(settings), settings.descriptor_size)
        self.patches_a_side = settings.large.side
        self.same_place = settings.same_place
        self.trunk = TwoBranches(settings)
        self.head = DescriptorHead(settings)
        begin(self)
        load_imagenet(self.trunk, self.head, settings)

    def forward(self, view: Tensor, **extra: Tensor) -> Tensor:
        """(B, size) unit vectors of pictures (B, 3, H, W)."""
        made: Tensor = self.head(self.trunk([view, view]))
        return made
