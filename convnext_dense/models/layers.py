"""Layers of ConvNeXt.

Shapes: B images, C channels, H × W positions. Activations are stored channels_last throughout, so a
(B, C, H, W) tensor and its permuted (B, H, W, C) view are one piece of memory and no layer copies.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LayerNorm2d(nn.LayerNorm):
    """Layer normalisation over the channels of each position (ConvNeXt, arXiv 2201.03545, section 2.6).

    Args:
        channels: Number of channels C.
        eps: Added to the variance.
    """

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__(channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x` (B, C, H, W); the result has the same shape, in channels_last memory."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class GRN(nn.Module):
    """Global response normalisation (ConvNeXt V2, arXiv 2301.00808, section 3.2).

    Each channel is scaled by its energy over the image relative to the mean energy of all channels:
    y = x + γ · x · ‖x‖ / (mean_c ‖x‖ + eps) + β. At initialisation γ = β = 0: the identity.

    Args:
        channels: Number of channels.
        eps: Added to the mean energy.
    """

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.gamma = nn.Parameter(torch.zeros(1, 1, 1, channels))
        self.beta = nn.Parameter(torch.zeros(1, 1, 1, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x` (B, H, W, channels); the result has its shape and dtype."""
        dtype = torch.float32 if x.dtype == torch.float16 else x.dtype
        return torch.addcmul(self.beta.to(dtype), x, self.scale(x).to(dtype)).to(x.dtype)

    def scale(self, x: Tensor) -> Tensor:
        """Return each channel's factor for `x` (B, H, W, channels): (B, 1, 1, channels), at least fp32."""
        return self.scale_for(channel_energy(x))

    def scale_for(self, energy: Tensor) -> Tensor:
        """Return each channel's factor for its energy ‖x‖ (B, 1, 1, channels)."""
        return 1 + self.gamma * (energy / (energy.mean(dim=-1, keepdim=True) + self.eps))

    def extra_repr(self) -> str:
        """Describe the layer in the printed model."""
        return f"{self.gamma.shape[-1]}, eps={self.eps}"


def channel_energy(x: Tensor) -> Tensor:
    """Return ‖x‖ of each channel over the positions of an image.

    Args:
        x: (B, H, W, C).

    Returns:
        (B, 1, 1, C), in fp32 for 16-bit maps: a sum over a map exceeds what float16 can hold, here and in the
        gradient.
    """
    # PyTorch's vector norm over leading dimensions is not vectorised on a CPU. In float16 squares overflow.
    if x.device.type == "cpu" and x.dtype != torch.float16 and not torch.compiler.is_compiling():
        return _ChannelEnergy.apply(x)
    return torch.linalg.vector_norm(
        x, dim=(1, 2), keepdim=True, dtype=torch.promote_types(x.dtype, torch.float32)
    )


SQUARES = 1 << 19  #: elements that are squared at a time, so that the squares stay in the cache


def sum_of_squares(x: Tensor) -> Tensor:
    """Return Σ x² over positions, at least in fp32: (B, C) for `x` (B, positions, C)."""
    # In fp32 for bfloat16, too, whose squares are off by 2⁻⁹ this way and that.
    wide = torch.promote_types(x.dtype, torch.float32)
    positions = x.split(max(SQUARES // max(len(x) * x.shape[2], 1), 1), dim=1)
    return torch.stack([some.square().sum(1, dtype=wide) for some in positions]).sum(0)


class _ChannelEnergy(torch.autograd.Function):
    """The root of a sum of squares, whose gradient is 0 and not 0/0 where all of a channel is 0."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        energy = sum_of_squares(x.flatten(1, 2)).sqrt_()[:, None, None]
        ctx.save_for_backward(x, energy)
        return energy

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        x, energy = ctx.saved_tensors
        return x * torch.where(energy == 0, 0, gradient / energy).to(x.dtype)


class DropPath(nn.Module):
    """Stochastic depth (arXiv 1603.09382): in training, zero a residual branch for single samples.

    Kept samples are divided by the probability of being kept, so the expectation is the input; in
    evaluation it is the identity.

    Args:
        drop_prob: Probability of dropping a sample, in [0, 1).
    """

    def __init__(self, drop_prob: float = 0.0) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    @property
    def drops(self) -> bool:
        """Whether samples are dropped: in training, if the probability is not 0."""
        return self.training and self.drop_prob > 0

    def forward(self, x: Tensor) -> Tensor:
        """Drop samples of `x` (B, ...)."""
        if not self.drops:
            return x
        keep_prob = 1 - self.drop_prob
        keep = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(keep_prob)
        return x * keep.div_(keep_prob)

    def add_branch(self, x: Tensor, branch: Callable[[Tensor], Tensor]) -> Tensor:
        """Return `x + self(branch(x))`, whose branch is computed of the kept samples alone.

        The draw is made on the CPU, so that a GPU need not be waited for. If every sample is dropped, one is
        computed and multiplied by 0: its parameters have gradients in each step, as `DistributedDataParallel`
        expects.

        Args:
            x: (B, C, H, W) in channels_last memory.
            branch: A function of each sample for itself.
        """
        if torch.compiler.is_compiling():  # the number of samples would depend on the draw
            return x + self(branch(x))
        keep_prob = 1 - self.drop_prob
        kept = torch.empty(x.shape[0]).bernoulli_(keep_prob).nonzero().flatten()
        factor = 1 / keep_prob if len(kept) else 0.0
        if len(kept) == x.shape[0]:
            return x + branch(x) * factor
        kept = kept if len(kept) else kept.new_zeros(1)
        # Over (B, H, W, C) views, as indexing does not keep channels_last memory.
        last = x.permute(0, 2, 3, 1)
        kept = kept.to(x.device, non_blocking=True)
        y = branch(last.index_select(0, kept).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        dtype = torch.promote_types(x.dtype, y.dtype)  # as a sum has, under autocast
        return last.to(dtype).index_add(0, kept, y.to(dtype), alpha=factor).permute(0, 3, 1, 2)

    def extra_repr(self) -> str:
        """Describe the layer in the printed model."""
        return f"drop_prob={self.drop_prob:.3f}"


def pointwise(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Apply a linear layer to the channels of each position.

    Args:
        x: Input (B, H, W, C).
        weight: Weight (D, C), the shape of `nn.Linear`.
        bias: Bias (D,).

    Returns:
        (B, H, W, D), contiguous where `x` is.
    """
    # On CPU oneDNN's 1x1 convolution is twice as fast as the BLAS behind `linear`; it has no float64,
    # and float16 only on the newest processors. A compiler copies maps before and after such a convolution.
    is_fast = x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16)
    if is_fast and not torch.compiler.is_compiling():
        return _pointwise_conv(x, weight, bias)
    return F.linear(x, weight, bias)


def _pointwise_conv(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    shape = (*x.shape[:-1], weight.shape[0])
    # A single thread (torchrun's default) reaches oneDNN only with 16 images or more: pass rows as images.
    if x.shape[0] * x.shape[1] >= 16 and torch.get_num_threads() == 1:
        x = x.reshape(-1, 1, *x.shape[2:])
    y = F.conv2d(x.permute(0, 3, 1, 2), weight[:, :, None, None], bias)
    return y.permute(0, 2, 3, 1).reshape(shape)
