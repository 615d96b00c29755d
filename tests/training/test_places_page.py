# SPDX-License-Identifier: Apache-2.0
"""docs/places.md says what the pose networks are."""

from pathlib import Path
import re

import pytest
import torch

from geoloc_core.models.base import parameter_count
from geoloc_core.models.registry import make_model, model_class, PLACES
from training.augmentation.pipeline import STEPS
from training.families.registry import FAMILIES
from training.objectives.pose_loss import RELATIVE

PAGE = (Path(__file__).parents[2] / 'docs' / 'places.md').read_text(encoding='utf-8')
POSES = [name for name in PLACES if model_class(name).FAMILY == 'camera_pose']


@pytest.mark.parametrize('name', POSES)
def test_sizes_are_those_of_the_networks(name):
    row = next(line for line in PAGE.splitlines() if line.startswith(f'| `{name}` |'))
    cells = [cell.strip() for cell in row.split('|')]
    # Without memory for the weights: they are counted, not used.
    with torch.device('meta'):
        published = make_model(name, {'with_masks': False, 'rotation': 'log_quaternion'})
        ours = make_model(name)
    assert cells[3] == f'{parameter_count(published) / 1e6:.2f} M'
    assert cells[4] == f'{parameter_count(ours) / 1e6:.2f} M'
    for scalar in ours.calibration:
        assert f'`{scalar}`' in PAGE


def test_names_on_the_page_exist():
    assert len(POSES) == 3 and 'camera_pose' in FAMILIES
    assert '`move_viewpoint`' in PAGE and 'move_viewpoint' in STEPS
    assert all(f'`{kind}`' in PAGE for kind in RELATIVE if kind != 'none')
    for path in re.findall(r'`((?:tests|training|geoloc_core)/[\w/.]+)`', PAGE):
        assert (Path(__file__).parents[2] / path).exists(), path
