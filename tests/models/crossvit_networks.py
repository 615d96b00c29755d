# SPDX-License-Identifier: Apache-2.0
"""CrossViT networks small enough for tests, and what they see."""

import torch

from geoloc_core.geometry import se3
from geoloc_core.models.crossvit_settings import BranchSettings, SpatialSettings
from geoloc_core.models.registry import make_model

SMALL = {'image_px': 24, 'patch_px': 6, 'width': 12, 'heads': 2, 'depth': 1}
LARGE = {'image_px': 16, 'patch_px': 8, 'width': 24, 'heads': 2, 'depth': 2}
TINY = {
    'small': BranchSettings(**SMALL),
    'large': BranchSettings(**LARGE),
    'encoders': 2,
    'size': 7,
}


def tiny_student(**settings):
    torch.manual_seed(1)
    return make_model('crossvit_student', {**TINY, **settings}).eval()


def tiny_teacher(**spatial):
    torch.manual_seed(1)
    return make_model('crossvit_teacher', {**TINY, 'spatial': SpatialSettings(**spatial)}).eval()


def seen(count=3, patches=4, seed=0, shift=(0.0, 0.0, 0.0)):
    """A picture, and rays, ranges and camera of poses in general position."""
    generator = torch.Generator().manual_seed(seed)
    view = torch.randn(count, 3, 24, 24, generator=generator)
    rays = torch.randn(count, patches, 3, generator=generator)
    rays = torch.nn.functional.normalize(rays, dim=-1)
    ranges = 1 + torch.rand(count, patches, generator=generator)
    cameras = []
    for i in range(count):
        T = se3.from_xyz_rpy(0.3 * i + shift[0], 1 + shift[1], -0.5 + shift[2], 0.2, 0.4 * i, 1.0)
        inverse = se3.inverse(T)
        x, y, z, w = se3.quaternion_xyzw(inverse)
        cameras.append([*inverse[:3, 3], w, x, y, z])
    return view, {'rays': rays, 'ranges': ranges, 'camera': torch.tensor(cameras).float()}
