"""A block's two pointwise layers without gradients on a CPU, by oneDNN's fused kernels.

The branch's work is x + W₂ · f(GELU(W₁ y + b₁)) + b₂ with f the identity (V1) or GRN (V2). Written operator
by operator, the (B, H, W, 4C) hidden map, the largest of the network, is written and read once for each.
oneDNN applies GELU (by erf, as PyTorch's) to a product, and adds the residual map to one, before they leave
the registers, so that the hidden map is written once and read once. GRN's channels are squared and summed
piece by piece, while a piece is in the cache; its scale s and shift β go into the second layer, where the
map has more positions than channels:

    W₂ (s ⊙ h + β) + b₂ = (W₂ diag(s)) h + (W₂ β + b₂)

with s = 1 + γ · ‖h‖ / mean ‖h‖, which differs from image to image.

With gradients none of this pays: the backward pass wants W₁ y + b₁, which a fused kernel does not keep.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .layers import GRN, sum_of_squares

_DTYPES = (torch.float32, torch.bfloat16)

# From the first size on a hidden map is computed in pieces of the second, in elements: the C library returns
# large blocks (16 to 32 MiB) to the system at once, whose clearing of new ones costs a third of the time.
WHOLE, PIECE = 1 << 22, 1 << 21


def can_fuse(x: Tensor) -> bool:
    """Tell whether `fused_mlp` can run on a map: on a CPU with oneDNN, without gradients, in fp32 or bf16.

    A compiler or tracer gets the separate operators, which it knows and fuses itself.
    """
    if x.device.type != "cpu" or torch.is_grad_enabled() or _dtype(x) not in _DTYPES:
        return False
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    is_there = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return is_there and bool(torch.backends.mkldnn.enabled)


def expand(y: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return GELU(W₁ y + b₁) of `y` (..., C) with `weight` (4C, C): (..., 4C), in autocast's dtype."""
    dtype = _dtype(y)
    y, weight, bias = y.to(dtype), weight.to(dtype), bias.to(dtype)
    return torch.ops.mkldnn._linear_pointwise(y, weight, bias, "gelu", [], "none")


def expand_and_project(
    y: Tensor, expansion: tuple[Tensor, Tensor], projection: tuple[Tensor, Tensor], residual: Tensor
) -> Tensor:
    """Return W₂ GELU(W₁ y + b₁) + b₂ + residual, with a bounded hidden map.

    Args:
        y: (B, H, W, C).
        expansion: W₁ (4C, C) and b₁.
        projection: W₂ (C, 4C) and b₂, with the layer scale if there is one.
        residual: (B, H, W, C); the result has its dtype.
    """
    hidden = len(expansion[0])
    if y.shape[:-1].numel() * hidden < WHOLE:
        return project(expand(y, *expansion), *projection, residual)
    result = torch.empty(residual.shape, dtype=residual.dtype)
    pieces = (tensor.flatten(0, -2).split(PIECE // hidden) for tensor in (y, residual, result))
    for some, some_residual, some_result in zip(*pieces, strict=True):
        some_result.copy_(project(expand(some, *expansion), *projection, some_residual))
    return result


def project(h: Tensor, weight: Tensor, bias: Tensor, residual: Tensor) -> Tensor:
    """Return W₂ h + b₂ + residual.

    Args:
        h: Hidden map (..., 4C).
        weight: (C, 4C), with the layer scale if there is one.
        bias: (C,), likewise.
        residual: (..., C); the result has its dtype.
    """
    weight, bias = weight.to(h.dtype), bias.to(h.dtype)
    if residual.dtype != h.dtype:  # under autocast, where the residual stream is kept in fp32
        return residual + torch.ops.mkldnn._linear_pointwise(h, weight, bias, "none", [], "none")
    return torch.ops.mkldnn._linear_pointwise.binary(h, residual, weight, bias, "add")


def expand_and_project_responses(
    y: Tensor, expansion: tuple[Tensor, Tensor], grn: GRN, projection: tuple[Tensor, Tensor], residual: Tensor
) -> Tensor:
    """Return W₂ (s ⊙ h + β) + b₂ + residual for h = GELU(W₁ y + b₁), without a scaled copy of h.

    Args:
        y: (B, H, W, C).
        expansion: W₁ (4C, C) and b₁.
        grn: What gives s for each image, and β.
        projection: W₂ (C, 4C) and b₂, with the layer scale if there is one.
        residual: (B, H, W, C); the result has its dtype.
    """
    hidden = len(expansion[0])
    weight = projection[0].to(torch.promote_types(projection[0].dtype, torch.float32))
    bias = projection[1] + weight @ grn.beta.flatten().to(weight.dtype)
    rows = y.shape[1] * y.shape[2]
    step = rows if rows * hidden < WHOLE else PIECE // hidden
    parts = []
    for image, its_residual in zip(y.flatten(1, 2), residual.flatten(1, 2), strict=True):
        responses = [expand(some, *expansion) for some in image.split(step)]
        squares = torch.stack([sum_of_squares(h[None]) for h in responses]).sum(0)
        scaled = weight * grn.scale_for(squares.sqrt()[:, None, None])[0, 0]
        for h, some_residual in zip(responses, its_residual.split(step), strict=True):
            parts.append(project(h, scaled, bias, some_residual))
    result = parts[0] if len(parts) == 1 else torch.cat(parts)
    return result.view(residual.shape)


def _dtype(x: Tensor) -> torch.dtype:
    """Return the dtype in which a linear layer would multiply `x`."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
