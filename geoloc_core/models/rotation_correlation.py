# SPDX-License-Identifier: Apache-2.0
"""Every turn and every shift of a template, scored against a map: rotate and correlate.

The score of a pose (yaw, x, y) compares the template, turned counter-clockwise by yaw and laid
with its middle at (x, y), with the features of the patch beneath it,

    s(yaw, x, y) = sum_t w(t) <T(t), P((x, y) + R(yaw) t)>,

t over the template's cells, w its mask or confidence: the exhaustive matching of OrienterNet
(Sarlin et al., CVPR 2023, Sec. 3.3). Divided by the weight that lies on known map it is a mean
similarity; divided by both norms it is the masked correlation coefficient about zero (Padfield,
IEEE TIP 2012, eq. 8-12).

Three ways give the same numbers: 'fft' for GPUs; 'direct' convolution for small templates; and
'dft', the transforms as products with tables of cosines, for large ones on a CPU. The last two are
for graphs as well: a runtime may know no complex numbers, all know products of matrices.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from geoloc_core.errors import ConfigError

METHODS = ('auto', 'fft', 'direct', 'dft')
NORMALISATIONS = ('none', 'weight', 'cosine')
# Less than this share of a template's weight, or of its energy, on known map decides nothing; it
# also keeps rounding of the transforms from becoming structure where there is none.
_LEAST = 1e-4


def correlate_rotations(
    template: Tensor,
    template_mask: Tensor,
    patch: Tensor,
    yaws: Tensor,
    *,
    patch_mask: Tensor | None = None,
    normalisation: str = 'none',
    size: tuple[int, int] | None = None,
    canvas: int | None = None,
    method: str = 'auto',
) -> Tensor:
    """Scores of a template at each yaw and each cell of a patch. Differentiable; in float32.

    Convention: yaw turns the template counter-clockwise (rows run down) about its middle,
    ((h - 1) / 2, (w - 1) / 2). A cell of the answer is that middle on the middle of a cell of the
    patch: all of its cells, or a block of `size` around its middle. Template and patch have cells
    of one size (m). Beyond the patch lies nothing.

    Args:
        template: (B, C, h, w) features, e.g. a bird's-eye view whose right is the robot's
            forward direction when its yaw is 0.
        template_mask: (B, 1, h, w) weights, at least 0.
        patch: (B, C, H, W) features.
        yaws: (K,) or (B, K) rad.
        patch_mask: (B, 1, H, W) share of known map, 0..1; all known if None.
        normalisation: 'none', the sum; 'weight', divided by the weight on known map; 'cosine',
            the correlation coefficient in [-1, 1].
        size: (H', W') cells of the answer; H - H' and W - W' must be even. None for all.
        canvas: Odd side (cells) of the square in which the template is turned; what turns out of
            it is lost. None for one that holds every corner; the template's own side is enough
            where all weight lies in its inscribed circle, and is quicker.
        method: 'fft' (in a graph, 'dft'), 'direct' (in a graph of any batch, 'dft'), 'dft', or
            'auto': on a CPU and in a graph the cheaper of the last two, else 'fft'.

    Returns:
        (B, K, H', W') float32; normalised scores are 0 where no weight lies on known map.

    Raises:
        ConfigError: An option or a size that cannot be.
    """
    side = canvas or 2 * math.ceil(math.hypot(*template.shape[-2:]) / 2) + 1
    size = size or (patch.shape[-2], patch.shape[-1])
    _check(patch, size, side, normalisation, method)
    exporting = torch.compiler.is_exporting()
    if method == 'auto':
        # On a CPU products of matrices were quicker than transforms, at all sizes tried.
        method = cheaper((side, side), size) if patch.device.type == 'cpu' or exporting else 'fft'
    # A graph has no grouping by a batch of unknown size, and TensorRT knows no transforms;
    # products of matrices take any number of samples.
    if exporting and (method == 'fft' or not isinstance(patch.shape[0], int)):
        method = 'dft'
    most = _yaws_at_once(template, side, size)
    # A graph of any number of yaws must not be asked whether they are many.
    if not exporting and not torch.is_grad_enabled() and yaws.shape[-1] > most:
        parts = [
            correlate_rotations(
                template, template_mask, patch, part, patch_mask=patch_mask,
                normalisation=normalisation, size=size, canvas=side, method=method,
            )
            for part in torch.split(yaws, most, dim=-1)
        ]  # fmt: skip
        return torch.cat(parts, dim=1)
    # Half precision has too few digits for sums over thousands of cells.
    with torch.autocast(patch.device.type, enabled=False):
        known = patch.new_ones(1, 1, *patch.shape[-2:]) if patch_mask is None else patch_mask
        known = known.float()
        weighted, weight = rotated(template.float(), template_mask.float(), yaws, side)
        # Only what may come under a template matters; beyond the patch are zeros.
        window = _window(patch.float() * known, size, side)
        score = _correlate(weighted, window, size, method)
        if normalisation == 'none':
            return score
        known = _window(known, size, side).expand(window.shape[0], -1, -1, -1)
        total = weight.sum(dim=(2, 3, 4))[..., None, None]
        if normalisation == 'weight':
            there = _correlate(weight, known, size, method)
            enough = there > _LEAST * total
            return torch.where(enough, score / there.clamp_min(1e-12), torch.zeros_like(score))
        energy = (weighted**2).sum(dim=2, keepdim=True) / weight.clamp_min(_LEAST)
        squares = (window**2).sum(dim=1, keepdim=True)
        own = _correlate(energy, known, size, method)
        other = _correlate(weight, squares, size, method)
        least_own = _LEAST * energy.sum(dim=(2, 3, 4))[..., None, None]
        least_other = _LEAST * total * squares.mean(dim=(2, 3), keepdim=True)
        # sqrt has no slope at 0, hence the last addend.
        scale = torch.maximum(own, least_own) * torch.maximum(other, least_other)
        return score / torch.sqrt(scale + 1e-20)


def rotated(template: Tensor, weight: Tensor, yaws: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Templates turned counter-clockwise about their middles, bilinearly.

    Args:
        template: (B, C, h, w).
        weight: (B, 1, h, w).
        yaws: (K,) or (B, K) rad.
        side: Of the square to turn in, cells; its middle is the template's.

    Returns:
        (B, K, C, side, side) weight times features, and (B, K, 1, side, side) weight.
    """
    batch, channels, height, width = template.shape
    angles = (yaws if yaws.dim() == 2 else yaws[None]).to(template)
    cos, sin = angles.cos()[..., None, None], angles.sin()[..., None, None]
    steps = torch.arange(side, device=template.device, dtype=template.dtype) - (side - 1) / 2
    # A cell of the turned template, (right, up) of the middle, was at R(-yaw) (right, up).
    right, up = steps.view(1, 1, 1, side), -steps.view(1, 1, side, 1)
    u = cos * right + sin * up
    v = sin * right - cos * up
    grid = torch.stack([u * (2.0 / width), v * (2.0 / height)], dim=-1)
    # The turns below each other: one call, and the template need not be repeated.
    count = angles.shape[1]
    grid = grid.reshape(-1, count * side, side, 2).expand(batch, -1, -1, -1)
    both = torch.cat([template * weight, weight], dim=1)
    turned = F.grid_sample(both, grid, mode='bilinear', align_corners=False)
    turned = turned.view(batch, channels + 1, count, side, side).transpose(1, 2)
    return turned[:, :, :channels], turned[:, :, channels:]


