# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from geoloc_core.errors import MapError
from geoloc_core.features.base import LocalFeatures
from geoloc_core.features.global_descriptor import k_means, restore, Vlad


def features(descriptors):
    n = len(descriptors)
    descriptors = np.asarray(descriptors, np.float32)
    return LocalFeatures(np.zeros((n, 2), np.float32), descriptors, np.ones(n, np.float32))


def places(count, size=16, seed=0):
    """Two pictures of each place, whose features are the common kinds in a manner of its own."""
    rng = np.random.default_rng(seed)
    kinds = rng.normal(size=(10, size))

    def picture(own):
        which = rng.integers(0, 10, 150)
        rows = kinds[which] + own[which] + 0.3 * rng.normal(size=(150, size))
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    owns = [0.3 * rng.normal(size=(10, size)) for _ in range(count)]
    return [picture(own) for own in owns], [picture(own) for own in owns]


def test_vlad_by_hand():
    """Two words, three features: residuals of unit length, their sums, roots, unit length."""
    vlad = Vlad(np.zeros(2), np.eye(2), [[0.0, 0.0], [10.0, 0.0]])
    found = vlad.describe(None, features([[0.0, 2.0], [3.0, 4.0], [10.0, -1.0]]))
    roots = np.sqrt([0.6, 1.8, 0.0, 1.0]) * [1, 1, 1, -1]
    np.testing.assert_allclose(found, roots / np.sqrt(3.4), atol=1e-6)


def test_a_place_is_found_again_among_others():
    seen, again = places(12)
    vlad = Vlad.trained(seen)
    database = np.stack([vlad.describe(None, features(s)) for s in seen])
    queries = np.stack([vlad.describe(None, features(s)) for s in again])
    np.testing.assert_allclose(np.linalg.norm(database, axis=1), 1.0, atol=1e-5)
    assert database.dtype == np.float32 and database.shape == (12, vlad.size)
    np.testing.assert_array_equal((queries @ database.T).argmax(axis=1), np.arange(12))


def test_training_is_repeatable_and_survives_a_map():
    seen, _ = places(4)
    vlad = Vlad.trained(seen, seed=3)
    again = restore('vlad', Vlad.trained(seen, seed=3).arrays())
    a, b = (v.describe(None, features(seen[1])) for v in (vlad, again))
    np.testing.assert_allclose(a, b, atol=1e-6)
    assert again.size == vlad.size and again.kind == 'vlad'


def test_no_features_are_described_by_nothing():
    vlad = Vlad.trained(places(2)[0])
    assert not vlad.describe(None, LocalFeatures.none(16)).any()


def test_the_order_of_features_does_not_matter():
    seen, _ = places(2)
    vlad = Vlad.trained(seen)
    a = vlad.describe(None, features(seen[0]))
    np.testing.assert_allclose(a, vlad.describe(None, features(seen[0][::-1])), atol=1e-5)


def test_what_cannot_be_used_is_refused():
    vlad = Vlad.trained(places(2)[0])
    with pytest.raises(MapError, match='size 8, the vocabulary is for 16'):
        vlad.describe(None, LocalFeatures.none(8))
    with pytest.raises(MapError, match="'netvlad' is not known"):
        restore('netvlad', {})
    with pytest.raises(MapError, match='lacks its axes'):
        restore('vlad', {'mean': np.zeros(4), 'words': np.zeros((2, 2))})
    with pytest.raises(MapError, match='expected finite'):
        Vlad(np.zeros(4), np.eye(4), np.full((2, 4), np.nan))
    with pytest.raises(MapError, match='too few to tell places apart'):
        Vlad.trained([np.zeros((3, 16), np.float32)])


def test_k_means_finds_clusters():
    rng = np.random.default_rng(0)
    truth = np.array([[0, 0, 5], [9, 0, 0], [0, 7, 0], [-6, -6, 0]], float)
    points = np.repeat(truth, 50, axis=0) + 0.2 * rng.normal(size=(200, 3))
    centres = k_means(points, 4, np.random.default_rng(1))
    gap = np.linalg.norm(centres[:, None] - truth, axis=2)
    assert sorted(gap.argmin(axis=1)) == [0, 1, 2, 3] and gap.min(axis=1).max() < 0.15


def test_k_means_of_equal_points_stays_finite():
    assert np.isfinite(k_means(np.ones((80, 3)), 4, np.random.default_rng(0))).all()
