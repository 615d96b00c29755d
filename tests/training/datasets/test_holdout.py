# SPDX-License-Identifier: Apache-2.0
"""The parts of a recording are stretches that do not touch."""

import pytest

from geoloc_core.errors import DataError
from training.datasets.holdout import check_shares, stretch

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


def test_a_share_is_one():
    with pytest.raises(DataError, match=r'validation = 1\.5'):
        check_shares(validation=1.5)
