# SPDX-License-Identifier: Apache-2.0
"""The colour camera of a posed RGB-D sequence, from the sequence itself.

Colour of 7-Scenes was never calibrated by its publisher. Features of one frame, carried into
another one by its depth and the two given poses, must be seen where they were matched: the focal
lengths, the principal point and two coefficients of distortion are those for which they are. How
colour stands to depth stays as it was taken to be; a turn of one is nearly a shift of the other.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import PinholeCamera
from geoloc_core.sources.rgbd.matching import mutual_matches

# Frames matched with each other, in steps of the sequence; every third frame starts such pairs.
STEPS = (2, 5, 9, 14, 40)
EVERY = 3
FEATURES = 1000
RATIO = 0.8
PAIR_MATCHES = 120
MIN_MATCHES = 20
GATE_PX = 25.0
FAR_M = 3.5
# Steps of fx px, fy / fx, cx px, cy px, k1, k2 that matter alike.
UNITS = np.array([1.0, 1e-3, 1.0, 1.0, 0.01, 0.01])


@dataclass(frozen=True)
class Pairs:
    """Pixels (N, 2) matched between frames (N,), and the depth (N,) m of those in the first."""

    here: np.ndarray
    there: np.ndarray
    depth: np.ndarray
    first: np.ndarray
    second: np.ndarray


def find_pairs(local, depths, poses, camera, seed=0) -> Pairs:
    """Matches of frames with frames a few steps on.

    Args:
        local: LocalFeatures of each frame.
        depths: (N,) m of the features of each.
        poses: (F, 4, 4) T_world_colour.
        camera: Taken for granted until now; only gross mismatches are judged by it.
        seed: Of the choice among too many matches.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(0, len(local), EVERY):
        for step in STEPS:
            j = i + step
            if j >= len(local):
                continue
            a, b = mutual_matches(
                local[i].descriptors[:FEATURES], local[j].descriptors[:FEATURES], RATIO
            )
            usable = np.isfinite(depths[i][a]) & (depths[i][a] < FAR_M)
            a, b = a[usable], b[usable]
            rays = camera.unproject(local[i].xy[a])
            points = rays / rays[:, 2:] * depths[i][a][:, None]
            uv, _ = camera.project(se3.transform(se3.inverse(poses[j]) @ poses[i], points))
            near = np.linalg.norm(uv - local[j].xy[b], axis=1) < GATE_PX
            a, b = a[near], b[near]
            if len(a) < MIN_MATCHES:
                continue
            if len(a) > PAIR_MATCHES:
                some = rng.choice(len(a), PAIR_MATCHES, replace=False)
                a, b = a[some], b[some]
            rows.append((local[i].xy[a], local[j].xy[b], depths[i][a], i, j))
    count = [len(row[0]) for row in rows]
    return Pairs(
        np.concatenate([row[0] for row in rows]).astype(float),
        np.concatenate([row[1] for row in rows]).astype(float),
        np.concatenate([row[2] for row in rows]),
        np.repeat([row[3] for row in rows], count),
        np.repeat([row[4] for row in rows], count),
    )


def fit(pairs: Pairs, poses: np.ndarray, start: PinholeCamera) -> tuple[PinholeCamera, dict]:
    """The camera with the smallest robust reprojection errors, and how small they are."""
    k1, k2 = (*start.distortion, 0.0, 0.0)[:2]
    base = np.array([start.fx, start.fy / start.fx, start.cx, start.cy, k1, k2])
    move = np.stack([se3.inverse(T) for T in poses])[pairs.second] @ poses[pairs.first]

    def camera(step):
        fx, ratio, cx, cy, k1, k2 = base + step * UNITS
        lens = (k1, k2, 0.0, 0.0)
        return PinholeCamera(start.width, start.height, fx, fx * ratio, cx, cy, lens)

    def errors(step):
        model = camera(step)
        rays = model.unproject(pairs.here)
        points = rays / rays[:, 2:] * pairs.depth[:, None]
        moved = np.einsum('nij,nj->ni', move[:, :3, :3], points) + move[:, :3, 3]
        uv, _ = model.project(moved)
        return np.nan_to_num(uv - pairs.there, nan=100.0).ravel()

    found = least_squares(errors, np.zeros(6), loss='cauchy', f_scale=2.0, max_nfev=15)
    figures = {'matches': len(pairs.here)}
    for name, step in (('before', np.zeros(6)), ('after', found.x)):
        pixels = np.linalg.norm(errors(step).reshape(-1, 2), axis=1)
        figures[f'reprojection_median_px_{name}'] = float(np.median(pixels))
    return camera(found.x), figures
