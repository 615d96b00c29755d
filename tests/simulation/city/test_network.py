# SPDX-License-Identifier: Apache-2.0
"""Street networks: connected, drivable, and not only grids."""

import numpy as np

from geoloc_core.simulation.city import drivable, Street, with_mouths
from geoloc_core.simulation.city.network import clean, make_network, Network
from geoloc_core.simulation.city.streets import arms_of, make_streets
from geoloc_core.simulation.polyline import Polyline


def components(count, pairs):
    """Number of connected parts among the nodes that have an edge."""
    parent = list(range(count))

    def root(i):
        while parent[i] != i:
            i = parent[i]
        return i

    for a, b in pairs:
        parent[root(a)] = root(b)
    return len({root(n) for pair in pairs for n in pair})


def test_all_streets_are_connected_with_and_without_dead_ends(cities):
    for city in cities:
        pairs = [(s.start, s.end) for s in city.streets]
        assert components(len(city.junctions), pairs) == 1
        core = drivable(city.streets)
        pairs = [pairs[i] for i in core]
        assert len(core) >= 6
        assert components(len(city.junctions), pairs) == 1
        assert np.bincount(np.ravel(pairs))[np.unique(np.ravel(pairs))].min() >= 2


def test_lines_begin_and_end_at_their_junctions(cities):
    for city in cities:
        for street in city.streets:
            np.testing.assert_allclose(street.line.points[0], city.junctions[street.start])
            np.testing.assert_allclose(street.line.points[-1], city.junctions[street.end])
            assert street.start != street.end


def test_streets_leave_junctions_at_wide_angles_and_keep_apart(cities):
    for city in cities:
        for around in arms_of(city.streets).values():
            headings = np.array([heading for heading, _, _ in around])
            if len(headings) > 1:
                gaps = (np.roll(headings, -1) - headings) % (2 * np.pi)
                assert np.degrees(gaps[gaps > 0].min()) > 32
        for i, street in enumerate(city.streets):
            inner = street.line.resampled(4.0).points
            for other in city.streets[i + 1 :]:
                away = np.linalg.norm(inner[:, None] - other.line.resampled(4.0).points, axis=-1)
                shared = {street.start, street.end} & {other.start, other.end}
                for node in shared:
                    near = np.linalg.norm(inner - city.junctions[node], axis=1) < 32
                    away[near] = np.inf
                assert away.min() > street.half_width + other.half_width


def test_headings_differ_from_seed_to_seed_and_within_a_city(cities):
    """A grid's streets have two headings; over all seeds every heading occurs about as often."""
    everything = []
    spread = 0
    for city in cities:
        steps = np.concatenate(
            [np.diff(s.line.resampled(5.0).points, axis=0) for s in city.streets]
        )
        heading = np.mod(np.arctan2(steps[:, 1], steps[:, 0]), np.pi / 2)
        share = np.histogram(heading, 9, (0, np.pi / 2))[0] / len(heading)
        entropy = -(share * np.log(np.maximum(share, 1e-12))).sum() / np.log(9)
        spread += entropy > 0.85
        everything.append(heading)
    share = np.histogram(np.concatenate(everything), 9, (0, np.pi / 2))[0]
    assert share.min() > 0.05 * share.sum()
    assert spread >= 4


def test_kinds_of_streets(large_city):
    kinds = {s.kind for s in large_city.streets}
    assert kinds == {'lane', 'street', 'avenue'}
    assert len(drivable(large_city.streets)) < len(large_city.streets)
    bent = [
        s.line.length / np.linalg.norm(s.line.points[-1] - s.line.points[0])
        for s in large_city.streets
    ]
    assert max(bent) > 1.03
    for street in large_city.streets:
        assert street.lanes_edge >= street.lane_offset + 0.9
        assert sum(street.mouths) < 0.9 * street.line.length


def test_crossing_and_sharp_edges_are_dropped():
    """Two diagonals of a square cross: one of them must go; so must a needle's second side."""
    xy = np.array([(0, 0), (100, 0), (100, 100), (0, 100), (210, 8), (210, -8)], float)
    edges = [(0, 1), (1, 2), (2, 3), (0, 3), (0, 2), (1, 3), (1, 4), (1, 5), (4, 5)]
    net = Network(xy, edges)
    clean(net, 30.0)
    assert len(net.edges) == 4
    assert np.unique(np.ravel(net.edges)).tolist() == [0, 1, 2, 3]


def test_mouths_reach_beyond_a_wide_neighbour():
    """A stop line lies behind the kerb of the street it leads to."""
    across = Street(0, 1, Polyline([(-100, 0), (0, 0)]), 9.0, False)
    on = Street(1, 2, Polyline([(0, 0), (100, 0)]), 9.0, False)
    side = Street(1, 3, Polyline([(0, 0), (0, -80)]), 3.6, False)
    west, east, south = with_mouths([across, on, side])
    assert 14 < south.mouths[0] < 18
    assert 9 < west.mouths[1] < 12
    assert east.mouths[0] == west.mouths[1]


def test_same_seed_same_net():
    for seed in range(4):
        nets = [make_network(np.random.default_rng(seed), 200.0, 4) for _ in range(2)]
        assert nets[0].edges == nets[1].edges
        assert np.array_equal(nets[0].xy, nets[1].xy)
    a, b = (make_streets(np.random.default_rng(s), 200.0, 4)[0] for s in (1, 2))
    assert a.shape != b.shape or not np.allclose(a, b)
