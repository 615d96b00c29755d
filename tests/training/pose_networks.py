# SPDX-License-Identifier: Apache-2.0
"""Pose networks small enough for tests, and a batch for them."""

import numpy as np
import torch

from geoloc_core.geometry import se3
from geoloc_core.models.registry import make_model

B, H, W = 4, 32, 48


def small(name, **more):
    torch.manual_seed(0)
    sizes = {'latent': 16, 'samples': 4} if name == 'vmloc' else {'features': 16}
    fixed = {
        'backbone': 'resnet18',
        'backbone_end': 'layer2',
        'width': W,
        'height': H,
        'focal_px': 40.0,
    }
    return make_model(name, {**fixed, **sizes, **more})


def batch_of():
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(B, 3, generator=generator) * 0.3
    rotation = np.stack([se3.exp_rotation(v.numpy()) for v in vectors])
    return {
        'colour': torch.randint(0, 255, (B, 3, H, W), generator=generator).to(torch.uint8),
        'colour_mask': torch.ones(B, 1, H, W, dtype=torch.bool),
        'depth': torch.rand(B, 1, H, W, generator=generator) + 1.0,
        'available': torch.tensor([[True, True]] * (B - 2) + [[True, False], [False, True]]),
        'position': torch.randn(B, 3, generator=generator),
        'rotation': torch.tensor(rotation, dtype=torch.float32),
        'index': torch.arange(B),
    }
