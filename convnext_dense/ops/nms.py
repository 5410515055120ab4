"""Non-maximum suppression in plain PyTorch at mmcv's semantics.

Boxes are (x1, y1, x2, y2) in px. `offset` is added to widths and heights: 1 for the old convention in
which x2 is the last pixel inside. The IoU of two boxes without area is undefined and suppresses nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .ragged import ragged_arange

#: Pairs of boxes that are listed one by one if there are no more; bounds the working memory to some 200 MB.
MAX_PAIRS = 1 << 22
#: A listed pair costs as much as so many in a dense block.
COST_OF_A_PAIR = 16
#: Boxes among which the greedy choice is made at a time in the dense form.
BLOCK = 120
#: Pairs compared at a time there. On a CPU both are few enough for its cache, and for PyTorch to start no
#: threads, which on a busy machine wait for one another far longer than the arithmetic takes.
TILE = {"cpu": 1 << 14}
TILE_ELSEWHERE = 1 << 22
#: How many of the best boxes are tried first for every one that is wanted.
PER_WANTED = 8


def nms(
    boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int = 0, max_num: int | None = None
) -> Tensor:
    """Drop every box that overlaps a kept box of higher score by an IoU above the threshold.

    No step is taken per box. If few pairs overlap along an axis, as with small boxes and with boxes shifted
    by class, these are listed and settled at once, else boxes are settled by dense blocks.

    Args:
        boxes: (N, 4), any floating dtype; half precision is compared in float32.
        scores: (N,).
        iou_threshold: Largest IoU, in [0, 1], that two kept boxes may have.
        offset: 0 or 1.
        max_num: How many of the kept boxes are wanted at most; the search ends with that many.

    Returns:
        (K,) int64 indices of the kept boxes by descending score; equal scores in their given order.
    """
    order = scores.sort(descending=True, stable=True).indices
    boxes = boxes.detach().to(torch.promote_types(boxes.dtype, torch.float32)).index_select(0, order)
    fields = with_area(boxes, offset)
    if max_num is not None:
        # what is kept of the best boxes does not depend on the others, and a few times as many often suffice
        some = PER_WANTED * max_num
        while some < len(order):
            keep = _keep(fields[:, :some], iou_threshold, offset, max_num)
            if len(keep) >= max_num:
                return order[keep]
            some *= PER_WANTED
    return order[_keep(fields, iou_threshold, offset, max_num)]


def _keep(boxes: Tensor, iou_threshold: float, offset: int, max_num: int | None) -> Tensor:
    """Return the indices of the (first `max_num`) kept among `boxes` (5, N), sorted by descending score."""
    pairs = _pairs(boxes, offset) if boxes.shape[1] > 1 and iou_threshold >= 0 else None
    if pairs is None:
        return _keep_by_blocks(boxes, iou_threshold, offset, max_num)[:max_num]
    return _keep_by_pairs(boxes, *pairs, iou_threshold, offset)[:max_num]


def _pairs(boxes: Tensor, offset: int) -> tuple[Tensor, Tensor] | None:
    """List the pairs that overlap along one axis, both (pairs,); None if listing them does not pay."""
    n_boxes = boxes.shape[1]
    most = min(MAX_PAIRS, n_boxes**2 // 2 // COST_OF_A_PAIR)
    extent = boxes[2:4].amax(1) - boxes[:2].amin(1)
    share = (boxes[2:4] - boxes[:2]).mean(1) / extent
    axis = int(share.argmin())
    if float(share[axis]) * n_boxes**2 / 2 > most:  # a guess, which spares the sorting
        return None
    start, by_start = boxes[axis].sort()
    end = boxes[axis + 2].index_select(0, by_start) + offset
    rank = torch.arange(1, n_boxes + 1, device=boxes.device)
    length = (torch.searchsorted(start, end) - rank).clamp_(min=0)
    if int(length.sum()) > most:
        return None
    position, step = ragged_arange(length)
    one, other = by_start.index_select(0, position), by_start.index_select(0, position + step + 1)
    low, high = boxes[1 - axis], boxes[3 - axis]
    meet = torch.minimum(high.index_select(0, one), high.index_select(0, other))
    meet -= torch.maximum(low.index_select(0, one), low.index_select(0, other))
    touching = (meet > -offset).nonzero().flatten()
    return one.index_select(0, touching), other.index_select(0, touching)


def _settle(n_boxes: int, suppressed_by: Callable[[Tensor], Tensor], device: torch.device) -> Tensor:
    """Return the indices of the fixed point of "kept if no kept box of higher score suppresses it".

    Args:
        n_boxes: How many boxes there are, sorted by descending score.
        suppressed_by: Maps which boxes are kept to which are suppressed by these, both (N,) bool.
        device: Where.
    """
    keep = torch.ones(n_boxes, dtype=torch.bool, device=device)
    while True:
        # sweep k settles every box whose chain of suppressors is shorter than k, so this ends
        swept = ~suppressed_by(keep)
        if torch.equal(swept, keep):
            return keep.nonzero().flatten()
        keep = swept


def _keep_by_pairs(boxes: Tensor, one: Tensor, other: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Return the indices of the kept among `boxes` (5, N); only the given pairs may overlap."""
    strong = pair_iou(boxes.index_select(1, one), boxes.index_select(1, other), offset) > iou_threshold
    one, other = one[strong], other[strong]
    winner, loser = torch.minimum(one, other), torch.maximum(one, other)

    def suppressed_by(keep: Tensor) -> Tensor:
        suppressed = torch.zeros_like(keep)
        suppressed[loser[keep.index_select(0, winner)]] = True
        return suppressed

    return _settle(boxes.shape[1], suppressed_by, boxes.device)


def _keep_by_blocks(boxes: Tensor, iou_threshold: float, offset: int, max_num: int | None) -> Tensor:
    """Return the indices of the (first `max_num`) kept among `boxes` (5, N), sorted by descending score.

    The best that are left are settled a block at a time; what the kept ones suppress is dropped before the
    next block, so that work is kept × left as in a loop over boxes.
    """
    index = torch.arange(boxes.shape[1], device=boxes.device)
    kept = [index[:0]]
    n_wanted = len(index) if max_num is None else max_num
    while len(index) and n_wanted > 0:
        block, boxes = boxes[:, :BLOCK], boxes[:, BLOCK:]
        best = _keep_in_block(block, iou_threshold, offset)
        kept.append(index.index_select(0, best))
        n_wanted -= len(best)
        alive = _not_suppressed(block.index_select(1, best), boxes, iou_threshold, offset)
        boxes, index = boxes.index_select(1, alive), index[BLOCK:].index_select(0, alive)
    return torch.cat(kept)


def _keep_in_block(boxes: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Return the indices of the kept among a few `boxes` (5, N)."""
    overlap = pair_iou(boxes[:, :, None], boxes[:, None], offset) > iou_threshold
    strong = overlap.to(boxes.dtype).triu_(diagonal=1)
    return _settle(boxes.shape[1], lambda keep: keep.to(strong.dtype) @ strong > 0, boxes.device)


def _not_suppressed(kept: Tensor, boxes: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Return the indices of the `boxes` (5, M) that none of the `kept` (5, K) suppresses."""
    alive = torch.arange(boxes.shape[1], device=boxes.device)
    pairs = TILE.get(boxes.device.type, TILE_ELSEWHERE)
    first = 0
    while first < kept.shape[1] and len(alive):
        tile = kept[:, first : first + max(pairs // len(alive), 8)]
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
