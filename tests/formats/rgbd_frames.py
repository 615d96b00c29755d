# SPDX-License-Identifier: Apache-2.0
"""Folders of a few small RGB-D frames in the two layouts, with known depth and poses."""

import cv2
import numpy as np

from geoloc_core.geometry import se3

H, W = 48, 64


def pose_at(number):
    """(4, 4) camera -> world: along x, turning about its optical axis."""
    return se3.from_xyz_rpy(0.1 * number, 0.5, 1.2, -1.8, 0.0, 0.05 * number)


def picture(number):
    """(H, W, 3) BGR noise."""
    return np.random.default_rng(number).integers(0, 255, (H, W, 3), dtype=np.uint8)


def depth_mm(number):
    """(H, W) mm: a wall, a nearer box in it, one row of each way to say nothing."""
    depth = np.full((H, W), 3000 + number, np.uint16)
    depth[20:30, 24:40] = 1000
    depth[0], depth[1] = 0, 65535
    return depth


def write_seven_scenes(folder, numbers=range(4), suffix='png', depth=True, poses=True):
    folder.mkdir(parents=True)
    for number in numbers:
        stem = str(folder / f'frame-{number:06d}')
        cv2.imwrite(f'{stem}.color.{suffix}', picture(number))
        if depth:
            cv2.imwrite(f'{stem}.depth.png', depth_mm(number))
        if poses:
            rows = ['\t'.join(f'{v:.7e}' for v in row) for row in pose_at(number)]
            (folder / f'frame-{number:06d}.pose.txt').write_text('\t\r\n'.join(rows) + '\r\n')
    return folder


def write_tum(folder, count=4, delay_s=0.004, first_s=1_300_000_000):
    """Depth `delay_s` after colour; 5000 counts a metre."""
    lists = {'rgb': ['# time file'], 'depth': [], 'groundtruth': []}
    for number in range(count):
        seconds = first_s + number / 10
        for part, delay in (('rgb', 0.0), ('depth', delay_s)):
            (folder / part).mkdir(parents=True, exist_ok=True)
            name = f'{part}/{seconds + delay:.6f}.png'
            pixels = picture(number) if part == 'rgb' else depth_mm(number)
            if part == 'depth':
                pixels = np.where(pixels == 65535, 0, pixels.astype(np.int64) * 5)
                pixels = pixels.astype(np.uint16)
            cv2.imwrite(str(folder / name), pixels)
            lists[part].append(f'{seconds + delay:.6f} {name}')
        T = pose_at(number)
        values = [*T[:3, 3], *se3.quaternion_xyzw(T[:3, :3])]
        lists['groundtruth'].append(' '.join(f'{v:.7f}' for v in (seconds, *values)))
    for name, lines in lists.items():
        (folder / f'{name}.txt').write_text('\n'.join(lines) + '\n')
    return folder
