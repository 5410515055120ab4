"""Bilinear sampling of bins along one axis, as weights of pixels.

Legend: N RoIs, P bins along the axis, S samples.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .ragged import ragged_arange


class AxisTaps(NamedTuple):
    """Weights of every bin along one axis: bin (n, i) has `length` taps from pixel `first` on."""

    first: Tensor  # (N, P) int64 px
    length: Tensor  # (N, P) int64
    offset: Tensor  # (N, P) int64, where the bin's weights start
    weight: Tensor  # (sum of length,)


def axis_taps(start: Tensor, size: Tensor, bins: int, limit: int | Tensor, sampling_ratio: int) -> AxisTaps:
    """Return the pixels and weights along one axis.

    Args:
        start: (N,) first coordinate of each RoI on the map, px.
        size: (N,) its extent, px.
        bins: P.
        limit: Size of the map along the axis, px; (N,) where the RoIs are on different maps.
        sampling_ratio: Samples per bin; 0 means ceil(size / P).
    """
    bin_size = (size / bins)[:, None]
    if sampling_ratio > 0:
        grid = torch.full_like(bin_size, sampling_ratio)
    else:
        # mmcv sizes the grid in single precision, so that double's rounding noise adds no sample
        grid = bin_size.float().ceil().to(bin_size).nan_to_num(0, posinf=0).clamp(min=0)
    bin_start = start[:, None] + torch.arange(bins).to(start) * bin_size  # (N, P)
    shape = bin_start.shape
    end = torch.as_tensor(limit).to(bin_size).reshape(-1, 1)
    bin_start, bin_size, grid, end = (x.expand(shape).flatten() for x in (bin_start, bin_size, grid, end))

    lowest, highest = _samples_near_map(bin_start, bin_size, grid, end)
    owner, rank = ragged_arange((highest - lowest).long())
    sample = rank + lowest.index_select(0, owner)
    start_of, size_of, grid_of, end_of = (x.index_select(0, owner) for x in (bin_start, bin_size, grid, end))
    at = start_of + (sample + 0.5) * size_of / grid_of  # (S,)
    on_map = ((at >= -1) & (at <= end_of)).nonzero().flatten()
    owner, at, last_of = owner[on_map], at[on_map], end_of[on_map] - 1
    share = 1 / grid_of[on_map]
    at = at.clamp_(min=0).minimum(last_of)
    low = at.floor()
    high = (low + 1).minimum(last_of)

    first = end.clone().scatter_reduce_(0, owner, low, "amin").long()
    last = torch.full_like(bin_size, -1).scatter_reduce_(0, owner, high, "amax").long()
    count = (last - first + 1).clamp(min=0)
    offset = count.cumsum(0) - count
    weight = start.new_zeros(int(count.sum()))
    base = (offset - first).index_select(0, owner)
    weight.index_add_(0, base + low.long(), (1 - (at - low)) * share)
    weight.index_add_(0, base + high.long(), (at - low) * share)
    return AxisTaps(first.view(shape), count.view(shape), offset.view(shape), weight)


def _samples_near_map(
    bin_start: Tensor, bin_size: Tensor, grid: Tensor, limit: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the range of samples of each bin that can lie on the map.

    A RoI may be far larger than the map; those samples that are off it for certain are not made.
    """
    step = bin_size / grid
    to_first, to_last = (-1 - bin_start) / step, (limit - bin_start) / step
    lowest = to_first.minimum(to_last).floor() - 2
    highest = to_first.maximum(to_last).ceil() + 2
    lowest = lowest.nan_to_num(0).maximum(torch.zeros_like(grid)).minimum(grid)
    highest = torch.where(highest.isnan(), grid, highest).maximum(lowest).minimum(grid)
    return lowest, highest


def as_matrices(taps: AxisTaps) -> list[tuple[int, Tensor]]:
    """Lay the weights of each RoI out as a matrix.

    Returns:
        For each RoI the first pixel that any of its bins takes, and (P, pixels) weights from there on;
        a matrix without columns if there is none.
    """
    n_bins = taps.first.shape[1]
    used = taps.length > 0
    first = torch.where(used, taps.first, torch.iinfo(torch.int64).max).amin(1)
    end = torch.where(used, taps.first + taps.length, 0).amax(1)
    span = (end - first).clamp(min=0)
    first = torch.where(span > 0, first, 0)

    entries = span * n_bins
    row = torch.arange(n_bins, device=span.device)
    start = (entries.cumsum(0) - entries)[:, None] + row * span[:, None] + taps.first - first[:, None]
    owner, rank = ragged_arange(taps.length.flatten())
    flat = taps.weight.new_zeros(int(entries.sum()))
    flat[start.flatten().index_select(0, owner) + rank] = taps.weight
    matrices = flat.split(entries.tolist())
    return [
        (start, matrix.view(n_bins, width))
        for start, width, matrix in zip(first.tolist(), span.tolist(), matrices, strict=True)
    ]