def _check(
    patch: Tensor, size: tuple[int, int], side: int, normalisation: str, method: str
) -> None:
    if normalisation not in NORMALISATIONS:
        raise ConfigError(
            f'normalisation {normalisation!r} is unknown: choose one of {NORMALISATIONS}'
        )
    if method not in METHODS:
        raise ConfigError(f'method {method!r} is unknown: choose one of {METHODS}')
    if side % 2 == 0 or side < 1:
        raise ConfigError(
            f'a canvas of {side} cells has no middle cell to turn about: make it odd'
        )
    for whole, part in zip(patch.shape[-2:], size, strict=True):
        if (whole - part) % 2 or part < 1:
            raise ConfigError(
                f'{part} cells do not lie around the middle of {whole}: make both even or both odd'
            )


def _window(values: Tensor, size: tuple[int, int], side: int) -> Tensor:
    """The cells under a template that may be anywhere in the middle `size` cells."""
    rows = (size[0] + side - 1 - values.shape[-2]) // 2
    columns = (size[1] + side - 1 - values.shape[-1]) // 2
    # Negative padding crops.
    return F.pad(values, (columns, columns, rows, rows))


def _correlate(templates: Tensor, window: Tensor, size: tuple[int, int], method: str) -> Tensor:
    """(B, K, H', W') sums of templates (B, K, C, s, s) over a window (B, C, H' + s - 1, ...)."""
    if method == 'fft':
        return _by_fft(templates, window, size)
    if method == 'dft':
        return correlate_by_tables(templates, window, size)
    batch, count, channels, side, _ = templates.shape
    kernels = templates.reshape(batch * count, channels, side, side)
    stacked = window.reshape(1, batch * channels, *window.shape[-2:])
    return F.conv2d(stacked, kernels, groups=batch).view(batch, count, *size)


