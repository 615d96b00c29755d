# SPDX-License-Identifier: Apache-2.0
"""Pixels out of messages: every encoding, padded rows, both byte orders, damage."""

import struct
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from geoloc_core.errors import InputError
from geoloc_core.messages import image_decoding as decoding

H, W = 6, 8
RGB = np.random.default_rng(3).integers(0, 256, (H, W, 3), dtype=np.uint8)


def message(pixels, encoding, *, pad=0, big=False, height=H, width=W, cut=0):
    """An Image of rows (R, bytes) or pixels of any shape whose first axis is rows."""
    if big and pixels.dtype.itemsize > 1:
        pixels = pixels.astype(pixels.dtype.newbyteorder('>'))
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(len(pixels), -1)
    padded = np.pad(rows, ((0, 0), (0, pad)), constant_values=0xAB)
    data = padded.tobytes()
    return SimpleNamespace(
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=int(big),
        step=padded.shape[1],
        data=data[: len(data) - cut],
    )


def decode(m):
    return decoding.decode_image(m, use_cv_bridge=False)


@pytest.mark.parametrize('pad', [0, 1, 13])
@pytest.mark.parametrize(
    ('encoding', 'pixels'),
    [
        ('rgb8', RGB),
        ('bgr8', RGB[..., ::-1]),
        ('8UC3', RGB[..., ::-1]),
        ('rgba8', np.dstack([RGB, RGB[..., 0]])),
        ('bgra8', np.dstack([RGB[..., ::-1], RGB[..., 0]])),
    ],
)
def test_colour(encoding, pixels, pad):
    np.testing.assert_array_equal(decode(message(pixels, encoding, pad=pad)), RGB)


@pytest.mark.parametrize('big', [False, True])
@pytest.mark.parametrize('encoding', ['rgb16', 'bgr16', 'rgba16', 'bgra16'])
def test_sixteen_bits_in_both_byte_orders(encoding, big):
    wide = RGB.astype(np.uint16) * 257
    pixels = wide if encoding.startswith('rgb') else wide[..., ::-1]
    if 'a' in encoding:
        pixels = np.dstack([pixels, wide[..., 0]])
    np.testing.assert_array_equal(decode(message(pixels, encoding, pad=6, big=big)), RGB)


@pytest.mark.parametrize('encoding', ['mono8', '8UC1'])
def test_grey(encoding):
    grey = RGB[..., 1]
    expected = np.dstack([grey] * 3)
    np.testing.assert_array_equal(decode(message(grey, encoding, pad=5)), expected)


@pytest.mark.parametrize('big', [False, True])
def test_grey_of_sixteen_bits(big):
    grey = RGB[..., 1].astype(np.uint16) * 257
    got = decode(message(grey, 'mono16', big=big))
    np.testing.assert_array_equal(got, np.dstack([RGB[..., 1]] * 3))


# Position (row, column) of red and blue in the first 2 x 2 pixels.
PATTERNS = {
    'rggb': ((0, 0), (1, 1)),
    'bggr': ((1, 1), (0, 0)),
    'gbrg': ((1, 0), (0, 1)),
    'grbg': ((0, 1), (1, 0)),
}


@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('pattern', PATTERNS)
def test_bayer_patterns_put_red_where_red_is(pattern, bits):
    red, blue = PATTERNS[pattern]
    mosaic = np.full((H, W), 90, dtype=np.uint8)
    mosaic[red[0] :: 2, red[1] :: 2] = 200
    mosaic[blue[0] :: 2, blue[1] :: 2] = 30
    if bits == 16:
        mosaic = mosaic.astype(np.uint16) * 257
    got = decode(message(mosaic, f'bayer_{pattern}{bits}', pad=4))
    np.testing.assert_array_equal(got, np.broadcast_to([200, 90, 30], (H, W, 3)))


