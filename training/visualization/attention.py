# SPDX-License-Identifier: Apache-2.0
"""Cross-attention between view and patch, where a network keeps it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoloc_core.models.base import CrossViewModel
from training.visualization.canvas import ANSWER, Canvas, fitted, hot, row, titled, TRUTH
from training.visualization.heat_maps import SIDE
from training.visualization.looking import Look

Image = NDArray[np.uint8]

_OF_VIEW, _OF_PATCH = 'attention_view', 'attention_patch'


def has_attention(model: CrossViewModel) -> bool:
    """Whether a network can show its attention."""
    return hasattr(model, 'keep_attention') and hasattr(model.settings, 'anchors')


@contextmanager
def kept_attention(model: CrossViewModel) -> Iterator[None]:
    """While this is open, the network gives its attention with its tensors."""
    switch: Any = model
    before = switch.keep_attention
    switch.keep_attention = True
    try:
        yield
    finally:
        switch.keep_attention = before


def attention_maps(
    weights: NDArray, anchors: tuple[int, int], asking: int | None = None
) -> NDArray[np.float32]:
    """How much each anchor of the other picture is looked at.

    Args:
        weights: (layers, heads, A, A) attention of asking anchors to those of the other picture.
        anchors: (rows, columns), A in all.
        asking: One asking anchor; None for the mean over all of them.

    Returns:
        (layers, rows, columns), heads averaged; each layer sums to one.
    """
    averaged = weights.mean(axis=1)
    chosen = averaged.mean(axis=1) if asking is None else averaged[:, asking]
    return chosen.reshape(-1, *anchors).astype(np.float32)


def anchor_at(uv: NDArray, size: tuple[int, int], anchors: tuple[int, int]) -> int:
    """Number of the anchor that a pixel lies in.

    Args:
        uv: (2,) pixel.
        size: (width, height) px of the picture.
        anchors: (rows, columns).
    """
    column = int(np.clip((uv[0] + 0.5) / size[0] * anchors[1], 0, anchors[1] - 1))
    line = int(np.clip((uv[1] + 0.5) / size[1] * anchors[0], 0, anchors[0] - 1))
    return line * anchors[1] + column


def attention_picture(look: Look, anchors: tuple[int, int], side: int = SIDE) -> Image:
    """Attention of the last layer, both ways: over all, and as asked from the true place.

    Args:
        look: With 'attention_view' and 'attention_patch' among its outputs.
        anchors: (rows, columns) of tokens of either picture.
        side: Of the patch's pictures, px.
    """
    of_view = look.outputs[_OF_VIEW][0].detach().float().cpu().numpy()
    of_patch = look.outputs[_OF_PATCH][0].detach().float().cpu().numpy()
    size = (look.patch.shape[1], look.patch.shape[0])
    here = anchor_at(Canvas(look.patch, look.patch_gsd).pixels(look.truth[:2]), size, anchors)
    on_patch = attention_maps(of_view, anchors)[-1]
    canvas = Canvas.of(look.patch, look.patch_gsd, side)
    canvas.image[:] = hot(canvas.image, on_patch)
    canvas.pose(look.truth[:2], look.heading(look.truth), TRUTH)
    canvas.pose(look.pose[:2], look.heading(look.pose), ANSWER)
    view = fitted(look.view, side // 2, 2 * side)
    seen = [
        titled(hot(view, attention_maps(of_patch, anchors)[-1]), 'where the patch looks'),
        titled(
            hot(view, attention_maps(of_patch, anchors, here)[-1]), 'where the true place looks'
        ),
    ]
    return row([titled(canvas.image, 'where the view looks'), np.concatenate(seen)])
