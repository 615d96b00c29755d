# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
import hashlib
import json
import os
import pickle
import struct
import zlib

import numpy as np
import pytest

from geoloc_core.errors import MapError
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import (
    EquirectangularCamera,
    FisheyeCamera,
    PanoramaCropCamera,
    PinholeCamera,
)
from geoloc_core.geometry.geodesy import Datum, EnuFrame
from geoloc_core.maps.place import container
from geoloc_core.maps.place.file import load_place, save_place
from geoloc_core.maps.place.records import Anchor, Keyframe, PlaceMap

RNG = np.random.default_rng(0)
CAMERA = PinholeCamera(640, 480, 525.0, 524.0, 319.5, 241.0, (0.1, -0.2, 0.001, 0.0, 0.0))


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def keyframe(name, count=30, signed=False, depth=(12, 16)):
    raw = RNG.normal(size=(count, 128)) if signed else RNG.random((count, 128))
    points = RNG.normal(size=(count, 3)).astype(np.float32)
    points[::5] = np.nan
    return Keyframe(
        name,
        1_700_000_000_123_456_789,
        se3.from_xyz_rpy(*RNG.normal(size=6)),
        RNG.uniform([-0.5, -0.5], [639.5, 479.5], (count, 2)).astype(np.float32),
        unit(raw),
        points,
        unit(RNG.normal(size=96)),
        RNG.integers(0, 5000, depth, dtype=np.uint16),
    )


def small_place(**changes) -> PlaceMap:
    frames = tuple(keyframe(f'frame-{k}', 20 + k) for k in range(3))
    words = {'mean': np.zeros(128, np.float32), 'words': np.ones((2, 48), np.float32)}
    values = {
        'name': 'Küche 1',
        'camera': CAMERA,
        'features': 'sift',
        'global_kind': 'vlad',
        'global_arrays': words,
        'keyframes': frames,
        'facts': {'made of': 'a test'},
    }
    return PlaceMap(**{**values, **changes})


@pytest.fixture
def written(tmp_path):
    path = tmp_path / 'a.place'
    save_place(small_place(), path)
    return path


def test_what_is_written_is_read(tmp_path):
    anchor = Anchor(Datum(49.01, 8.4, 115.25), 1.25)
    place = small_place(anchor=anchor, z_up=True)
    size = save_place(place, tmp_path / 'a.place')
    assert size == (tmp_path / 'a.place').stat().st_size
    back = load_place(str(tmp_path / 'a.place'))
    assert (back.name, back.camera, back.anchor, back.z_up) == ('Küche 1', CAMERA, anchor, True)
    assert (back.features, back.global_kind, back.facts) == ('sift', 'vlad', {'made of': 'a test'})
    for key, array in place.global_arrays.items():
        np.testing.assert_array_equal(back.global_arrays[key], array)
    assert len(back.keyframes) == 3
    for a, b in zip(place.keyframes, back.keyframes, strict=True):
        assert (a.name, a.stamp_ns) == (b.name, b.stamp_ns)
        np.testing.assert_array_equal(a.T_place_camera, b.T_place_camera)
        np.testing.assert_array_equal(a.points, b.points)
        np.testing.assert_array_equal(a.depth, b.depth)
        assert b.xy.dtype == b.descriptors.dtype == b.points.dtype == np.float32
        np.testing.assert_allclose(a.xy, b.xy, atol=1 / 128 + 1e-4)
        np.testing.assert_allclose(np.linalg.norm(b.descriptors, axis=1), 1.0, atol=1e-5)
        assert (a.descriptors * b.descriptors).sum(axis=1).min() > 0.9999
        assert a.global_descriptor @ b.global_descriptor > 0.9999


def test_signed_descriptors_keep_their_signs(tmp_path):
    place = small_place(keyframes=(keyframe('x', signed=True),))
    save_place(place, tmp_path / 'a.place')
    back = load_place(tmp_path / 'a.place').keyframes[0]
    assert (place.keyframes[0].descriptors * back.descriptors).sum(axis=1).min() > 0.999


