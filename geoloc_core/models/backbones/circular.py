# SPDX-License-Identifier: Apache-2.0
"""Padding for panoramas: their left and right edges meet, their top and bottom do not.

A network whose horizontal padding wraps sees a panorama as the cylinder it is: turning the camera
rolls its features, and nothing happens at the seam (CCVPE, Xia et al., T-PAMI 2024, sec. 3).
"""

from typing import Any

import torch
from torch import nn, Tensor
from torch.nn import functional as F

from geoloc_core.errors import ConfigError

Pair = tuple[int, int]


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> Pair:
    """Padding before and after, so that `size` cells become ceil(size / stride).

    The odd cell goes to the end (TensorFlow's SAME), as published EfficientNet weights expect.
    """
    reach = (kernel - 1) * dilation + 1
    total = max((-(-size // stride) - 1) * stride + reach - size, 0)
    return total // 2, total - total // 2


def wrap_columns(x: Tensor, before: int, after: int) -> Tensor:
    """Adds columns to the left and right that continue (B, C, H, W) from its other side.

    Raises:
        ConfigError: More columns are wanted than there are.
    """
    if before == 0 and after == 0:
        return x
    if max(before, after) > x.shape[-1]:
        raise ConfigError(
            f'a map of {x.shape[-1]} columns is wrapped by {max(before, after)}: the view is too '
            'narrow for this backbone; use a wider view or fewer stages'
        )
    if x.requires_grad and torch.is_grad_enabled():
        wrapped: Tensor = _Wrap.apply(x, before, after)  # type: ignore[no-untyped-call]
        return wrapped
    return _wrapped(x, before, after)


def _wrapped(x: Tensor, before: int, after: int) -> Tensor:
    # As pieces put together: `F.pad` loses the order of the channels in memory, and every
    # convolution behind it would bring it back.
    parts = [x[..., x.shape[-1] - before :], x, x[..., :after]]
    return torch.cat([part for part in parts if part.shape[-1]], dim=-1)


class _Wrap(torch.autograd.Function):
    """`_wrapped` whose gradient keeps the order of the channels too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, before: int, after: int) -> Tensor:
        ctx.sides = before, after
        return _wrapped(x, before, after)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        before, after = ctx.sides
        together = gradient.is_contiguous(memory_format=torch.channels_last)
        order = torch.channels_last if together else torch.contiguous_format
        end = gradient.shape[-1] - after
        own = gradient[..., before:end].clone(memory_format=order)
        if before:
            own[..., -before:] += gradient[..., :before]
        if after:
            own[..., :after] += gradient[..., end:]
        return own, None, None


def _pad(x: Tensor, rows: Pair, columns: Pair, circular: bool) -> tuple[Tensor, Pair]:
    """Pads what a convolution cannot pad by itself; what is left for it, (rows, columns)."""
    if circular:
        x, columns = wrap_columns(x, *columns), (0, 0)
    if rows[0] == rows[1] and columns[0] == columns[1]:
        return x, (rows[0], columns[0])
    return F.pad(x, (*columns, *rows)), (0, 0)


class SameConv2d(nn.Conv2d):
    """A convolution with SAME padding, whatever the size; `circular` wraps its columns."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        """As `nn.Conv2d`, with square kernels."""
        super().__init__(
            in_channels, out_channels, kernel_size, stride=stride, groups=groups, bias=bias
        )
        self.circular = False

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, out_channels, ceil(H / stride), ceil(W / stride))."""
        rows, columns = (
            same_padding(x.shape[axis], self.kernel_size[i], self.stride[i], self.dilation[i])
            for i, axis in enumerate((-2, -1))
        )
        x, left = _pad(x, rows, columns, self.circular)
        return F.conv2d(x, self.weight, self.bias, self.stride, left, self.dilation, self.groups)


class CircularConv2d(nn.Conv2d):
    """A convolution with fixed padding whose columns wrap; the rows are padded by zeros."""

    def forward(self, x: Tensor) -> Tensor:
        """As `nn.Conv2d`."""
        if isinstance(self.padding, str):
            rows, columns = (
                same_padding(10**6, self.kernel_size[i], 1, self.dilation[i])
                if self.padding == 'same'
                else (0, 0)
                for i in (0, 1)
            )
        else:
            rows, columns = (self.padding[0],) * 2, (self.padding[1],) * 2
        x, left = _pad(x, rows, columns, circular=True)
        return F.conv2d(x, self.weight, self.bias, self.stride, left, self.dilation, self.groups)


class CircularPool(nn.Module):
    """A pooling layer whose columns wrap; its rows are padded as before."""

    def __init__(self, pool: nn.MaxPool2d | nn.AvgPool2d) -> None:
        """Takes over a pooling layer's settings."""
        super().__init__()
        rows, self.columns = _pair(pool.padding)
        pool.padding = (rows, 0)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """As the pooling layer."""
        pooled: Tensor = self.pool(wrap_columns(x, self.columns, self.columns))
        return pooled


class CircularPad(nn.Module):
    """Zero padding whose columns wrap instead."""

    def __init__(self, padding: tuple[int, int, int, int]) -> None:
        """Takes (left, right, top, bottom)."""
        super().__init__()
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        """As `nn.ZeroPad2d`."""
        left, right, top, bottom = self.padding
        return F.pad(wrap_columns(x, left, right), (0, 0, top, bottom))


def make_circular(module: nn.Module) -> nn.Module:
    """Makes every horizontal padding inside a module wrap; vertical padding stays what it was.

    Weights, their names and the sizes of all maps stay. If the input's width is a multiple of the
    module's total stride, rolling the input by that stride rolls the output by one column.
    Padding that a module's own `forward` does by function calls is not seen.

    Args:
        module: Changed in place.

    Returns:
        The module, or what takes its place if it is itself a single layer that pads.

    Raises:
        ConfigError: A layer whose columns cannot be made to wrap.
    """
    for name, child in list(module.named_children()):
        setattr(module, name, make_circular(child))
    if isinstance(module, SameConv2d):
        module.circular = True
    elif type(module) is nn.Conv2d:
        return _circular_conv(module)
    elif isinstance(module, (nn.MaxPool2d, nn.AvgPool2d)):
        return CircularPool(module) if _pair(module.padding)[1] else module
    elif isinstance(module, nn.ZeroPad2d):
        return CircularPad(module.padding)
    elif isinstance(module, nn.ConvTranspose2d) and module.kernel_size[1] > module.stride[1]:
        raise ConfigError(
            f'{module} mixes neighbouring columns and cannot wrap: use a kernel as wide as its '
            'stride, or upsampling followed by a convolution'
        )
    elif isinstance(module, (nn.ReflectionPad2d, nn.ReplicationPad2d, nn.ConstantPad2d)):
        raise ConfigError(f'{module} cannot wrap: only zero padding has a circular form here')
    return module


def _circular_conv(conv: nn.Conv2d) -> nn.Module:
    """The same convolution, its weights shared, with columns that wrap."""
    if conv.kernel_size[1] == 1:
        return conv
    if conv.padding_mode != 'zeros':
        raise ConfigError(
            f'{conv} pads by {conv.padding_mode!r}: only zero padding has a circular form here'
        )
    circular = CircularConv2d(
        conv.in_channels,
        conv.out_channels,
        (conv.kernel_size[0], conv.kernel_size[1]),
        stride=(conv.stride[0], conv.stride[1]),
        padding=conv.padding if isinstance(conv.padding, str) else _pair(conv.padding),
        dilation=(conv.dilation[0], conv.dilation[1]),
        groups=conv.groups,
        bias=conv.bias is not None,
        device=conv.weight.device,
        dtype=conv.weight.dtype,
    )
    circular.weight, circular.bias = conv.weight, conv.bias
    return circular.train(conv.training)


def _pair(value: int | tuple[int, ...]) -> Pair:
    return (value, value) if isinstance(value, int) else (value[0], value[1])
