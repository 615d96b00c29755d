# SPDX-License-Identifier: Apache-2.0
"""Which backbone each cross-view system takes, and what it says of those that it does not.

The table `Backbones` in docs/training.md is this one. Random weights, small sizes.
"""

import pytest
import torch

from geoloc_core.errors import ConfigError
from geoloc_core.models.registry import make_model

SIZES = {
    'view_width': 128, 'view_height': 64, 'patch_width': 64, 'patch_height': 64, 'patch_gsd': 1.0,
}  # fmt: skip
BASE = {
    'hc_net': {**SIZES, 'bev_width': 64, 'bev_height': 64, 'start': 'metric'},
    'ccvpe': {
        'view_size': (128, 64), 'patch_side': 64, 'patch_gsd': 1.0, 'bins': 4, 'view_bins': 4,
        'descriptor_channels': (4, 4, 2, 2, 1, 1), 'first_width': 16,
        'orientation_widths': (16, 16, 8, 8, 8, 8), 'yaw_bins': 12,
    },
    'g2sweakly': {**SIZES, 'widths': (8, 8, 4, 4), 'dpt_width': 16},
    'fusion_transformer': {
        **SIZES, 'widths': (8,) * 7, 'fusion_width': 16, 'anchors': (4, 4), 'half_yaw_deg': 180.0,
    },
    'orienternet_aerial': {
        **SIZES, 'width': 8, 'bev_blocks': 1, 'reach_m': 8.0, 'scale_bins': 9, 'yaw_bins': 8,
        'yaw_bins_evaluated': None,
    },
    'geoloc': {
        'directions': 64, 'rings': 16, 'patch_px': 32, 'yaw_bins': 8, 'width': 8, 'channels': 4,
        'weights': None,
    },
}  # fmt: skip
RESNET = ('layer1', 'layer2', 'layer3')
CONVNEXT = ('stage1', 'stage2', 'stage3')
VGG = ('block3', 'block4', 'block5')


def tapped(view, patch=None):
    return {'view_taps': view, 'patch_taps': patch or view}


# Beside the backbone's name: what a system must be told with it.
TAKES = {
    'hc_net': {
        'efficientnet_lite0': {'tap': 'stage5'}, 'efficientnet_b0': {'tap': 'stage5'},
        'vgg16': {'tap': 'block5'}, 'resnet18': {'tap': 'layer3'},
        'convnext_tiny': {'tap': 'stage3'},
    },
    'ccvpe': {
        'efficientnet_lite0': {}, 'efficientnet_b0': {}, 'resnet18': {}, 'convnext_tiny': {},
    },
    'g2sweakly': {
        'efficientnet_lite0': {'deepest': 16}, 'efficientnet_b0': {'deepest': 32},
        'vgg16': {}, 'dinov2_small': {},
    },
    'fusion_transformer': {'efficientnet_lite0': {}, 'efficientnet_b0': {}},
    'orienternet_aerial': {
        'efficientnet_lite0': tapped(('stage2', 'stage3')),
        'efficientnet_b0': tapped(('stage2', 'stage3')),
        'vgg16': tapped(VGG), 'resnet18': tapped(RESNET), 'convnext_tiny': tapped(CONVNEXT),
    },
    'geoloc': {
        'efficientnet_lite0': {}, 'efficientnet_b0': {}, 'vgg16': {'taps': VGG},
        'resnet18': {'taps': RESNET}, 'convnext_tiny': {'taps': CONVNEXT},
    },
}  # fmt: skip
FAMILIES = (
    'efficientnet_lite0', 'efficientnet_b0', 'vgg16', 'resnet18', 'dinov2_small', 'convnext_tiny',
)  # fmt: skip
OTHERS = [(s, b) for s in BASE for b in FAMILIES if b not in TAKES[s]]
# Where the refusal is a system's own, and not of stages by names that are not the backbone's.
SAYS = {
    'ccvpe': 'maps down to stride 32',
    'g2sweakly': 'expected vgg16, an EfficientNet or a DINOv2',
    'fusion_transformer': 'expected an EfficientNet',
}


def needs(backbone):
    if backbone.startswith(('dinov2', 'convnext')):
        pytest.importorskip('transformers')


def built(system, backbone, settings):
    torch.manual_seed(0)
    return make_model(system, {**BASE[system], 'backbone': backbone, **settings}).eval()


@pytest.mark.parametrize(('system', 'backbone'), [(s, b) for s in TAKES for b in TAKES[s]])
def test_taken(system, backbone):
    needs(backbone)
    model = built(system, backbone, TAKES[system][backbone])
    generator = torch.Generator().manual_seed(1)
    view, patch = (
        torch.rand((1, r.channels, r.height, r.width), generator=generator)
        for r in (model.inputs.view, model.inputs.patch)
    )
    extra = {}
    if 'patch_classes' in model.EXTRA_INPUTS:
        extra['patch_classes'] = torch.ones(1, 1, *patch.shape[2:])
    with torch.no_grad():
        logits = model.belief(model(view, patch, **extra)).logits
    assert logits.isfinite().all() and logits.amax() > logits.amin()


@pytest.mark.parametrize(('system', 'backbone'), OTHERS)
def test_refused(system, backbone):
    # The others name stages, which a DINOv2 does not have.
    said = SAYS.get(system, 'expected some of layer1 to layer12')
    if system == 'ccvpe' or system not in SAYS:
        needs(backbone)
    with pytest.raises(ConfigError, match=said):
        built(system, backbone, {})


def test_geodistill_has_a_backbone_for_each_part():
    """Its localizer is g2sweakly; the estimator of its yaw reads a stage of an EfficientNet."""
    with pytest.raises(ConfigError, match=r"'convnext_tiny', expected vgg16, an Eff"):
        make_model('geodistill', {'localizer': {'backbone': 'convnext_tiny'}})
    with pytest.raises(ConfigError, match=r"orientation: backbone is 'vgg16', expected an Eff"):
        make_model('geodistill', {'orientation': {'backbone': 'vgg16'}})
