"""Depthwise convolution, trained faster on a CPU.

With padding p and g the gradient of the outputs, the gradient of a channel's filter is

    dw[i, j] = Σ_yx g[y, x] · in[y + i − p, x + j − p]

which is the same convolution of the same map, with g as the filter: of an H × W map padded by p and an H × W
filter there are k × k outputs, k = 2p + 1. Bands of rows are summed, as are images. oneDNN's kernel for
outputs takes a half to a twelfth of the time of its kernel for that gradient, in bfloat16 a seventh to a
twentieth.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

MIN_SIZE = 4096  #: elements of an image's map from which on the fast way is one
BAND = 32  #: rows of the outputs' gradient in one filter: more of them round worse and are no faster

# Elsewhere a filter of a map's size may meet a kernel written for no such thing.
_HAS_KERNELS = torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability().startswith(
    "AVX"
)


class DepthwiseConv2d(nn.Conv2d):
    """One k × k filter per channel, stride 1, zeros around the map, outputs of the map's size.

    Parameters, state dict and, but for rounding, results and gradients are those of `nn.Conv2d` with
    `padding=k // 2` and `groups=channels`. While its filters learn on a CPU it has first derivatives alone,
    and none of `torch.func`'s; nor can `torch.jit.script` or `torch.fx` read it.

    Args:
        channels: Number of channels C.
        kernel_size: Side k of the filters, odd.
    """

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve `x` (B, C, H, W)."""
        dtype = self._training_dtype(x)
        if dtype is None:
            return super().forward(x)
        bias = None if self.bias is None else self.bias.to(dtype)
        return _Depthwise.apply(x.to(dtype), self.weight.to(dtype), bias)

    def _training_dtype(self, x: Tensor) -> torch.dtype | None:
        """Return the dtype in which oneDNN computes gradients the fast way, None if they go PyTorch's way."""
        if not (torch.is_grad_enabled() and self.weight.requires_grad) or torch.jit.is_tracing():
            return None
        if x.device.type != "cpu" or not (_HAS_KERNELS and torch.backends.mkldnn.enabled) or not _pays(x):
            return None
        dtypes = {x.dtype, self.weight.dtype}
        if torch.is_autocast_enabled("cpu"):
            dtypes.add(torch.get_autocast_dtype("cpu"))
        elif len(dtypes) > 1:  # PyTorch says what is wrong
            return None
        if not dtypes <= {torch.float32, torch.bfloat16}:
            return None
        return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype


def _pays(x: Tensor) -> bool:
    """Whether an image's work is worth a call of its own."""
    return x.ndim == 4 and len(x) > 0 and x.shape[2] > 2 and x.shape[1:].numel() >= MIN_SIZE


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _convolve(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_map, of_weight, of_bias = ctx.needs_input_grad
        with torch.autocast("cpu", enabled=False):
            return (
                _convolve(gradient, weight.flip(2, 3), None) if of_map else None,
                _weight_gradient(x, gradient, weight.shape[-1]) if of_weight else None,
                gradient.sum((0, 2, 3)) if of_bias else None,
            )


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2, groups=len(weight))


@torch.library.custom_op("convnext_dense::depthwise_weight_gradient", mutates_args=())
def _weight_gradient(x: Tensor, gradient: Tensor, kernel_size: int) -> Tensor:
    """Return the gradient (C, 1, k, k) of the filters, for maps and gradients of outputs (B, C, H, W).

    An operator of its own, so that a compiler need not see every image and band.
    """
    channels, padding = x.shape[1], kernel_size // 2
    wide = torch.promote_types(x.dtype, torch.float32)
    total = torch.zeros(1, channels, kernel_size, kernel_size, dtype=wide)
    for rows, filters, above in _bands(x, gradient, padding):
        total += F.conv2d(rows, filters, padding=(above, padding), groups=channels)
    return total.to(x.dtype).view(channels, 1, kernel_size, kernel_size)


@_weight_gradient.register_fake
def _(x: Tensor, gradient: Tensor, kernel_size: int) -> Tensor:
    return x.new_empty(x.shape[1], 1, kernel_size, kernel_size)


def _bands(x: Tensor, gradient: Tensor, padding: int) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Yield some rows of a map, the rows of the gradient that are their filters, and zero rows to add."""
    for image, outputs in zip(x.split(1), gradient[:, :, None], strict=True):
        height = x.shape[2]
        if height <= BAND:
            yield image, outputs, padding
            continue
        padded = F.pad(image, (0, 0, padding, padding))
        for top in range(0, height, BAND):
            bottom = min(top + BAND, height)
            yield padded[:, :, top : bottom + 2 * padding], outputs[:, :, top:bottom], 0
