# SPDX-License-Identifier: Apache-2.0
"""Where a network believes to be, on the aerial picture, with truth and answer."""

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.geometry import se3
from geoloc_core.geometry.grid import Grid
from geoloc_core.lever_arm import moved
from geoloc_core.preprocess import cut_patch, NORTH, PatchFrame
from geoloc_core.visualization.ink import BACKGROUND, QUIET
from training.datasets.overlays import view_on_ground
from training.visualization.canvas import ANSWER, Canvas, fitted, PRIOR, row, titled, TRUTH
from training.visualization.looking import Look

Image = NDArray[np.uint8]

SIDE = 320
LEGEND = 'green: truth; blue: the answer with its 95 % ellipse; amber cross: the prior'


def matched(look: Look, side: int = SIDE) -> Image:
    """Everything about one sample in a row: view, patch, heat map, mask if any, yaw, ground.

    Args:
        look: The sample.
        side: Of each picture of the ground, px.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    seen = titled(fitted(look.sample.view.image, side // 2, side), 'view')
    wide = look.view.shape[1] > 1.5 * look.view.shape[0]
    fed = titled(fitted(look.view, side // 2 if wide else side, side), 'as the network is fed it')
    parts = [np.concatenate([seen, fed])] if seen.shape == fed.shape else [seen, fed]
    parts.append(titled(aerial(look, side, heat=False), 'patch'))
    parts.append(titled(aerial(look, side), 'belief, all yaws'))
    if 'patch_classes' in look.batch and bool(look.batch['patch_classes'].any()):
        parts.append(titled(aerial(look, side, mask=True), 'with the semantic mask'))
    parts.append(titled(yaw_dial(look, side), 'belief of yaw'))
    return row(parts)


def aerial(look: Look, side: int = SIDE, *, heat: bool = True, mask: bool = False) -> Image:
    """The patch with truth, answer and prior, with or without heat map and semantic mask."""
    canvas = Canvas.of(look.patch, look.patch_gsd, side)
    if mask:
        canvas.mask(look.batch['patch_classes'][0, 0].cpu().numpy())
    if heat:
        canvas.heat(look.heat, look.belief.cell_m)
    canvas.cross(np.zeros(2), PRIOR)
    canvas.ellipse(look.pose[:2], look.cov[:2, :2], ANSWER)
    canvas.pose(look.truth[:2], look.heading(look.truth), TRUTH)
    canvas.pose(look.pose[:2], look.heading(look.pose), ANSWER)
    canvas.scale_bar()
    return canvas.image


def yaw_dial(look: Look, side: int = SIDE) -> Image:
    """Probability of each yaw as rays of a dial, in the directions of the patch's picture."""
    canvas = Canvas(np.full((side, side, 3), BACKGROUND, np.uint8), 2.0 / side)
    yaws = look.belief.yaws if look.belief.yaws.dim() == 1 else look.belief.yaws[0]
    share = look.belief.log_prob()[0].exp().sum(dim=(1, 2)).detach().cpu().numpy()
    length = 0.15 + 0.7 * np.sqrt(share / max(float(share.max()), 1e-12))
    turn = yaws.cpu().numpy() + look.heading(np.zeros(3))
    rim = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    canvas.line(0.15 * np.stack([np.cos(rim), np.sin(rim)], axis=1), QUIET, closed=True, width=1)
    rays = length[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    if look.belief.closed:
        canvas.line(rays, QUIET, closed=True, width=1)
    else:
        inner = 0.15 * np.stack([np.cos(turn), np.sin(turn)], axis=1)
        canvas.line(np.concatenate([rays, inner[::-1]]), QUIET, closed=True, width=1)
    for pose, colour in ((look.truth, TRUTH), (look.pose, ANSWER)):
        ahead = look.heading(pose)
        canvas.line(np.array([[0.0, 0.0], [0.92 * np.cos(ahead), 0.92 * np.sin(ahead)]]), colour)
    return canvas.image


def on_the_ground(look: Look, side: int = SIDE) -> Image:
    """What the view sees of the ground, laid on the map where truth and answer put it.

    The picture is north-up. Lines that go on across the rim say that a pose is right.
    """
    assert look.sample.patch is not None
    gsd = max(look.patch.shape[:2]) * look.patch_gsd / side
    grid_frame = PatchFrame(look.frame.center_xy, 0.0, NORTH)
    image, _ = cut_patch(look.sample.patch, grid_frame, gsd, (side, side))
    parts = []
    for title, pose, colour in (('truth', look.truth, TRUTH), ('answer', look.pose, ANSWER)):
        x, y, yaw = look.frame.to_map(pose)
        canvas = Canvas(image.copy(), gsd)
        seen, known = _ground(look, (x, y, yaw), gsd, side)
        canvas.image[known] = seen[known]
        rim, _ = cv2.findContours(known.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(canvas.image, rim, -1, colour, 1, cv2.LINE_AA)
        local = np.subtract((x, y), look.frame.center_xy)
        canvas.pose(local, yaw, colour)
        canvas.scale_bar()
        parts.append(titled(canvas.image, f'ground of the view, {title}'))
    return row(parts)


def _ground(
    look: Look, pose: tuple[float, float, float], gsd: float, side: int
) -> tuple[Image, NDArray[np.bool_]]:
    assert look.sample.T_map_base is not None
    x, y, yaw = moved(pose, -look.arm)
    T = se3.from_planar(x, y, yaw, look.sample.T_map_base[2, 3])
    grid = Grid(look.frame.center_xy, gsd, side, side)
    return view_on_ground(replace(look.sample, T_map_base=T), grid)