def yuv_planes(rgb):
    """(Y (H, W), U (H/2, W/2), V) by OpenCV."""
    i420 = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2YUV_I420)
    y, rest = i420[:H], i420[H:].reshape(-1)
    u, v = rest[: H * W // 4], rest[H * W // 4 :]
    return y, u.reshape(H // 2, W // 2), v.reshape(H // 2, W // 2)


# One colour per 2 x 2 block, so that subsampling loses nothing.
BLOCKS = np.kron(
    np.array([[[200, 30, 40], [20, 180, 60]], [[40, 60, 190], [128, 128, 128]]], np.uint8),
    np.ones((H // 2, W // 2, 1), np.uint8),
)[:H, :W]
BLOCKS = np.kron(BLOCKS[::2, ::2], np.ones((2, 2, 1), np.uint8))


@pytest.mark.parametrize('encoding', ['nv12', 'nv21', 'i420'])
def test_planar_yuv(encoding):
    y, u, v = yuv_planes(BLOCKS)
    if encoding == 'i420':
        chroma = np.concatenate([u.ravel(), v.ravel()]).reshape(H // 2, W)
    else:
        pair = (u, v) if encoding == 'nv12' else (v, u)
        chroma = np.dstack(pair).reshape(H // 2, W)
    pad = 0 if encoding == 'i420' else 4
    got = decode(message(np.vstack([y, chroma]), encoding, pad=pad)).astype(int)
    assert np.abs(got - BLOCKS).max() <= 4


@pytest.mark.parametrize('encoding', ['uyvy', 'yuv422', 'yuyv', 'yuv422_yuy2'])
def test_packed_yuv(encoding):
    y, u, v = yuv_planes(BLOCKS)
    u, v = np.repeat(u, 2, axis=0), np.repeat(v, 2, axis=0)
    packed = np.zeros((H, W, 2), np.uint8)
    luma = 1 if encoding in ('uyvy', 'yuv422') else 0
    packed[..., luma] = y
    packed[:, 0::2, 1 - luma] = u
    packed[:, 1::2, 1 - luma] = v
    got = decode(message(packed, encoding, pad=2)).astype(int)
    assert np.abs(got - BLOCKS).max() <= 4


@pytest.mark.parametrize('big', [False, True])
def test_depth_in_millimetres(big):
    raw = np.arange(H * W, dtype=np.uint16).reshape(H, W) * 100
    got = decoding.decode_depth(message(raw, '16UC1', pad=2, big=big))
    assert got.dtype == np.float32
    assert np.isnan(got[0, 0])
    np.testing.assert_allclose(got[1:], raw[1:] * 1e-3, rtol=1e-6)


def test_depth_in_metres_marks_what_is_none():
    raw = np.full((H, W), 2.5, np.float32)
    raw[0, :4] = [np.nan, np.inf, 0.0, -1.0]
    got = decoding.decode_depth(message(raw, '32FC1', pad=8))
    assert np.isnan(got[0, :4]).all()
    assert (got[0, 4:] == 2.5).all()


@pytest.mark.parametrize('kind', ['.jpg', '.png'])
def test_compressed_image(kind):
    smooth = cv2.resize(BLOCKS, (64, 48), interpolation=cv2.INTER_LINEAR)
    data = cv2.imencode(kind, smooth[..., ::-1])[1].tobytes()
    got = decoding.decode_compressed_image(SimpleNamespace(format='rgb8; jpeg', data=data))
    assert got.shape == (48, 64, 3)
    assert np.abs(got.astype(int) - smooth).mean() < (6 if kind == '.jpg' else 0.1)


def test_compressed_grey():
    data = cv2.imencode('.png', RGB[..., 0].astype(np.uint16) * 257)[1].tobytes()
    got = decoding.decode_compressed_image(SimpleNamespace(format='mono16; png', data=data))
    np.testing.assert_array_equal(got, np.dstack([RGB[..., 0]] * 3))


def test_compressed_depth_of_both_kinds():
    raw = np.arange(H * W, dtype=np.uint16).reshape(H, W) * 50
    png = cv2.imencode('.png', raw)[1].tobytes()
    head = struct.pack('<iff', 0, 0.0, 0.0)
    m = SimpleNamespace(format='16UC1; compressedDepth png', data=head + png)
    np.testing.assert_allclose(decoding.decode_compressed_depth(m)[1:], raw[1:] * 1e-3, rtol=1e-6)
    a, b = 1000.0, 5.0
    m = SimpleNamespace(format='32FC1; compressedDepth', data=struct.pack('<iff', 0, a, b) + png)
    got = decoding.decode_compressed_depth(m)
    assert np.isnan(got[0, 0])
    np.testing.assert_allclose(got[1:], a / (raw[1:].astype(float) - b), rtol=1e-5)


@pytest.mark.parametrize(
    ('change', 'text'),
    [
        ({'encoding': 'wrong9'}, "'wrong9' is not supported"),
        ({'encoding': ''}, 'is not supported'),
        ({'step': 3}, 'a row needs 24'),
        ({'step': 0}, 'a row needs 24'),
        ({'width': 0}, 'no pixels'),
        ({'height': 0}, 'no pixels'),
        ({'data': b''}, 'truncated'),
        ({'width': 2**31, 'height': 2**31}, 'limit'),
        ({'height': H + 1}, 'truncated'),
    ],
)
def test_damaged_images_say_what_is_wrong(change, text):
    m = message(RGB, 'rgb8')
    for name, value in change.items():
        setattr(m, name, value)
    with pytest.raises(InputError, match=text):
        decode(m)


def test_one_missing_byte_is_noticed_but_missing_padding_is_not_needed():
    whole = message(RGB, 'rgb8', pad=5, cut=5)
    np.testing.assert_array_equal(decode(whole), RGB)
    with pytest.raises(InputError, match='truncated'):
        decode(message(RGB, 'rgb8', pad=5, cut=6))


@pytest.mark.parametrize(('encoding', 'width'), [('nv12', 7), ('uyvy', 7)])
def test_yuv_of_odd_size_is_refused(encoding, width):
    m = message(np.zeros((H * 3 // 2, 16), np.uint8), encoding, width=width)
    with pytest.raises(InputError, match='even'):
        decode(m)


@pytest.mark.parametrize('kind', ['.jpg', '.png'])
def test_torn_compressed_images_are_refused(kind):
    data = cv2.imencode(kind, RGB.repeat(20, 0).repeat(20, 1))[1].tobytes()
    for cut in (data[: len(data) // 2], data[:4], b'', b'GIF89a' + bytes(40)):
        with pytest.raises(InputError):
            decoding.decode_compressed_image(SimpleNamespace(format='jpeg', data=cut))


def test_a_compressed_image_that_claims_a_huge_size_is_refused_before_decoding():
    png = bytearray(cv2.imencode('.png', RGB)[1].tobytes())
    png[16:24] = struct.pack('>II', 60000, 60000)
    with pytest.raises(InputError, match='60000 x 60000'):
        decoding.decode_compressed_image(SimpleNamespace(format='png', data=bytes(png)))


@pytest.mark.parametrize(
    'text', ['16UC1; compressedDepth png', 'bayer_rggb8; jpeg compressed bayer_rggb8']
)
def test_compressed_formats_that_are_no_picture_are_refused(text):
    with pytest.raises(InputError):
        decoding.decode_compressed_image(SimpleNamespace(format=text, data=b''))


def test_the_result_can_be_written_without_touching_the_message():
    m = message(RGB, 'rgb8')
    before = bytes(m.data)
    decode(m)[:] = 0
    assert bytes(m.data) == before


def test_a_broken_cv_bridge_costs_nothing(monkeypatch):
    class Broken:
        def imgmsg_to_cv2(self, *args):
            raise TypeError('buffer is too small')

    monkeypatch.setattr(decoding, '_cv_bridge', lambda: Broken())
    np.testing.assert_array_equal(decoding.decode_image(message(RGB, 'rgb8')), RGB)


@pytest.mark.parametrize('pad', [0, 7])
@pytest.mark.parametrize('encoding', sorted(decoding._CV_BRIDGE))
def test_cv_bridge_and_the_own_decoder_give_the_same_pixels(encoding, pad):
    pytest.importorskip('cv_bridge')
    image_class = pytest.importorskip('sensor_msgs.msg').Image
    channels = {'mono8': 1, 'rgba8': 4, 'bgra8': 4}.get(encoding, 3)
    pixels = np.random.default_rng(5).integers(0, 256, (H, W, channels), dtype=np.uint8)
    stored = message(pixels, encoding, pad=pad)
    real = image_class(
        height=H, width=W, encoding=encoding, step=stored.step, data=list(stored.data)
    )
    bridged = decoding._with_cv_bridge(real)
    if bridged is None:
        pytest.skip('this cv_bridge does not work')
    np.testing.assert_array_equal(bridged, decode(stored))
