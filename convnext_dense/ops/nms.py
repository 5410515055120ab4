"""Non-maximum suppression in plain PyTorch at mmcv's semantics.

Boxes are (x1, y1, x2, y2) in px. `offset` is added to widths and heights: 1 for the old convention in
which x2 is the last pixel inside. The IoU of two boxes without area is undefined and suppresses nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: Boxes among which the greedy choice is made at a time.
BLOCK = 128
#: Pairs of boxes compared at a time: on a CPU few enough for its cache, and for PyTorch to start no threads,
#: which on a busy machine wait for one another far longer than the arithmetic takes.
TILE = {"cpu": 1 << 14}
TILE_ELSEWHERE = 1 << 22


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int = 0) -> Tensor:
    """Drop every box that overlaps a kept box of higher score by an IoU above the threshold.

    No step is taken per box: the best that are left are settled a block at a time, and what the kept ones
    suppress is dropped before the next block. As in a loop over boxes, work is kept × left.

    Args:
        boxes: (N, 4), any floating dtype; half precision is compared in float32.
        scores: (N,).
        iou_threshold: Largest IoU, in [0, 1], that two kept boxes may have.
        offset: 0 or 1.

    Returns:
        (K,) int64 indices of the kept boxes by descending score; equal scores in their given order.
    """
    index = scores.sort(descending=True, stable=True).indices
    boxes = boxes.detach().to(torch.promote_types(boxes.dtype, torch.float32)).index_select(0, index)
    left = with_area(boxes, offset)
    kept = [index[:0]]
    while len(index):
        block, left = left[:, :BLOCK], left[:, BLOCK:]
        best = _greedy(block, iou_threshold, offset)
        kept.append(index.index_select(0, best))
        alive = _not_suppressed(block.index_select(1, best), left, iou_threshold, offset)
        left, index = left.index_select(1, alive), index[BLOCK:].index_select(0, alive)
    return torch.cat(kept)


def _greedy(boxes: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Return the indices of the kept among a few `boxes` (5, N), which are sorted by descending score.

    It is the fixed point of "kept if no kept box of higher score suppresses it".
    """
    overlapping = pair_iou(boxes[:, :, None], boxes[:, None], offset) > iou_threshold
    suppresses = overlapping.to(boxes.dtype).triu_(diagonal=1)
    keep = torch.ones_like(boxes[0])
    while True:
        # sweep k settles every box whose chain of suppressors is shorter than k, so this ends
        swept = (keep @ suppresses == 0).to(keep.dtype)
        if torch.equal(swept, keep):
            return keep.nonzero().flatten()
        keep = swept


def _not_suppressed(kept: Tensor, boxes: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Return the indices of the `boxes` (5, M) that none of the `kept` (5, K) suppresses."""
    alive = torch.arange(boxes.shape[1], device=boxes.device)
    pairs = TILE.get(boxes.device.type, TILE_ELSEWHERE)
    first = 0
    while first < kept.shape[1] and len(alive):
        tile = kept[:, first : first + max(pairs // len(alive), 1)]
        first += tile.shape[1]
        suppressed = (pair_iou(tile[:, :, None], boxes[:, None], offset) > iou_threshold).any(0)
        left = (~suppressed).nonzero().flatten()
        alive, boxes = alive.index_select(0, left), boxes.index_select(1, left)
    return alive


def pair_iou(a: Tensor, b: Tensor, offset: int) -> Tensor:
    """Intersection over union of boxes (5, ...) and (5, ...) from `with_area`, broadcast."""
    # both axes in one go: for a few boxes the calls cost more than the arithmetic
    extent = torch.minimum(a[2:4], b[2:4]).sub_(torch.maximum(a[:2], b[:2]))
    if offset:
        extent.add_(offset)
    width, height = extent.clamp_(min=0)
    intersection = width.mul_(height)
    return intersection.div_((a[4] + b[4]).sub_(intersection))


def with_area(boxes: Tensor, offset: int) -> Tensor:
    """Lay boxes (N, 4) out by fields: (5, N) x1, y1, x2, y2, area."""
    x1, y1, x2, y2 = boxes.unbind(1)
    return torch.stack((x1, y1, x2, y2, (x2 - x1 + offset) * (y2 - y1 + offset)))