def test_a_keyframe_without_features_and_one_without_depth(tmp_path):
    frames = (keyframe('none', 0, depth=(0, 0)), keyframe('some', 7, depth=(0, 0)))
    save_place(small_place(keyframes=frames), tmp_path / 'a.place')
    back = load_place(tmp_path / 'a.place')
    assert [len(f.xy) for f in back.keyframes] == [0, 7]
    assert back.keyframes[1].depth.shape == (0, 0)


@pytest.mark.parametrize(
    'camera',
    [
        FisheyeCamera(800, 600, 300.0, 301.0, 399.0, 310.0, (0.1, 0.0, 0.01, 0.0)),
        EquirectangularCamera(2048, 1024),
        PanoramaCropCamera(1024, 300, 2048.0, 1024.0, 10.0, 400.0),
    ],
)
def test_every_kind_of_camera(tmp_path, camera):
    save_place(small_place(camera=camera), tmp_path / 'a.place')
    assert load_place(tmp_path / 'a.place').camera == camera


def test_the_same_map_gives_the_same_bytes(tmp_path):
    place = small_place()
    save_place(place, tmp_path / 'a.place')
    save_place(place, tmp_path / 'b.place')
    assert (tmp_path / 'a.place').read_bytes() == (tmp_path / 'b.place').read_bytes()


@pytest.mark.parametrize('share', [0.0, 0.001, 0.01, 0.5, 0.999])
def test_a_torn_file_is_told(written, share):
    whole = written.read_bytes()
    written.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(MapError, match='torn' if share else 'it is empty'):
        load_place(written)


def test_a_file_with_more_behind_it_is_told(written):
    written.write_bytes(written.read_bytes() + b'x')
    with pytest.raises(MapError, match='torn'):
        load_place(written)


@pytest.mark.parametrize('at', [0.1, 0.3, 0.6, 0.9, 1.0])
def test_one_wrong_bit_is_told(written, at):
    content = bytearray(written.read_bytes())
    content[max(30, int(at * len(content)) - 1)] ^= 4
    written.write_bytes(content)
    with pytest.raises(MapError, match='is damaged: its checksum'):
        load_place(written)