def _by_fft(templates: Tensor, window: Tensor, size: tuple[int, int]) -> Tensor:
    # No answer that is kept wraps round: the window has all cells that it needs.
    shape = (_smooth(window.shape[-2]), _smooth(window.shape[-1]))
    spectrum = torch.fft.rfft2(window, s=shape)
    product = torch.einsum(
        'bkcyx,bcyx->bkyx', torch.fft.rfft2(templates, s=shape).conj(), spectrum
    )
    return torch.fft.irfft2(product, s=shape)[..., : size[0], : size[1]]


def _smooth(length: int) -> int:
    """The next length whose transform is quick: no prime factor over 5."""
    while True:
        rest = length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 1


def correlate_by_tables(templates: Tensor, window: Tensor, size: tuple[int, int]) -> Tensor:
    """Sums of templates over a window by transforms written out as products of real matrices.

    A graph takes it with any number of samples, which grouped convolutions are not.

    Args:
        templates: (B, K, C, h, w).
        window: (B, C, H, W), not smaller.
        size: (H', W') of the answer, at most H - h + 1 and W - w + 1.

    Returns:
        (B, K, H', W'): [y, x] is the sum with the template's corner at (y, x).
    """
    rows, columns = window.shape[-2:]
    half = columns // 2 + 1
    cos_y, sin_y = _tables(rows, rows, window)
    cos_x, sin_x = _tables(columns, half, window)

    def spectrum(values: Tensor) -> tuple[Tensor, Tensor]:
        """Real and imaginary part; what lies beyond the values is 0."""
        height, width = values.shape[-2:]
        real, imag = values @ cos_x[:, :width].T, -(values @ sin_x[:, :width].T)
        cos, sin = cos_y[:, :height], sin_y[:, :height]
        return cos @ real + sin @ imag, cos @ imag - sin @ real

    map_real, map_imag = (part[:, None] for part in spectrum(window))
    real, imag = spectrum(templates)
    product_real = (real * map_real + imag * map_imag).sum(dim=2)
    product_imag = (real * map_imag - imag * map_real).sum(dim=2)
    # Back: only the rows and columns that are asked for, and half the spectrum counted twice.
    cos, sin = cos_y[: size[0]], sin_y[: size[0]]
    left_real = cos @ product_real - sin @ product_imag
    left_imag = cos @ product_imag + sin @ product_real
    twice = torch.full((half, 1), 2.0, device=window.device)
    twice[0] = 1.0
    if columns % 2 == 0:
        twice[-1] = 1.0
    scale = twice / (rows * columns)
    cos, sin = scale * cos_x[:, : size[1]], scale * sin_x[:, : size[1]]
    return left_real @ cos - left_imag @ sin


def _tables(period: int, frequencies: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """(frequencies, period) cosines and sines of 2 pi f n / period."""
    f = torch.arange(frequencies, device=like.device)[:, None]
    n = torch.arange(period, device=like.device)[None]
    # The remainder first: float32 would lose digits of large angles.
    angle = (f * n).remainder(period).to(like.dtype) * (2 * math.pi / period)
    return angle.cos(), angle.sin()


def _yaws_at_once(template: Tensor, side: int, size: tuple[int, int]) -> int:
    """As many as have spectra of about a quarter of a gigabyte; gradients need all at once."""
    cells = (size[0] + side - 1) * (size[1] + side - 1)
    return max(1, 2**26 // (template.shape[0] * template.shape[1] * cells))


def cheaper(template: tuple[int, int], size: tuple[int, int]) -> str:
    """The one that should be quicker for each template and channel, 'direct' or 'dft'.

    Args:
        template: (h, w) cells.
        size: (H', W') cells of the answer.
    """
    height, width = template
    rows, columns = size[0] + height - 1, size[1] + width - 1
    direct = height * width * size[0] * size[1]
    transforms = (columns + 2) * height * width + 2 * rows * (columns + 2) * height
    # By multiplications, of which a convolution does some four in the time of one of the others.
    return 'direct' if direct < 4 * transforms else 'dft'
