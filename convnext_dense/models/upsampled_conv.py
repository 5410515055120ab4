"""A 3×3 convolution over a concatenation of upsampled maps, without the concatenation.

Bilinear upsampling U works on each channel alone and is linear, and a 3×3 convolution is the sum over its
taps of a zero-filled shift S_dy S_dx of a 1×1 convolution W[dy, dx]. A 1×1 convolution commutes with U, and
both U and the shifts are separable, so that for maps x_k, of which x_0 has the full size,

    conv(concat_k U_k x_k) = conv_0(x_0) + Σ_{k>0} Σ_dy S_dy U_y [ Σ_dx S_dx U_x (W_k[dy, dx] x_k) ]

The taps are applied where the map is small, and what is left of the upsampling is two products with narrow
matrices. Borders and odd sizes are exact: the shifted matrices have a zero row where the convolution pads.

With four maps of C channels, F the cost of conv_0, all costs 4F/3 and the products instead of 4F, and the map
of 4C channels is never made.

Legend: B images, C input and O output channels, h × w a small map, H × W the full one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .winograd import conv3x3

TAPS = 3


def conv3x3_of_upsampled(
    maps: Sequence[Tensor],
    weight: Tensor,
    bias: Tensor | None = None,
    align_corners: bool = False,
    convolution: Callable[[Tensor, Tensor, Tensor | None], Tensor] = conv3x3,
) -> Tensor:
    """Convolve the concatenation of `maps`, all resized to the first one's size, padded by one zero.

    Equal to `F.conv2d(torch.cat([F.interpolate(m, maps[0].shape[2:], mode='bilinear') …], 1), weight, bias,
    padding=1)` but for rounding, gradients too.

    Args:
        maps: (B, C_k, h_k, w_k); the first is of the full size H × W.
        weight: (O, Σ C_k, 3, 3).
        bias: (O,) or None.
        align_corners: As of `F.interpolate`.
        convolution: What convolves the first map with its part of the weight: `conv3x3` or `direct3x3`.

    Returns:
        (B, O, H, W).
    """
    first, *small = maps
    weights = weight.split([m.shape[1] for m in maps], dim=1)
    full = convolution(first, weights[0], bias)
    if not small:
        return full
    rows, row_weights = _tapped_rows(small, weights[1:], first.shape[2:], align_corners)
    # One product over the rows of all maps and taps, so that half precision is summed up in single.
    summed = torch.baddbmm(full.permute(0, 2, 3, 1).flatten(2), row_weights.expand(len(first), -1, -1), rows)
    return summed.unflatten(2, (first.shape[3], -1)).permute(0, 3, 1, 2)


def _tapped_rows(
    maps: Sequence[Tensor], weights: Sequence[Tensor], size: Sequence[int], align_corners: bool
) -> tuple[Tensor, Tensor]:
    """Return S_dx U_x of all tapped maps, and the matrices S_dy U_y that are left to apply.

    Args:
        maps: (B, C_k, h_k, w_k).
        weights: (O, C_k, 3, 3) for each.
        size: (H, W).
        align_corners: As of `F.interpolate`.

    Returns:
        (B, Σ 3h_k, W·O) and (H, Σ 3h_k).
    """
    height, width = size
    by_rows, row_weights = [], []
    for map_, taps in zip(maps, weights, strict=True):
        rows, columns = map_.shape[2:]
        along_x = _interpolation(columns, width, align_corners, map_)  # (W, w, dx)
        along_y = _interpolation(rows, height, align_corners, map_)  # (H, h, dy)
        for dy in range(TAPS):
            # 1×1 convolutions of the three taps of a row; in channels_last memory (B, h, w, dx, O)
            kernel = taps[:, :, dy].permute(2, 0, 1).reshape(-1, map_.shape[1], 1, 1)
            tapped = F.conv2d(map_, kernel).permute(0, 2, 3, 1).reshape(len(map_), rows, TAPS * columns, -1)
            by_rows.append(along_x.flatten(1) @ tapped)  # (B, h, W, O)
            row_weights.append(along_y[:, :, dy])
    return torch.cat(by_rows, dim=1).flatten(2), torch.cat(row_weights, dim=1)


def _interpolation(source: int, target: int, align_corners: bool, like: Tensor) -> Tensor:
    """Return linear interpolation along an axis, shifted for each tap: (target, source, 3).

    Column `d` of the last axis gives at position i what the resized row has at i + d − 1, and zero outside.
    """
    dtype = torch.promote_types(like.dtype, torch.float32)
    unit = torch.eye(source, dtype=dtype, device=like.device)[None]
    resized = F.interpolate(unit, target, mode="linear", align_corners=align_corners)[0].T  # (target, source)
    padded = F.pad(resized, (0, 0, 1, 1))
    return torch.stack([padded[d : d + target] for d in range(TAPS)], dim=2).to(like)
