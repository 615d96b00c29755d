# SPDX-License-Identifier: Apache-2.0
"""VIGOR's labels against the publisher's formulas, coded here once more."""

from collections import Counter

import numpy as np
import pytest

from geoloc_core.errors import DataError
from geoloc_core.geometry import se3
from geoloc_core.geometry.geodesy import EnuFrame
from geoloc_core.simulation.layouts.base import Place, Shot
from geoloc_core.simulation.layouts.vigor import GSD_640, label_of, line_of, VigorWriter

PANO = (96, 48)


def world_pixel(lat, lon, zoom=20):
    """HC-Net's: x, y of the Mercator world."""
    s = np.sin(np.radians(lat))
    size = 256 * 2.0**zoom
    x = size * (0.5 + np.asarray(lon) / 360)
    y = size * (0.5 - np.log((1 + s) / (1 - s)) / (4 * np.pi))
    return x, y


def places(city, count=60, span=90.0):
    rng = np.random.default_rng(city)
    frame = EnuFrame(VigorWriter.datum(city))
    name = VigorWriter.sequence(city, 0)
    return [
        VigorWriter.aligned(
            Place(i, name, ('train', 'test')[i % 2], i, se3.from_planar(*xy, np.pi / 2), frame)
        )
        for i, xy in enumerate(rng.uniform(-span, span, (count, 2)))
    ]


@pytest.mark.parametrize('city', [0, 1, 2, 3, 5])
def test_labels_agree_with_mercator(city):
    for place in places(city):
        tokens = line_of(label_of(place)).split(' ')
        assert len(tokens) == 13
        lat, lon = (float(part) for part in tokens[0][: -len(',.jpg')].split(',')[-2:])
        x, y = world_pixel(lat, lon)
        for k in range(4):
            name, d_row, d_col = tokens[1 + 3 * k], *map(float, tokens[2 + 3 * k : 4 + 3 * k])
            tile = world_pixel(*(float(part) for part in name[: -len('.png')].split('_')[-2:]))
            # South of the tile's middle d_row is positive, WEST of it d_col. Names have six
            # decimals, which is half a pixel at most.
            assert abs((y - tile[1]) - d_row) < 0.7
            assert abs((tile[0] - x) - d_col) < 0.7
            inside = 160 if k == 0 else 320
            assert max(abs(d_row), abs(d_col)) <= inside
        assert len({tokens[1 + 3 * k] for k in range(4)}) == 4


def test_aligned_places_are_whole_pixels():
    for place in places(1, 20):
        delta = label_of(place).delta_px
        np.testing.assert_allclose(delta, np.rint(delta), atol=1e-5)
        assert se3.yaw_of(place.T_map_base) == pytest.approx(np.pi / 2)


def test_datum_has_the_published_gsd():
    for city in range(4):
        datum = VigorWriter.datum(city)
        gsd = 156543.03392 * np.cos(np.radians(datum.lat_deg)) / 2**20
        assert gsd == pytest.approx(GSD_640[VigorWriter.sequence(city, 0)], rel=1e-6)
    assert VigorWriter.datum(4).lat_deg == VigorWriter.datum(0).lat_deg
    assert VigorWriter.datum(4).lon_deg != VigorWriter.datum(0).lon_deg


def test_lists_name_every_panorama_once(tmp_path):
    writer = VigorWriter(tmp_path)
    writer.begin(places(0, 7))
    writer.begin(
        Place(p.index + 100, p.sequence, p.split, p.stamp_ns, p.T_map_base, p.frame)
        for p in places(3, 5)
    )
    writer.finish()
    folder = tmp_path / 'splits__corrected' / 'Chicago'
    lines = {
        stem: (folder / f'{stem}__corrected.txt').read_text().splitlines()
        for stem in ('pano_label_balanced', 'same_area_balanced_train', 'same_area_balanced_test')
    }
    both = lines['same_area_balanced_train'] + lines['same_area_balanced_test']
    assert sorted(both) == sorted(lines['pano_label_balanced'])
    assert max(Counter(line.split()[0] for line in both).values()) == 1
    satellites = (folder / 'satellite_list.txt').read_text().split()
    named = {line.split()[1 + 3 * k] for line in both for k in range(4)}
    assert set(satellites) == named and satellites == sorted(satellites)


def test_first_release_counts_with_one_gsd(tmp_path):
    writer = VigorWriter(tmp_path)
    writer.begin(places(1, 30))
    writer.finish()

    def deltas(path):
        rows = [line.split() for line in (tmp_path / path).read_text().splitlines()]
        return np.array([[float(row[k]) for k in (2, 3, 5, 6)] for row in rows])

    corrected = deltas('splits__corrected/Seattle/pano_label_balanced__corrected.txt')
    original = deltas('splits/Seattle/pano_label_balanced.txt')
    np.testing.assert_allclose(original, corrected * GSD_640['Seattle'] / 0.114, atol=0.5001)


def test_refuses_a_panorama_that_does_not_look_north(tmp_path):
    rig = VigorWriter.rig(*PANO)
    frame = EnuFrame(VigorWriter.datum(0))
    shot = Shot(
        0, 'NewYork', 0, np.zeros((48, 96, 3), np.uint8), None, None, rig.camera,
        rig.T_base_camera, se3.from_planar(0, 0, 0.1), frame,
    )  # fmt: skip
    with pytest.raises(DataError, match='north'):
        VigorWriter(tmp_path).write(shot, object())
    with pytest.raises(DataError, match='aerial'):
        VigorWriter(tmp_path).write(shot)
    with pytest.raises(DataError, match='twice as wide'):
        VigorWriter.rig(100, 100)
