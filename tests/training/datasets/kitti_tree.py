# SPDX-License-Identifier: Apache-2.0
"""A small KITTI cross-view tree, and the satellite crop that its publisher makes of a tile."""

import cv2
import numpy as np

from training.datasets.kitti_crossview import PROTOCOL_GSD

DRIVE = '2011_09_26/2011_09_26_drive_0013_sync'
TILE = 1280
CALIB = """calib_time: 09-Jan-2012 13:57:47
S_rect_02: 1.242000e+03 3.750000e+02
R_rect_00: 1 0 0 0 1 0 0 0 1
P_rect_02: 721.5377 0 609.5593 44.85728 0 721.5377 172.854 0.2163791 0 0 1 0.002745884
"""


def packet(lat=49.0131, lon=8.4370, alt=116.0, roll=0.0, pitch=0.0, yaw=0.7):
    return [lat, lon, alt, roll, pitch, yaw] + [0.0] * 24


def write_list(path, lines, newline_at_end=True):
    path.write_text('\n'.join(lines) + ('\n' if newline_at_end else ''))


def make_tree(root, yaws, size=(124, 37), tile=None):
    """Frames 0.. of one drive, a packet each; returns the root."""
    raw = root / 'raw_data' / DRIVE
    (raw / 'image_02' / 'data').mkdir(parents=True)
    (raw / 'oxts' / 'data').mkdir(parents=True)
    (root / 'satmap' / DRIVE).mkdir(parents=True)
    (root / 'raw_data' / DRIVE[:10] / 'calib_cam_to_cam.txt').write_text(CALIB)
    rng = np.random.default_rng(0)
    for frame, yaw in enumerate(yaws):
        name = f'{frame:010d}'
        image = rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
        cv2.imwrite(str(raw / 'image_02' / 'data' / f'{name}.png'), image)
        picture = smooth_tile(frame) if tile is None else tile
        cv2.imwrite(str(root / 'satmap' / DRIVE / f'{name}.png'), picture[..., ::-1])
        numbers = ' '.join(repr(float(v)) for v in packet(yaw=yaw))
        (raw / 'oxts' / 'data' / f'{name}.txt').write_text(numbers + '\n')
    return root


def smooth_tile(seed, side=TILE):
    """Blobs of all colours without any symmetry, smooth enough to be interpolated."""
    coarse = np.random.default_rng(seed).integers(0, 255, (side // 20, side // 20, 3))
    return cv2.resize(coarse.astype(np.uint8), (side, side), interpolation=cv2.INTER_CUBIC)


def publisher_crop_matrix(yaw, noise, shift_m, rotation_deg, tile_px=TILE, crop_px=512):
    """(2, 3) that takes places of the tile to the publisher's test crop.

    Written from the published description, in coordinates whose integers are pixel edges: turn
    the content by -yaw (positive is counter-clockwise, as in PIL); move it by the lever of the
    camera, 1.08 m left and 0.26 m up; negate the list's shifts and move it by (-x, +y); turn it
    by theta times the range; cut the middle out.
    """
    shift_x, shift_y, theta = -noise[0], -noise[1], noise[2]
    middle = tile_px / 2

    def turn(angle):
        c, s = np.cos(angle), np.sin(angle)
        R = np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
        return move(middle, middle) @ R @ move(-middle, -middle)

    def move(du, dv):
        return np.array([[1.0, 0.0, du], [0.0, 1.0, dv], [0.0, 0.0, 1.0]])

    chain = turn(-yaw)
    chain = move(-1.08 / PROTOCOL_GSD, -0.26 / PROTOCOL_GSD) @ chain
    chain = move(-shift_x * shift_m / PROTOCOL_GSD, shift_y * shift_m / PROTOCOL_GSD) @ chain
    chain = turn(np.radians(theta * rotation_deg)) @ chain
    return (move(crop_px / 2 - middle, crop_px / 2 - middle) @ chain)[:2]


def publisher_truth_px(noise, shift_m, rotation_deg, crop_px=512):
    """(u, v) where the publisher's formula puts the camera in that crop, pixel edges integer."""
    sx, sy = -noise[0] * shift_m / PROTOCOL_GSD, -noise[1] * shift_m / PROTOCOL_GSD
    a = np.radians(noise[2] * rotation_deg)
    x = sx * np.cos(a) - sy * np.sin(a)
    y = -sy * np.cos(a) - sx * np.sin(a)
    return crop_px / 2 - x, crop_px / 2 - y


def warp_edges(image, matrix, side):
    """The image under a map (2, 3) given in pixel-edge coordinates."""
    A = matrix.copy()
    A[:, 2] += A[:, :2] @ [0.5, 0.5] - 0.5
    return cv2.warpAffine(image, A, (side, side), flags=cv2.INTER_LINEAR)
