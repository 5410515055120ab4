"""Depthwise convolution, trained faster on a CPU.

With padding p and g the gradient of the outputs, the gradient of a channel's filter is

    dw[i, j] = Σ_yx g[y, x] · in[y + i − p, x + j − p]

which is the same convolution of the same map, with g as the filter: of an H × W map padded by p and an H × W
filter there are k × k outputs, k = 2p + 1. oneDNN's kernel for outputs takes a third to a thirtieth of the
time of its kernel for that gradient, most of all on small maps and in bfloat16.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# Elsewhere a filter of a map's size may meet a kernel written for no such thing.
_HAS_KERNELS = torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability().startswith(
    "AVX"
)


class DepthwiseConv2d(nn.Conv2d):
    """One k × k filter per channel, stride 1, zeros around the map, outputs of the map's size.

    Parameters, state dict and, but for rounding, results and gradients are those of `nn.Conv2d` with
    `padding=k // 2` and `groups=channels`. Trained on a CPU it has first derivatives alone, and none of
    `torch.func`'s.

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
        if x.device.type != "cpu" or x.ndim != 4 or not (_HAS_KERNELS and torch.backends.mkldnn.enabled):
            return None
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
        elif x.dtype == self.weight.dtype:
            dtype = x.dtype
        else:  # PyTorch says what is wrong
            return None
        return dtype if dtype in (torch.float32, torch.bfloat16) else None


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


def _weight_gradient(x: Tensor, gradient: Tensor, kernel_size: int) -> Tensor:
    """Return the gradient (C, 1, k, k) of the filters, for maps and gradients of outputs (B, C, H, W)."""
    channels, padding = x.shape[1], kernel_size // 2
    total = torch.zeros(
        1, channels, kernel_size, kernel_size, dtype=torch.promote_types(x.dtype, torch.float32)
    )
    for image, as_filter in zip(x.split(1), gradient, strict=True):
        total += F.conv2d(image, as_filter[:, None], padding=padding, groups=channels)
    return total.transpose(0, 1).to(x.dtype)
