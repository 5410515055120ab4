"""Cross-entropy of upsampled logits without the upsampled logits.

The logits of a segmentor are resized to the label map before the loss: C numbers per pixel, and again for
each of log-softmax and the two gradients. Here blocks of rows are resized, compared and, in the same pass,
turned into the gradient of the small logits; nothing but that gradient is kept.

Legend: B images, C classes, h × w the logits, H × W the label map; R rows of it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .resized_rows import RowResize, as_rows


class PixelSums(NamedTuple):
    """Sums over the pixels that are not ignored; scalars."""

    loss: Tensor  #: of class weight · cross-entropy; the only one with a gradient
    weight: Tensor  #: of class weights
    hits: Tensor  #: number of pixels whose label has the largest logit
    pixels: Tensor  #: number of pixels


def cross_entropy_of_upsampled(
    logits: Tensor,
    labels: Tensor,
    class_weight: Tensor | None = None,
    ignore_index: int = 255,
    align_corners: bool = False,
) -> PixelSums:
    """Sum up `F.cross_entropy(F.interpolate(logits, (H, W), mode='bilinear'), labels, reduction='none')`.

    Equal but for rounding, gradients too; half precision is computed in single. There is no second
    derivative.

    Args:
        logits: (B, C, h, w).
        labels: (B, H, W) integers in [0, C), or `ignore_index`.
        class_weight: (C,), or None for ones.
        ignore_index: Label of pixels that do not count.
        align_corners: As of `F.interpolate`.
    """
    return PixelSums(*_CrossEntropy.apply(logits, labels, class_weight, ignore_index, align_corners))


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        labels: Tensor,
        class_weight: Tensor | None,
        ignore_index: int,
        align_corners: bool,
    ) -> tuple[Tensor, ...]:
        resize = RowResize(logits.shape[2:], labels.shape[1:], align_corners, logits)
        gradient = torch.empty_like(logits, dtype=resize.dtype) if ctx.needs_input_grad[0] else None
        sums = [logits.new_zeros((), dtype=resize.dtype) for _ in PixelSums._fields]
        with torch.autocast(logits.device.type, enabled=False):
            for index, truth in enumerate(labels):
                rows = as_rows(logits[index]).to(resize.dtype)
                slopes = None if gradient is None else torch.zeros_like(rows)
                for start, stop in resize.blocks(logits.shape[1]):
                    first, end = resize.span(start, stop)
                    block = resize(rows[first:end], start, stop)
                    if resize.source == resize.target:
                        block = block.clone()  # it is a part of `rows`, and is about to be overwritten
                    found = _sum_block(block, truth[start:stop, None], class_weight, ignore_index)
                    for total, value in zip(sums, found, strict=True):
                        total += value
                    if slopes is not None:
                        slopes[first:end] += resize.adjoint(block, start, stop)
                if gradient is not None and slopes is not None:
                    gradient[index] = slopes.transpose(0, 1)
        if gradient is not None:
            ctx.save_for_backward(gradient.to(logits.dtype))
        ctx.mark_non_differentiable(*sums[1:])
        return tuple(sums)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, loss_slope: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return (gradient * loss_slope.to(gradient.dtype), None, None, None, None)


def _sum_block(
    block: Tensor, truth: Tensor, class_weight: Tensor | None, ignore_index: int
) -> tuple[Tensor, ...]:
    """Return the sums of a block of logits (R, C, W), which becomes its gradient; truth (R, 1, W)."""
    counts = truth != ignore_index
    label = torch.where(counts, truth, 0)
    weight = counts.to(block.dtype)
    if class_weight is not None:
        weight = weight * class_weight.to(block.dtype)[label]
    picked, largest = block.gather(1, label), block.amax(1, keepdim=True)
    hits = (counts & (picked >= largest)).sum()
    total = block.sub_(largest).exp_().sum(1, keepdim=True)
    loss = ((total.log() + largest - picked) * weight).sum()
    block.mul_(weight / total).scatter_add_(1, label, -weight)
    return loss, weight.sum(), hits, counts.sum()
