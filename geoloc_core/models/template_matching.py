# SPDX-License-Identifier: Apache-2.0
"""Normalised cross-correlation of a weighted template with a map of features.

Reference: Shi et al., G2SWeakly, ECCV 2024, section 3.2. With map F, template G and confidence
C the score of a placement is <F, C^2 G> / (|C F| |C G|), sums over channels and the template's
cells.

Convention: a map of scores has (H - h + 1, W - w + 1) cells, one for each whole placement. Its
middle is the patch's middle whatever the parities are, as long as the template's middle is the
robot: cell k stands for the offset (k - (n - 1) / 2) cells.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from geoloc_core.models.rotation_correlation import cheaper, correlate_by_tables

# Features have unit root mean square (`unit_rms`), so energies are of the order of the number of
# values under the template; this is far below one cell of it.
_LEAST_ENERGY = 1e-3
# log of the least probability kept by pooling; float32 ends near -87.
_LEAST_LOG = -80.0


def unit_rms(features: Tensor) -> Tensor:
    """(B, C, H, W) scaled, each sample as a whole, to a root mean square of 1, in float32.

    The published code scales to a Euclidean norm of 1, which is the same direction, but so small
    that sums of products vanish in half precision.
    """
    features = features.float()
    return features * torch.rsqrt(features.square().mean(dim=(1, 2, 3), keepdim=True) + 1e-12)


def _exporting() -> bool:
    return bool(torch.onnx.is_in_onnx_export() or torch.compiler.is_compiling())


def _weighed(template: Tensor, confidence: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """C^2 G, C^2 and |C G| of (N, C, h, w) templates."""
    square = confidence.float().square()
    template = template.float()
    kernel = template * square
    norm = (kernel * template).sum(dim=(1, 2, 3)).clamp_min(_LEAST_ENERGY).sqrt()
    return kernel, square, norm


def correlate(patch: Tensor, template: Tensor, confidence: Tensor) -> Tensor:
    """Scores of each template on its own map.

    Args:
        patch: (B, C, H, W) features.
        template: (B, C, h, w) features, not larger.
        confidence: (B, 1, h, w), not negative, 0 where the template is unknown.

    Returns:
        (B, H - h + 1, W - w + 1) float32 in [-1, 1].
    """
    with torch.autocast(patch.device.type, enabled=False):
        patch = patch.float()
        kernel, square, norm = _weighed(template, confidence)
        energy = patch.square().sum(dim=1, keepdim=True)
        if _exporting():
            shared = _grouped(patch, kernel)
            window = _grouped(energy, square)
        else:
            size = patch.shape[-2:]
            spectrum, other = torch.fft.rfft2(patch), torch.fft.rfft2(kernel, s=size)
            shared = _placed(spectrum.mul(other.conj()).sum(dim=1), size, kernel)
            spectrum, other = torch.fft.rfft2(energy), torch.fft.rfft2(square, s=size)
            window = _placed(spectrum.mul(other.conj()).sum(dim=1), size, kernel)
        return shared / (window.clamp_min(_LEAST_ENERGY).sqrt() * norm[:, None, None])


def correlate_all(patch: Tensor, template: Tensor, confidence: Tensor) -> Tensor:
    """Scores of every template on every map, as batch-wise losses need them.

    Args:
        patch: (M, C, H, W) features.
        template: (N, C, h, w) features, not larger.
        confidence: (N, 1, h, w), not negative.

    Returns:
        (M, N, H - h + 1, W - w + 1) float32 in [-1, 1]; [i, i] is what `correlate` gives.
    """
    with torch.autocast(patch.device.type, enabled=False):
        patch = patch.float()
        kernel, square, norm = _weighed(template, confidence)
        energy = patch.square().sum(dim=1, keepdim=True)
        size = patch.shape[-2:]
        spectrum, other = torch.fft.rfft2(patch), torch.fft.rfft2(kernel, s=size)
        shared = _placed(torch.einsum('mcyx,ncyx->mnyx', spectrum, other.conj()), size, kernel)
        spectrum, other = torch.fft.rfft2(energy), torch.fft.rfft2(square, s=size)
        window = _placed(torch.einsum('mcyx,ncyx->mnyx', spectrum, other.conj()), size, kernel)
        return shared / (window.clamp_min(_LEAST_ENERGY).sqrt() * norm[None, :, None, None])


def _grouped(patch: Tensor, kernel: Tensor) -> Tensor:
    """(B, H', W') plain correlation of each kernel with its own map, for graphs."""
    batch, channels, height, width = patch.shape
    size = (height - kernel.shape[-2] + 1, width - kernel.shape[-1] + 1)
    # ONNX has no grouping by a batch of unknown size; and a convolution with a large kernel and
    # one answer is one that runtimes are slow at.
    if not isinstance(batch, int) or cheaper((kernel.shape[-2], kernel.shape[-1]), size) == 'dft':
        return correlate_by_tables(kernel[:, None], patch, size)[:, 0]
    joined = patch.reshape(1, batch * channels, height, width)
    return F.conv2d(joined, kernel, groups=batch)[0]


def _placed(spectrum: Tensor, size: torch.Size, kernel: Tensor) -> Tensor:
    """Whole placements of a correlation from its spectrum; those that wrap are left out."""
    rows, columns = size[0] - kernel.shape[-2] + 1, size[1] - kernel.shape[-1] + 1
    return torch.fft.irfft2(spectrum, s=tuple(size))[..., :rows, :columns]


# ---- cells and metres ----


def cell_of(xy: Tensor, size: tuple[int, int], cell_m: float) -> tuple[Tensor, Tensor]:
    """Fractional (row, column) of places (..., 2), m, in a map of `size` (rows, columns)."""
    column = xy[..., 0] / cell_m + (size[1] - 1) / 2
    row = (size[0] - 1) / 2 - xy[..., 1] / cell_m
    return row, column


def best_xy(scores: Tensor, cell_m: float, refine: bool = False) -> Tensor:
    """(B, 2) place of the highest cell, m, patch's frame.

    Args:
        scores: (B, h, w).
        cell_m: Side of a cell, m.
        refine: Move to the peak of a parabola through the cell and its neighbours along each
            axis; the published method does not.
    """
    rows, columns = scores.shape[-2:]
    index = scores.flatten(1).argmax(dim=1)
    row, column = torch.div(index, columns, rounding_mode='floor'), index % columns
    v, u = row.to(scores), column.to(scores)
    if refine:
        v = v + _bend(scores, row, column, (1, 0))
        u = u + _bend(scores, row, column, (0, 1))
    return torch.stack([(u - (columns - 1) / 2) * cell_m, ((rows - 1) / 2 - v) * cell_m], dim=1)


def _bend(scores: Tensor, row: Tensor, column: Tensor, step: tuple[int, int]) -> Tensor:
    """(B,) offset of a parabola's peak from its middle sample, cells; 0 at the border."""
    rows, columns = scores.shape[-2:]
    sample = torch.arange(scores.shape[0], device=scores.device)

    def at(sign: int) -> Tensor:
        r = (row + sign * step[0]).clamp(0, rows - 1)
        c = (column + sign * step[1]).clamp(0, columns - 1)
        return scores[sample, r, c]

    before, here, after = at(-1), at(0), at(1)
    position = row * step[0] + column * step[1]
    last = (rows - 1) * step[0] + (columns - 1) * step[1]
    curve = before - 2 * here + after
    good = (position > 0) & (position < last) & (curve < -1e-9)
    curve = torch.where(good, curve, -torch.ones_like(curve))
    return torch.where(good, 0.5 * (before - after) / curve, torch.zeros_like(curve))


