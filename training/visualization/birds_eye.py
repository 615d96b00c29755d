# SPDX-License-Identifier: Apache-2.0
"""Bird's-eye views: the ground of the picture on the map, and what a network makes of it."""

import numpy as np
from numpy.typing import NDArray
import torch

from geoloc_core.models.base import CrossViewModel, normalise
from geoloc_core.visualization.ink import heat_colours
from training.visualization.canvas import fitted, row, titled
from training.visualization.heat_maps import on_the_ground, SIDE
from training.visualization.looking import Look, picture_of

Image = NDArray[np.uint8]


def birds_eye_picture(model: CrossViewModel, look: Look, side: int = SIDE) -> Image:
    """The view's ground on the map at truth and answer, and the network's own bird's-eye views."""
    parts = [on_the_ground(look, side)]
    own = own_birds_eye(model, look)
    if own is not None:
        parts.append(titled(fitted(own, side), "the network's bird's-eye view"))
    for name in ('bev', 'bev_confidence'):
        if name in look.outputs and look.outputs[name].dim() == 4:
            values = look.outputs[name][0].detach().float().cpu().numpy()
            parts.append(titled(fitted(feature_colours(values), side), f'{name}, as features'))
    return row(parts)


def own_birds_eye(model: CrossViewModel, look: Look) -> Image | None:
    """The picture (h, w, 3) of the ground that a network makes itself, or is fed; None if none."""
    if model.inputs.view_kind != 'camera':
        # On several planes: the highest at the top.
        planes = look.batch['view'].split(3, dim=1)
        return np.concatenate([picture_of(plane) for plane in reversed(planes)])
    make = getattr(model, 'bird_eye', None)
    if make is None:
        return None
    spec = model.inputs.view
    with torch.no_grad():
        made = make(normalise(look.batch['view'], look.batch['view_mask'], spec))[:, :3]
    mean, std = (
        torch.tensor(v, device=made.device).view(1, 3, 1, 1) for v in (spec.mean, spec.std)
    )
    pixels = ((made.float() * std + mean) * 255).clamp(0, 255).round().to(torch.uint8)
    return picture_of(pixels)


def feature_colours(features: NDArray) -> Image:
    """(h, w, 3) colours of features (C, h, w): their three main components as red, green, blue.

    One channel is shown on the scale of heat maps. Cells whose features are all 0 stay black.
    """
    channels, height, width = features.shape
    flat = features.reshape(channels, -1).T.astype(np.float64)
    known = np.abs(flat).max(axis=1) > 0
    image = np.zeros((height * width, 3), np.uint8)
    if not known.any():
        return image.reshape(height, width, 3)
    if channels < 3:
        low, high = flat[known, 0].min(), flat[known, 0].max()
        level = (flat[known, 0] - low) / max(high - low, 1e-12)
        image[known] = heat_colours(level.astype(np.float32))
        return image.reshape(height, width, 3)
    centred = flat[known] - flat[known].mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    if len(axes) < 3:
        return image.reshape(height, width, 3)
    # The sign of a component is arbitrary: the same one each time makes pictures comparable.
    axes = axes[:3] * np.where(axes[:3].sum(axis=1) < 0, -1.0, 1.0)[:, None]
    parts = centred @ axes.T
    low, high = np.percentile(parts, (2, 98), axis=0)
    level = np.clip((parts - low) / np.maximum(high - low, 1e-12), 0, 1)
    image[known] = np.round(40 + 215 * level).astype(np.uint8)
    return image.reshape(height, width, 3)
