# SPDX-License-Identifier: Apache-2.0
"""Recall and capped precision at K, against answers worked out by hand."""

import math

import numpy as np
import pytest

from geoloc_core.errors import InputError
from geoloc_core.evaluation.place_recognition import (
    capped_precision_at,
    hits,
    nearest,
    recall_at,
    same_name,
)

# Along a line: distances are plain.
DATABASE = np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [4.0, 0.0], [8.0, 0.0]])


def test_nearest_come_first_and_ties_in_order():
    ranks = nearest([[0.9, 0.0], [3.0, 0.0]], DATABASE, 3)
    assert ranks.tolist() == [[1, 0, 2], [2, 3, 1]]
    assert nearest([[0.0, 0.0]], DATABASE, 9).shape == (1, 5)


def test_a_query_is_left_out_by_name_and_not_by_rank():
    names = ['a', 'b', 'c', 'd', 'e']
    # b has a twin of the same descriptor, which must be found.
    twins = DATABASE.copy()
    twins[2] = twins[1]
    itself = same_name(['b'], names)
    assert itself.tolist() == [[False, True, False, False, False]]
    assert nearest(twins[[1]], twins, 1, itself).tolist() == [[2]]
    ranks = nearest(twins[[1]], twins, 5, itself)
    assert ranks.tolist() == [[2, 0, 3, 4, -1]]
    assert not hits(ranks, itself).any()


def test_recall_and_capped_precision_by_hand():
    ranks = np.array([[0, 1, 2, 3], [3, 2, 1, 0], [1, 0, 2, 3], [0, 1, 2, 3]])
    positives = np.zeros((4, 5), bool)
    positives[0, [0, 1, 2]] = True
    positives[1, [1, 4]] = True
    positives[2, 3] = True
    # The last query has no right picture: it does not count.
    assert recall_at(ranks, positives, 1) == pytest.approx(1 / 3)
    assert recall_at(ranks, positives, 3) == pytest.approx(2 / 3)
    assert recall_at(ranks, positives, 4) == 1.0
    assert capped_precision_at(ranks, positives, 1) == pytest.approx(1 / 3)
    assert capped_precision_at(ranks, positives, 2) == pytest.approx((1 + 0 + 0) / 3)
    # It may rise with K, as its authors' tables do.
    assert capped_precision_at(ranks, positives, 4) == pytest.approx((1 + 0.5 + 1) / 3)


def test_nothing_to_find_is_no_number():
    ranks = np.zeros((1, 1), np.int64)
    assert math.isnan(recall_at(ranks, np.zeros((1, 2), bool), 1))
    assert math.isnan(capped_precision_at(ranks, np.zeros((1, 2), bool), 1))


def test_damaged_descriptors_are_refused():
    with pytest.raises(InputError, match='finite'):
        nearest([[np.nan, 0.0]], DATABASE, 1)
    with pytest.raises(InputError, match='expected'):
        nearest([[0.0]], DATABASE, 1)


def test_many_queries_are_no_other_than_few(monkeypatch):
    rng = np.random.default_rng(0)
    queries, database = rng.normal(size=(7, 3)), rng.normal(size=(11, 3))
    whole = nearest(queries, database, 4)
    monkeypatch.setattr('geoloc_core.evaluation.place_recognition._CHUNK', 25)
    assert (nearest(queries, database, 4) == whole).all()
    wanted = np.argsort(np.linalg.norm(queries[:, None] - database, axis=-1), axis=1)[:, :4]
    assert (whole == wanted).all()