def pooled_log_probability(logits: Tensor, most: int) -> tuple[Tensor, int]:
    """Log-probabilities on coarser cells, centred as before and with the same mass.

    Args:
        logits: (B, h, w).
        most: Cells that a side may have.

    Returns:
        (B, h', w') log-probabilities, and how many old cells make the side of a new one; as they
        came, with 1, if they are few enough. An old cell that lies on a border of new ones is
        shared out between them.
    """
    factor = max(math.ceil(side / most) for side in logits.shape[-2:])
    if factor == 1:
        return logits, 1
    height, width = logits.shape[-2:]
    p = logits.flatten(1).softmax(dim=1).view(-1, 1, height, width)
    p = _summed(_summed(p, factor).transpose(-1, -2), factor).transpose(-1, -2)
    return p[:, 0].clamp_min(math.exp(_LEAST_LOG)).log(), factor


def _summed(p: Tensor, factor: int) -> Tensor:
    """(B, 1, h, w) sums of `factor` columns, laid about the middle."""
    width = p.shape[-1]
    if factor % 2 == 0 and width % 2:
        # The middle of the new cells is a border: halves of neighbours make columns that fit.
        p = F.avg_pool2d(F.pad(p, (1, 1)), (1, 2), stride=1)
        width += 1
    cells = math.ceil(width / factor)
    if (cells * factor - width) % 2:
        cells += 1
    rest = cells * factor - width
    return F.avg_pool2d(F.pad(p, (rest // 2, rest // 2)), (1, factor)) * factor
