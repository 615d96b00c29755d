# SPDX-License-Identifier: Apache-2.0
"""One ground picture against all tiles that show its place (VIGOR's semi-positives)."""

import numpy as np
from numpy.typing import NDArray
import torch

from geoloc_core.models.base import CrossViewModel
from geoloc_core.visualization.ink import BACKGROUND
from training.datasets.sample import Sample
from training.objectives.base import run_model
from training.visualization.canvas import ANSWER, Canvas, fitted, row, titled, TRUTH
from training.visualization.heat_maps import SIDE
from training.visualization.looking import answer_of, look, picture_of

Image = NDArray[np.uint8]


def semi_positive_picture(model: CrossViewModel, sample: Sample, side: int = SIDE) -> Image | None:
    """The view, and the belief on each tile, cut around its own middle; None without such tiles.

    Args:
        model: In evaluation mode.
        sample: Of a reader that was opened with semi_positives=True.
        side: Of each tile, px.
    """
    if not sample.other_patches:
        return None
    seen = look(model, sample, others=True)
    tiles = [('positive', seen.batch['patch'], seen.belief, seen.truth)]
    for k in range(len(sample.other_patches)):
        patch = seen.batch['others'][:, k]
        with torch.no_grad():
            belief = model.belief(run_model(model, seen.batch, patch=patch))
        truth = seen.batch['others_truth'][0, k].double().cpu().numpy()
        tiles.append((f'semi-positive {k + 1}', patch, belief, truth))
    parts = []
    for name, patch, belief, truth in tiles:
        pose, cov = answer_of(belief)
        canvas = Canvas.of(picture_of(patch), seen.patch_gsd, side)
        canvas.heat(belief.log_prob()[0].exp().sum(dim=0).cpu().numpy(), belief.cell_m)
        canvas.ellipse(pose[:2], cov[:2, :2], ANSWER)
        canvas.pose(truth[:2], seen.heading(truth), TRUTH)
        canvas.pose(pose[:2], seen.heading(pose), ANSWER)
        canvas.scale_bar()
        error = float(np.linalg.norm(pose[:2] - truth[:2]))
        parts.append(titled(canvas.image, f'{name}: {error:.2f} m off'))
    view = fitted(sample.view.image, side, 4 * side)
    return np.concatenate([_padded(view, row(parts).shape[1]), row(parts)])


def _padded(image: Image, width: int) -> Image:
    if image.shape[1] > width:
        return fitted(image, image.shape[0], width)
    out = np.full((image.shape[0], width, 3), BACKGROUND, np.uint8)
    out[:, : image.shape[1]] = image
    return out
