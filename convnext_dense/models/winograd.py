"""Wide 3×3 convolutions on a CPU by Winograd's minimal filtering (Lavin and Gray, arXiv 1509.09308).

A tile of 4×4 outputs y of a filter g over a tile of 6×6 inputs d, overlapping its neighbours by two, is

    y = Aᵀ [ Σ_c (G g Gᵀ) ⊙ (Bᵀ d B) ] A

F(4×4, 3×3) of the paper. For each of the 36 positions the sum over the channels is a matrix product of the
tiles with a C × K matrix, so that an output takes 36/16 multiplications per channel instead of 9. What Aᵀ
and Bᵀ add is additions along rows and columns, done for some tiles at a time, which stay in the cache.

The gradient of the map is the same convolution with the filter turned and its channels swapped; that of the
filter is Gᵀ [ Σ_tiles (Bᵀ d B) ⊙ (A dy Aᵀ) ] G.

The result is that of the direct sum but for rounding, which the transformations raise from 1e-6 of the
largest output to 1e-5 in fp32: too much in 16 bits, where the direct convolution remains.

Legend: B images, C input and K output channels, T tiles.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

TILE = 4  # outputs along an axis
POINTS = TILE + 2  # inputs, and positions in the transformed space

# From here on products pay for the additions and for the transformed filter, which is 4 times as large.
MIN_CHANNELS, MIN_TILES = 192, 128
CHUNK = 1 << 17  # elements of one position's matrix of tiles

_G = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)


@MODELS.register_module()
class WinogradConv2d(nn.Conv2d):
    """`nn.Conv2d` that goes by `conv3x3` where it is one: `conv_cfg=dict(type="WinogradConv2d")` in configs.

    Arguments, parameters, state dict and, but for rounding, results and gradients are those of `nn.Conv2d`;
    see `conv3x3` for memory formats and derivatives.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Convolve `x` (B, C, H, W)."""
        if is_conv3x3(self):
            return conv3x3(x, self.weight, self.bias)
        return super().forward(x)


def is_conv3x3(conv: nn.Conv2d) -> bool:
    """Tell whether a layer is what `conv3x3` computes: 3×3, stride 1, one zero around, dense."""
    given = conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups, conv.padding_mode
    return given == ((3, 3), (1, 1), (1, 1), (1, 1), 1, "zeros")


def conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolve with a 3×3 filter, one zero around the map, by the faster way.

    Winograd's has first derivatives alone, and none of `torch.func`'s.

    Args:
        x: (B, C, H, W), best in channels_last memory.
        weight: (K, C, 3, 3).
        bias: (K,) or None.

    Returns:
        (B, K, H, W); in channels_last memory if it went Winograd's way, else as PyTorch has it.
    """
    if _pays(x, weight):
        return _Winograd.apply(x, weight, bias)
    return direct3x3(x, weight, bias)


