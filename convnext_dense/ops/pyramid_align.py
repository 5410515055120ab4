"""RoIAlign from a feature pyramid in one pass over the RoIs, forward and backward, in plain PyTorch.

The taps of all RoIs (see `convnext_dense.ops.roi_align`) are made at once, whatever the level each RoI is
pooled from; per level there is one weighted sum over the rows of its own table of pixels. They are kept for
the backward pass, which sorts them by pixel once and is a single weighted sum over the bins of all RoIs.

Shape legend: L levels, B images, C channels; N RoIs, h × w bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .roi_align import pixel_rows, taps_in_chunks, weighted_sums


def pyramid_roi_align(
    maps: Sequence[Tensor],
    rois: Tensor,
    level: Tensor,
    output_size: Sequence[int],
    spatial_scales: Sequence[float],
    sampling_ratio: int = 0,
    aligned: bool = True,
) -> Tensor:
    """Pool every RoI from its level; the numbers are those of `roi_align`, level by level.

    Args:
        maps: L maps (B, C, H_l, W_l), float32 or float64; channels_last memory saves a copy.
        rois: (N, 5): image index in the batch, then x1, y1, x2, y2 in px of the image; dtype of the maps.
        level: (N,) int64, the level of each RoI.
        output_size: Bins along (height, width).
        spatial_scales: Size of each level's map over that of the image.
        sampling_ratio: As of `roi_align`.
        aligned: As of `roi_align`.

    Returns:
        (N, C, *output_size) in channels_last memory, differentiable once by every map.
    """
    settings = (tuple(output_size), tuple(spatial_scales), sampling_ratio, aligned)
    return _PyramidRoIAlign.apply(rois.detach(), level, settings, *maps)


class _PyramidRoIAlign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rois: Tensor, level: Tensor, settings: tuple, *maps: Tensor) -> Tensor:
        output_size, scales, sampling_ratio, aligned = settings
        order = level.argsort(stable=True)
        rois, level = rois.index_select(0, order), level.index_select(0, order)
        sizes = torch.tensor([map_.shape[2:] for map_ in maps], device=rois.device)
        scale = rois.new_tensor(scales)
        chunks = taps_in_chunks(rois, sizes[level], output_size, scale[level], sampling_ratio, aligned)
        tables = [pixel_rows(map_) for map_ in maps]
        last_roi = level.bincount(minlength=len(maps)).cumsum(0).tolist()
        channels, bins = maps[0].shape[1], output_size[0] * output_size[1]
        out = maps[0].new_empty(len(rois), bins, channels)
        done, kept = 0, []
        for n_rois, taps in chunks:
            last_tap = [0, *taps.length.view(n_rois, bins).sum(1).cumsum(0).tolist()]
            begin, first_pixel = 0, 0
            for table, last in zip(tables, last_roi, strict=True):
                end = min(max(last - done, begin), n_rois)  # the chunk's RoIs of this level
                taps_of_level = slice(last_tap[begin], last_tap[end])
                pixel, weight = taps.pixel[taps_of_level], taps.weight[taps_of_level]
                pooled = weighted_sums(table, pixel, weight, taps.length[begin * bins : end * bins])
                out.index_copy_(0, order[done + begin : done + end], pooled.view(-1, bins, channels))
                pixel += first_pixel  # of the row in the table of all levels from here on
                begin, first_pixel = end, first_pixel + len(table)
            done += n_rois
            kept.append(taps)
        ctx.shapes, ctx.order, ctx.taps = [map_.shape for map_ in maps], order, kept
        return out.view(-1, *output_size, channels).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple:
        grads = pixel_rows(grad_output)
        channels = grads.shape[1]
        n_pixels = [shape.numel() // channels for shape in ctx.shapes]
        table = grads.new_zeros(sum(n_pixels), channels)
        if ctx.taps:
            pixel, weight, length = (torch.cat(parts) for parts in zip(*ctx.taps, strict=True))
            row = torch.arange(len(grads), device=grads.device).view(len(ctx.order), -1)
            row_of_tap = row.index_select(0, ctx.order).flatten().repeat_interleave(length)
            count = pixel.bincount(minlength=len(table))
            by_pixel = pixel.int().sort(stable=True).indices
            row_of_tap, weight = row_of_tap.index_select(0, by_pixel), weight.index_select(0, by_pixel)
            table = weighted_sums(grads, row_of_tap, weight, count)
        levels = zip(table.split(n_pixels), ctx.shapes, strict=True)
        by_level = [rows.view(b, h, w, c).permute(0, 3, 1, 2) for rows, (b, c, h, w) in levels]
        return None, None, None, *by_level
