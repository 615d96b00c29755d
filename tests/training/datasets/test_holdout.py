# SPDX-License-Identifier: Apache-2.0
"""The parts of a recording are stretches that do not touch."""

import numpy as np
import pytest

from geoloc_core.errors import DataError
from training.datasets.holdout import check_shares, stretch, stretch_and_aside

PARTS = ('train', 'validation', 'test')


@pytest.mark.parametrize('validation', [0.0, 0.1])
@pytest.mark.parametrize('test', [0.0, 0.25])
def test_training_keeps_off_what_follows_it(validation, test):
    parts = {name: stretch(1000, name, validation, test) for name in PARTS}
    seen = [i for part in parts.values() for i in part]
    assert len(seen) == len(set(seen)) and seen == sorted(seen)
    judged = [i for name in ('validation', 'test') for i in parts[name]]
    assert len(parts['test']) == round(1000 * test)
    if judged:
        assert min(judged) - max(parts['train']) > 5
    else:
        assert parts['train'] == stretch(1000, 'all', validation, test) == range(1000)


def test_a_wider_guard_takes_from_training_alone():
    narrow, wide = ([stretch(200, n, 0.1, 0.25, g) for n in PARTS] for g in (0.01, 0.1))
    assert narrow[1:] == wide[1:] == [range(135, 150), range(150, 200)]
    assert narrow[0] == range(133) and wide[0] == range(120)


def panned(*degrees):
    """Optical axes that look so far to the left of x."""
    yaw = np.radians(degrees)
    return np.stack([np.cos(yaw), np.sin(yaw), np.zeros(len(yaw))], axis=1)


def parts_aside(axes, **shares):
    shares = {'validation': 0.1, 'test': 0.25, 'guard': 0.1, 'aside': 0.2} | shares
    return {name: list(stretch_and_aside(axes, name, **shares)) for name in PARTS}


def test_validation_also_looks_where_training_does_not():
    # Of the first 15 frames the second to fourth look farthest to a side, the fifth less so; the
    # test would look farther, and is not asked.
    axes = panned(0, 40, 50, 45, 20, *[0] * 10, *[90] * 5)
    parts = parts_aside(axes)
    # The last two in time, and the three.
    assert parts['validation'] == [1, 2, 3, 13, 14]
    # Between lie two frames in time, and the next two in order of looking.
    assert 4 not in parts['train'] and not {11, 12} & set(parts['train'])
    assert len(parts['train']) == 6 and parts['train'] == sorted(parts['train'])
    assert parts['test'] == list(range(15, 20))
    assert parts_aside(axes, aside=0.0) == {
        name: list(stretch(20, name, 0.1, 0.25, 0.1)) for name in PARTS
    }


def test_looking_aside_is_to_either_side_and_in_any_frame():
    axes = panned(170, 172, 176, -178, 130, -130, 174, 171, 173, 175)
    assert parts_aside(axes, validation=0.0, test=0.0)['validation'] == [4, 5]
    turned = axes[:, [2, 0, 1]]
    assert parts_aside(turned) == parts_aside(axes)


def test_a_frame_whose_direction_is_not_known_stays_in_the_middle():
    axes = panned(0, 40, 50, 45, 20, *[0] * 10, *[90] * 5)
    axes[2] = np.nan
    parts = parts_aside(axes, guard=0.0)
    assert 2 in parts['train'] and {1, 3, 4} < set(parts['validation'])
    assert parts_aside(np.empty((0, 3))) == {name: [] for name in PARTS}


def test_a_share_is_one():
    with pytest.raises(DataError, match=r'validation = 1\.5'):
        check_shares(validation=1.5)
