"""RoIAlign in plain PyTorch, forward and backward, at mmcv's semantics.

RoIAlign (He et al., "Mask R-CNN", 2017, section 3) averages bilinear samples over each bin of a RoI.
Bilinear interpolation is separable, so the average over the sampling grid of bin (i, j) is

    out[i, j] = Σ_y Σ_x  w_i[y] · w_j[x] · map[y, x]

with one short weight vector per bin and axis. The samples are thus only ever taken along one axis,
and the pooling itself becomes a weighted sum of rows of the (B·H·W, C) table of pixels, which is what
`embedding_bag` computes: contiguous in the channels, parallel over bins, the same code on every
device. The backward pass is the transposed sum, again an `embedding_bag`, without atomics.

Gathering is by `index_select`, which on a CPU is several times faster than `x[index]`.

Shape legend: N RoIs, P bins along an axis, S samples, T taps (pixel, weight), all three flat.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .axis_taps import AxisTaps, as_matrices, axis_taps
from .ragged import ragged_arange

#: Maps of at most so many channels, such as masks, are pooled by matrix products: a weighted sum over rows
#: of the table spends its time on the taps then.
FEW_CHANNELS = 4
#: Taps handled at a time; bounds the working memory to some 6 MB whatever the RoIs, which a cache holds.
TAPS_PER_CHUNK = 1 << 17


class Taps(NamedTuple):
    """Weighted pixels of all the bins of some RoIs, in the order of the bins."""

    pixel: Tensor  # (T,) int64, row of the (B·H·W, C) table
    weight: Tensor  # (T,)
    length: Tensor  # (N·P·P,) int64, taps of each bin


def roi_align(
    input: Tensor,
    rois: Tensor,
    output_size: Sequence[int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = 0,
    aligned: bool = True,
    out: Tensor | None = None,
) -> Tensor:
    """Pool every RoI to a grid of bins, each the mean of its bilinear samples.

    Args:
        input: (B, C, H, W), floating point; channels_last memory saves a copy. Half precision is
            accumulated in float32.
        rois: (N, 5): image index in the batch, then x1, y1, x2, y2 in px of the image. Half-precision
            coordinates are taken as they are, but never computed with in half precision.
        output_size: Bins along (height, width).
        spatial_scale: Size of the map over that of the image.
        sampling_ratio: Samples per bin and axis; 0 means ceil(RoI size / bins), for each RoI.
        aligned: Shift by half a pixel, so that pixel centres lie at integers + 0.5. Without it a RoI
            is at least one pixel wide and high.
        out: Where to write the result, (N, C, *output_size) of any dtype and memory format.

    Returns:
        `out`, or a new tensor with the dtype of `input` and channels_last memory. Samples beyond
        (−1, size) are 0, as are RoIs of no or negative size under `aligned` and `sampling_ratio=0`,
        and RoIs that are not finite.
    """
    _, channels, *map_size = input.shape
    if out is None:
        shape = (len(rois), channels, *output_size)
        out = torch.empty(shape, dtype=input.dtype, device=input.device, memory_format=torch.channels_last)
    compute = torch.promote_types(input.dtype, torch.float32)
    if channels <= FEW_CHANNELS:
        maps = input.detach().to(compute)
        return _pool_by_products(
            maps, rois.to(compute), output_size, spatial_scale, sampling_ratio, aligned, out
        )
    table = pixel_rows(input.detach().to(compute))
    done = 0
    for n_rois, taps in taps_in_chunks(
        rois.to(compute), map_size, output_size, spatial_scale, sampling_ratio, aligned
    ):
        bins = weighted_sums(table, taps.pixel, taps.weight, taps.length)
        out[done : done + n_rois] = bins.view(n_rois, *output_size, channels).permute(0, 3, 1, 2)
        done += n_rois
    return out


def roi_align_grad(
    grad_output: Tensor,
    rois: Tensor,
    input_shape: Sequence[int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = 0,
    aligned: bool = True,
) -> Tensor:
    """Return the gradient of `roi_align` with respect to its input.

    Args:
        grad_output: (N, C, h, w).
        rois: As given to `roi_align`.
        input_shape: (B, C, H, W).
        spatial_scale: As given to `roi_align`.
        sampling_ratio: As given to `roi_align`.
        aligned: As given to `roi_align`.

    Returns:
        (B, C, H, W), dtype of `grad_output`, channels_last memory.
    """
    batch, channels, *map_size = input_shape
    output_size = grad_output.shape[2:]
    compute = torch.promote_types(grad_output.dtype, torch.float32)
    table = grad_output.new_zeros(batch * map_size[0] * map_size[1], channels, dtype=compute)
    done = 0
    for n_rois, taps in taps_in_chunks(
        rois.to(compute), map_size, output_size, spatial_scale, sampling_ratio, aligned
    ):
        bins = pixel_rows(grad_output[done : done + n_rois].to(compute))
        pixel, order = taps.pixel.sort(stable=True)
        touched, length = torch.unique_consecutive(pixel, return_counts=True)
        bin_of_tap = torch.repeat_interleave(taps.length).index_select(0, order)
        table[touched] += weighted_sums(bins, bin_of_tap, taps.weight.index_select(0, order), length)
        done += n_rois
    return table.view(batch, *map_size, channels).permute(0, 3, 1, 2).to(grad_output.dtype)


def _on_map(rois: Tensor, spatial_scale: float | Tensor, aligned: bool) -> tuple[Tensor, Tensor]:
    """Return first corner and size of each RoI on the map, both (N, 2) x, y px."""
    scale = spatial_scale[:, None] if isinstance(spatial_scale, Tensor) else spatial_scale
    corners = rois[:, 1:] * scale - (0.5 if aligned else 0.0)
    start, size = corners[:, :2], corners[:, 2:] - corners[:, :2]
    return start, size if aligned else size.clamp(min=1)


def _pool_by_products(
    maps: Tensor,
    rois: Tensor,
    output_size: Sequence[int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    out: Tensor,
) -> Tensor:
    """Write W_y · map · W_xᵀ of each RoI to `out`, one after the other."""
    start, size = _on_map(rois, spatial_scale, aligned)
    rows, columns = (
        as_matrices(axis_taps(start[:, axis], size[:, axis], bins, limit, sampling_ratio))
        for axis, bins, limit in zip((1, 0), output_size, maps.shape[2:], strict=True)
    )
    for pooled, image, (top, of_rows), (left, of_columns) in zip(
        out, rois[:, 0].long().tolist(), rows, columns, strict=True
    ):
        bottom, right = top + of_rows.shape[1], left + of_columns.shape[1]
        pooled.copy_(of_rows @ maps[image, :, top:bottom, left:right] @ of_columns.T)
    return out


def pixel_rows(maps: Tensor) -> Tensor:
    """Lay maps (B, C, H, W) out as (B·H·W, C), contiguous: a view of channels_last memory."""
    maps = maps.contiguous(memory_format=torch.channels_last)
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1]).contiguous()


def weighted_sums(table: Tensor, row: Tensor, weight: Tensor, length: Tensor) -> Tensor:
    """Sum `weight · table[row]` over consecutive groups of `length` rows."""
    start = length.cumsum(0) - length
    return F.embedding_bag(row, table, start, mode="sum", per_sample_weights=weight)


def taps_in_chunks(
    rois: Tensor,
    map_size: Sequence[int] | Tensor,
    output_size: Sequence[int],
    spatial_scale: float | Tensor,
    sampling_ratio: int,
    aligned: bool,
) -> Iterator[tuple[int, Taps]]:
    """Yield (number of RoIs, their taps) in the order of the RoIs, a bounded number of taps at a time.

    The RoIs may be on different maps, with `map_size` (N, 2) and `spatial_scale` (N,); pixels are those of
    each RoI's own map then.
    """
    start, size = _on_map(rois, spatial_scale, aligned)
    map_size = torch.as_tensor(map_size, device=rois.device).expand(len(rois), 2)
    # neighbouring bins share up to two pixels
    most = size.abs().nan_to_num(0).minimum(map_size.flip(1).to(size))
    most_taps = (most + 2 * most.new_tensor(output_size[::-1]) + 2).double().prod(1)
    _, lengths = (most_taps.cumsum(0) // TAPS_PER_CHUNK).unique_consecutive(return_counts=True)
    first_pixel = rois[:, 0].long() * map_size.prod(1)
    parts = (part.split(lengths.tolist()) for part in (first_pixel, start, size, map_size))
    for pixel, first, extent, limit in zip(*parts, strict=True):
        rows = axis_taps(first[:, 1], extent[:, 1], output_size[0], limit[:, 0], sampling_ratio)
        columns = axis_taps(first[:, 0], extent[:, 0], output_size[1], limit[:, 1], sampling_ratio)
        yield len(pixel), _outer_taps(rows, columns, pixel, limit[:, 1])


def _outer_taps(rows: AxisTaps, columns: AxisTaps, first_pixel: Tensor, map_width: Tensor) -> Taps:
    """Combine the taps of both axes; `first_pixel` (N,) is where each RoI's image starts, px."""
    shape = (*rows.length.shape, columns.length.shape[1])  # (N, P, P)

    def per_bin(of_row: Tensor, of_column: Tensor) -> tuple[Tensor, Tensor]:
        return of_row[:, :, None].expand(shape).flatten(), of_column[:, None].expand(shape).flatten()

    row_count, column_count = per_bin(rows.length, columns.length)
    row_offset, column_offset = per_bin(rows.offset, columns.offset)
    corner = (first_pixel[:, None] + rows.first * map_width[:, None])[:, :, None] + columns.first[:, None]

    # first the pixel rows of every bin, then the pixels of every pixel row
    owner, row = ragged_arange(row_count)
    step = map_width[:, None, None].expand(shape).flatten().index_select(0, owner)
    row_pixel = corner.flatten().index_select(0, owner) + row * step
    row_weight = rows.weight.index_select(0, row_offset.index_select(0, owner) + row)
    line, column = ragged_arange(column_count.index_select(0, owner))
    line_offset = column_offset.index_select(0, owner)
    pixel = row_pixel.index_select(0, line) + column
    weight = columns.weight.index_select(0, line_offset.index_select(0, line) + column)
    weight *= row_weight.index_select(0, line)
    return Taps(pixel, weight, row_count * column_count)