def direct3x3(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolve as `conv3x3` does, by PyTorch."""
    return F.conv2d(x, weight, bias, padding=1)


def _pays(x: Tensor, weight: Tensor) -> bool:
    """Whether Winograd's way is faster and precise enough; compilers and tracers get the plain one."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or torch.is_autocast_enabled("cpu"):
        return False
    if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64) or x.dtype != weight.dtype:
        return False
    if x.ndim != 4 or torch.get_float32_matmul_precision() != "highest":  # products may be rounded to 16 bits
        return False
    tiles = len(x) * -(-x.shape[2] // TILE) * -(-x.shape[3] // TILE)
    return min(weight.shape[:2]) >= MIN_CHANNELS and tiles >= MIN_TILES


class _Winograd(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _convolve(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_map, of_weight, of_bias = ctx.needs_input_grad
        with torch.autocast("cpu", enabled=False):  # products in fp32, as forwards
            return (
                _convolve(gradient, weight.flip(2, 3).transpose(0, 1), None) if of_map else None,
                _weight_gradient(x, gradient) if of_weight else None,
                gradient.sum((0, 2, 3)) if of_bias else None,
            )


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    filters = _transform_filter(weight)
    outputs = len(weight)
    # It is written through a view and no view itself: of those autograd allows no in-place activation.
    size = len(x), outputs, *x.shape[2:]
    result = torch.empty(size, dtype=x.dtype, memory_format=torch.channels_last)
    last = result.permute(0, 2, 3, 1)
    for images, top, bottom in _chunks(x, outputs):
        part = x.permute(0, 2, 3, 1)[images]
        shape = len(part), bottom - top, -(-x.shape[3] // TILE), outputs
        columns = [
            _contract([_product(v, u) for v, u in zip(row, filter_row, strict=True)])
            for row, filter_row in zip(_transform_map(part, top, bottom), filters, strict=True)
        ]
        for dx, column in enumerate(zip(*columns, strict=True)):
            for dy, y in enumerate(_contract(column)):
                target = last[images, TILE * top + dy : TILE * bottom : TILE, dx::TILE]
                y = y.view(shape)[:, : target.shape[1], : target.shape[2]]
                if bias is None:
                    target.copy_(y)
                else:
                    torch.add(y, bias, out=target)
    return result


def _product(v: Tensor, u: Tensor) -> Tensor:
    """Return v uᵀ by oneDNN, which is faster than the BLAS behind `linear` on some machines."""
    if (
        v.dtype == torch.float32
        and torch.backends.mkldnn.enabled
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    ):
        return torch.ops.mkldnn._linear_pointwise(v, u, None, "none", [], "none")
    return F.linear(v, u)


def _weight_gradient(x: Tensor, gradient: Tensor) -> Tensor:
    """Return the gradient (K, C, 3, 3) of the filter."""
    inputs, outputs = x.shape[1], gradient.shape[1]
    total = x.new_zeros(POINTS, POINTS, outputs, inputs)
    for images, top, bottom in _chunks(x, outputs):
        maps = _transform_map(x.permute(0, 2, 3, 1)[images], top, bottom)
        gradients = _transform_gradient(gradient.permute(0, 2, 3, 1)[images], top, bottom)
        for i, (vs, ms) in enumerate(zip(maps, gradients, strict=True)):
            for j, (v, m) in enumerate(zip(vs, ms, strict=True)):
                total[i, j].addmm_(m.T, v)
    filters = _both_axes(total).T @ total.flatten(2).flatten(0, 1)
    return filters.view(3, 3, outputs, inputs).permute(2, 3, 0, 1)


def _chunks(x: Tensor, outputs: int) -> Iterator[tuple[slice, int, int]]:
    """Cut the tiles of maps (B, C, H, W) in pieces: images, first row of tiles, the one behind the last."""
    rows, columns = (-(-side // TILE) for side in x.shape[2:])
    tiles = max(CHUNK // max(x.shape[1], outputs), 1)
    images, height = max(tiles // (rows * columns), 1), min(max(tiles // columns, 1), rows)
    for first in range(0, len(x), images):
        for top in range(0, rows, height):
            yield slice(first, first + images), top, min(top + height, rows)


def _transform_filter(weight: Tensor) -> list[Tensor]:
    """Return the six rows (6, K, C) of G g Gᵀ of filters (K, C, 3, 3)."""
    taps = weight.reshape(-1, 9)
    return [_product(g, taps).view(POINTS, *weight.shape[:2]) for g in _both_axes(weight).chunk(POINTS)]


def _both_axes(like: Tensor) -> Tensor:
    """Return G for rows and columns of a filter at once: (36, 9)."""
    g = torch.tensor(_G, dtype=torch.float64)
    return torch.kron(g, g).to(like)


def _transform_map(x: Tensor, top: int, bottom: int) -> Iterator[list[Tensor]]:
    """Yield, for each row of Bᵀ d B, its six positions (T, C) of the tiles in rows `top` to `bottom`.

    Args:
        x: (B, H, W, C).
        top: First row of tiles.
        bottom: The row behind the last.
    """
    _, height, width, channels = x.shape
    tiles = -(-width // TILE)
    first, last = TILE * top - 1, TILE * bottom + 1
    right = TILE * tiles + 1 - width
    piece = x[:, max(first, 0) : last]
    piece = F.pad(piece, (0, 0, 1, right, max(-first, 0), max(last - height, 0)))
    for row in _filter_points(
        [piece[:, k : k + TILE * (bottom - top - 1) + 1 : TILE] for k in range(POINTS)]
    ):
        columns = [row[:, :, k : k + TILE * (tiles - 1) + 1 : TILE] for k in range(POINTS)]
        yield [v.view(-1, channels) for v in _filter_points(columns)]


def _transform_gradient(y: Tensor, top: int, bottom: int) -> Iterator[list[Tensor]]:
    """Yield, for each row of A y Aᵀ, its six positions (T, K) of the tiles in rows `top` to `bottom`."""
    _, height, width, channels = y.shape
    last = TILE * bottom
    piece = F.pad(y[:, TILE * top : last], (0, 0, 0, -width % TILE, 0, max(last - height, 0)))
    for row in _expand([piece[:, k::TILE] for k in range(TILE)]):
        yield [m.reshape(-1, channels) for m in _expand([row[:, :, k::TILE] for k in range(TILE)])]


def _filter_points(d: Sequence[Tensor]) -> list[Tensor]:
    """Return Bᵀ d along an axis: six of six."""
    even, odd = torch.add(d[4], d[2], alpha=-4), torch.add(d[3], d[1], alpha=-4)
    even2, odd2 = d[4] - d[2], d[3] - d[1]
    return [
        torch.add(d[4], d[2], alpha=-5).add_(d[0], alpha=4),
        even + odd,
        even - odd,
        torch.add(even2, odd2, alpha=2),
        torch.add(even2, odd2, alpha=-2),
        torch.add(d[5], d[3], alpha=-5).add_(d[1], alpha=4),
    ]


def _contract(m: Sequence[Tensor]) -> list[Tensor]:
    """Return Aᵀ m along an axis: four of six."""
    even, odd, even2, odd2 = m[1] + m[2], m[1] - m[2], m[3] + m[4], m[3] - m[4]
    return [
        (m[0] + even).add_(even2),
        torch.add(odd, odd2, alpha=2),
        torch.add(even, even2, alpha=4),
        torch.add(odd, odd2, alpha=8).add_(m[5]),
    ]


def _expand(y: Sequence[Tensor]) -> list[Tensor]:
    """Return A y along an axis: six of four."""
    even, odd = y[0] + y[2], y[1] + y[3]
    even2, odd2 = torch.add(y[0], y[2], alpha=4), torch.add(2 * y[1], y[3], alpha=8)
    return [y[0], even + odd, even - odd, even2 + odd2, even2 - odd2, y[3]]