def test_files_of_others_are_refused(tmp_path):
    for name, content in (
        ('text', b'hello, this is a text file\n' * 5),
        ('pickle', pickle.dumps({'a': np.zeros(9)})),
        ('zip', b'PK\x03\x04' + bytes(100)),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(MapError, match='is no place map; expected a file made by'):
            load_place(tmp_path / name)
    with pytest.raises(MapError, match='no place map at'):
        load_place(tmp_path / 'absent.place')
    with pytest.raises(MapError, match='is a folder'):
        load_place(tmp_path)


def resealed(content: bytes) -> bytes:
    """With a size and a checksum that fit: what a faulty program or an attacker would write."""
    magic, version, _, page = struct.unpack('<8sIQQ', content[:28])
    head = struct.pack('<8sIQQ', magic, version, len(content), page)
    body = head + content[28:-32]
    return body + hashlib.sha256(body).digest()


def test_a_newer_version_is_named(written):
    content = bytearray(written.read_bytes())
    content[8:12] = struct.pack('<I', 7)
    written.write_bytes(content)
    with pytest.raises(MapError, match=r'has format 7, .* reads up to 1: update geoloc'):
        load_place(written)


def rewritten(path, change):
    """Applies `change` to the JSON of a file and seals it again."""
    content = path.read_bytes()
    size = struct.unpack('<8sIQQ', content[:28])[3]
    page = json.loads(content[28 : 28 + size])
    change(page)
    text = json.dumps(page).encode()
    head = content[:20] + struct.pack('<Q', len(text))
    path.write_bytes(resealed(head + text + content[28 + size :]))


CHANGES = {
    'object dtype': (lambda p: p['arrays'][0].update(dtype='|O'), 'described as'),
    'negative shape': (lambda p: p['arrays'][0].update(shape=[-3]), 'described as'),
    'huge shape': (lambda p: p['arrays'][3].update(shape=[10**9, 10**3]), 'more than 8 GB'),
    'other shape': (lambda p: p['arrays'][3].update(shape=[5, 2]), 'damaged'),
    'past the end': (lambda p: p['arrays'][-1].update(bytes=10**9), 'past the end'),
    'array left out': (lambda p: p['arrays'].pop(), 'belong to no array'),
    'no list': (lambda p: p.update(arrays=3), 'description cannot be read'),
    'no name': (lambda p: p['about'].pop('names'), 'no place map'),
    'one name less': (lambda p: p['about']['names'].pop(), 'do not belong together'),
    'two of one name': (lambda p: p['about'].update(names=['a', 'a', 'b']), 'two keyframes'),
    'camera of the future': (
        lambda p: p['about']['camera'].update(kind='event'), "camera 'event' is not known",
    ),
    'camera without focal length': (lambda p: p['about']['camera'].pop('fx'), 'has .*fx'),
    'impossible camera': (lambda p: p['about']['camera'].update(fx=-1.0), 'no place map'),
    'impossible place': (
        lambda p: p['about'].update(
            anchor={'lat_deg': 99.0, 'lon_deg': 0.0, 'alt_m': 0.0, 'yaw': 0.0}
        ),
        'not on Earth',
    ),
}  # fmt: skip


@pytest.mark.parametrize('what', CHANGES)
def test_content_that_cannot_be_is_refused(written, what):
    change, said = CHANGES[what]
    rewritten(written, change)
    with pytest.raises(MapError, match=said):
        load_place(written)


def test_a_small_file_cannot_unpack_into_a_large_one(tmp_path):
    path = tmp_path / 'bomb.place'
    container.write(path, {}, {'a': np.zeros(50_000_000, np.uint8)})
    assert path.stat().st_size < 100_000
    rewritten(path, lambda p: p['arrays'][0].update(shape=[1000]))
    with pytest.raises(MapError, match='damaged'):
        load_place(path)
    assert zlib.decompressobj().decompress(zlib.compress(bytes(10**6)), 1001) == bytes(1001)


def test_writing_replaces_whole_files_only(tmp_path, monkeypatch):
    path = tmp_path / 'a.place'
    save_place(small_place(), path)
    before = path.read_bytes()
    monkeypatch.setattr(os, 'fsync', lambda handle: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_place(small_place(name='other'), path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_refused(tmp_path, monkeypatch):
    with pytest.raises(MapError, match=r'ends in \.place'):
        save_place(small_place(), tmp_path / 'a.npz')
    with pytest.raises(MapError, match='there is no folder'):
        save_place(small_place(), tmp_path / 'absent' / 'a.place')
    mixed = (keyframe('a'), keyframe('b', depth=(6, 8)))
    with pytest.raises(MapError, match='depth of sizes'):
        save_place(small_place(keyframes=mixed), tmp_path / 'a.place')
    monkeypatch.setattr(container, 'MAX_FILE_BYTES', 1000)
    with pytest.raises(MapError, match='keep fewer'):
        save_place(small_place(), tmp_path / 'a.place')


def test_records_refuse_what_does_not_belong_together():
    good = keyframe('a')
    with pytest.raises(MapError, match='points is'):
        replace(good, points=good.points[1:])
    with pytest.raises(MapError, match='no rigid motion'):
        replace(good, T_place_camera=2 * np.eye(4))
    with pytest.raises(MapError, match='expected uint16'):
        replace(good, depth=good.depth.astype(np.float32))
    with pytest.raises(MapError, match='no keyframes'):
        small_place(keyframes=())
    with pytest.raises(MapError, match='z of its frame must be up'):
        small_place(anchor=Anchor(Datum(0, 0), 0.0))


def test_an_anchor_brings_the_place_into_another_map():
    """1 km east and a quarter turn: place x looks north."""
    datum = Datum(49.0, 8.4, 110.0)
    lat, lon, alt = EnuFrame(datum).geodetic_from_enu([1000.0, 0.0, 0.0])
    anchor = Anchor(Datum(float(lat), float(lon), float(alt)), np.pi / 2)
    T = anchor.T_map_place(EnuFrame(datum))
    np.testing.assert_allclose(se3.transform(T, [2.0, 1.0, 0.0]), [999.0, 2.0, 0.0], atol=1e-3)
    np.testing.assert_allclose(T[:3, :3] @ T[:3, :3].T, np.eye(3), atol=1e-9)
