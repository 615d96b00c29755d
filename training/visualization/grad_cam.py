# SPDX-License-Identifier: Apache-2.0
"""Grad-CAM (Selvaraju et al., ICCV 2017, eq. 1 and 2): what of the pictures an answer rests on."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn, Tensor

from geoloc_core.models.base import CrossViewModel, normalise
from geoloc_core.models.belief import negative_log_likelihood
from training.datasets.sample import Sample
from training.visualization.canvas import ANSWER, Canvas, fitted, hot, row, titled, TRUTH
from training.visualization.heat_maps import SIDE
from training.visualization.looking import Look, look, prepared

Image = NDArray[np.uint8]
Maps = dict[str, Tensor]


def grad_cam(model: CrossViewModel, sample: Sample) -> tuple[Look, dict[str, NDArray]]:
    """Where the log density at the network's own answer comes from.

    Channels of the deepest features are weighed by the mean of the gradient over their cells, and
    summed; what speaks against the answer is cut off.

    Args:
        model: In evaluation mode.
        sample: Any sample that suits it.

    Returns:
        The look, and 'view' and 'patch' -> (h, w) maps >= 0; of the view the map may lie on its
        bird's-eye view where the network makes one first. A picture whose features have no
        gradient (a frozen backbone) has no map.
    """
    with torch.enable_grad(), _features(model, sample) as maps:
        seen = look(model, sample, gradient=True)
        answer = torch.as_tensor(seen.pose, dtype=torch.float32)[None]
        density = -negative_log_likelihood(seen.belief, answer.to(seen.belief.logits)).sum()
        usable = {k: v for k, v in maps.items() if v.requires_grad}
        gradients: tuple[Tensor | None, ...] = ()
        if usable and density.requires_grad:
            gradients = torch.autograd.grad(density, list(usable.values()), allow_unused=True)
    found = {}
    for (name, features), gradient in zip(usable.items(), gradients, strict=False):
        if gradient is not None:
            weight = gradient.mean(dim=(2, 3), keepdim=True)
            found[name] = (weight * features).sum(dim=1)[0].relu().detach().float().cpu().numpy()
    return seen, found


@contextmanager
def _features(model: CrossViewModel, sample: Sample) -> Iterator[Maps]:
    """Fills a dictionary with the deepest features of view and patch during a forward pass.

    Whatever module takes a picture alone and has weights is an encoder; the outermost one counts.
    """
    maps: Maps = {}
    spec = model.inputs.patch
    batch, _ = prepared(model, sample)
    fed = normalise(batch['patch'], batch['patch_mask'], spec)
    channels = max(spec.channels, model.inputs.view.channels)

    def after(module: nn.Module, args: tuple[Any, ...], out: Any) -> None:
        alone = len(args) == 1 and isinstance(args[0], Tensor) and args[0].dim() == 4
        if not alone or args[0].shape[1] > channels:
            return
        deepest = _deepest(out, args[0])
        if deepest is not None:
            is_patch = args[0].shape == fed.shape and torch.equal(args[0], fed)
            maps['patch' if is_patch else 'view'] = deepest

    handles = [
        module.register_forward_hook(after)
        for module in model.modules()
        if module is not model and next(module.parameters(), None) is not None
    ]
    try:
        yield maps
    finally:
        for handle in handles:
            handle.remove()


def _deepest(out: Any, picture: Tensor) -> Tensor | None:
    """The map with the most channels of what an encoder gives; None if it gives none."""
    items = list(out.values()) if isinstance(out, dict) else out
    items = items if isinstance(items, (list, tuple)) else [items]
    flat = [t for item in items for t in (item if isinstance(item, (list, tuple)) else [item])]
    found = [
        t for t in flat if isinstance(t, Tensor) and t.dim() == 4 and t.shape[1] > picture.shape[1]
    ]
    return max(found, key=lambda t: t.shape[1], default=None)


def grad_cam_picture(
    look: Look, maps: dict[str, NDArray], side: int = SIDE, birds_eye: Image | None = None
) -> Image:
    """View and patch with what the answer rests on; a picture without a map is left plain.

    Args:
        look: The sample.
        maps: From `grad_cam`.
        side: Of the patch's picture, px.
        birds_eye: The network's own bird's-eye view, if its features are those of one.
    """
    canvas = Canvas.of(look.patch, look.patch_gsd, side)
    if 'patch' in maps:
        canvas.image[:] = hot(canvas.image, maps['patch'])
    canvas.pose(look.truth[:2], look.heading(look.truth), TRUTH)
    canvas.pose(look.pose[:2], look.heading(look.pose), ANSWER)
    parts = [titled(canvas.image, 'Grad-CAM, patch')]
    view = fitted(look.view, side, 2 * side)
    if 'view' in maps and _alike(maps['view'], look.view):
        parts.insert(0, titled(hot(view, maps['view']), 'Grad-CAM, view'))
    elif 'view' in maps:
        square = np.zeros((side, round(side * _aspect(maps['view'])), 3), np.uint8)
        if birds_eye is not None:
            square = fitted(birds_eye, side)
        parts.insert(0, titled(hot(square, maps['view']), "Grad-CAM, bird's-eye view"))
        parts.insert(0, titled(view, 'view'))
    return row(parts)


def _aspect(picture: NDArray) -> float:
    return picture.shape[1] / picture.shape[0]


def _alike(values: NDArray, picture: NDArray) -> bool:
    """Whether a map lies on a picture rather than on something of another shape."""
    return 0.75 < _aspect(values) / _aspect(picture) < 1.34
