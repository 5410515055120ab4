"""Non-maximum suppression in plain PyTorch at mmcv's semantics.

Boxes are (x1, y1, x2, y2) in px. `offset` is added to widths and heights: 1 for the old convention in
which x2 is the last pixel inside. The IoU of two boxes without area is undefined and suppresses nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .ragged import ragged_arange

#: Pairs of boxes looked at in one go; bounds the working memory to some 200 MB.
MAX_PAIRS = 1 << 22
#: Entries of a dense tile of pairs: small enough for a CPU's cache.
TILE = 1 << 18


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int = 0) -> Tensor:
    """Drop every box that overlaps a kept box of higher score by an IoU above the threshold.

    No step is taken per box. Only boxes that overlap along one axis are compared, found by sorting; the
    greedy choice is the fixed point of "kept if no kept box suppresses it", reached after as many
    sweeps as the longest chain of boxes that suppress one another.

    Args:
        boxes: (N, 4), any floating dtype; half precision is compared in float32.
        scores: (N,).
        iou_threshold: Largest IoU, in [0, 1], that two kept boxes may have.
        offset: 0 or 1.

    Returns:
        (K,) int64 indices of the kept boxes by descending score; equal scores in their given order.
    """
    order = scores.sort(descending=True, stable=True).indices
    boxes = boxes.detach().to(torch.promote_types(boxes.dtype, torch.float32)).index_select(0, order)
    return order[_keep(with_area(boxes, offset), iou_threshold, offset)]


def _keep(boxes: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Return the indices of the kept among `boxes` (5, N), which are sorted by descending score."""
    axis, by_start, length = _candidates(boxes, offset, iou_threshold < 0)
    if int(length.sum()) > MAX_PAIRS:
        half = boxes.shape[1] // 2
        kept = _keep(boxes[:, :half], iou_threshold, offset)
        rest = half + _not_suppressed(boxes[:, kept], boxes[:, half:], iou_threshold, offset)
        return torch.cat((kept, rest[_keep(boxes[:, rest], iou_threshold, offset)]))

    position, step = ragged_arange(length)
    one, other = by_start.index_select(0, position), by_start.index_select(0, position + step + 1)
    if iou_threshold >= 0:
        low, high = boxes[1 - axis], boxes[3 - axis]
        meet = torch.minimum(high.index_select(0, one), high.index_select(0, other))
        meet -= torch.maximum(low.index_select(0, one), low.index_select(0, other))
        overlapping = (meet > -offset).nonzero().flatten()
        one, other = one.index_select(0, overlapping), other.index_select(0, overlapping)
    strong = pair_iou(boxes.index_select(1, one), boxes.index_select(1, other), offset) > iou_threshold
    one, other = one[strong], other[strong]
    return _greedy(boxes.shape[1], torch.minimum(one, other), torch.maximum(one, other))


def _candidates(boxes: Tensor, offset: int, every_pair: bool) -> tuple[int, Tensor, Tensor]:
    """Find the pairs that overlap along x or along y, whichever axis leaves fewer.

    Returns:
        The axis, the boxes sorted along it, and how many of the following each one has to meet.
    """
    rank = torch.arange(1, boxes.shape[1] + 1, device=boxes.device)
    if every_pair:
        return 0, rank - 1, rank.flip(0) - 1
    found = []
    for axis in (0, 1):
        start, by_start = boxes[axis].sort()
        end = boxes[axis + 2].index_select(0, by_start) + offset
        length = (torch.searchsorted(start, end.contiguous()) - rank).clamp_(min=0)
        found.append((axis, by_start, length))
    return min(found, key=lambda candidate: int(candidate[2].sum()))


def _greedy(n_boxes: int, winner: Tensor, loser: Tensor) -> Tensor:
    """Return the boxes that no kept box suppresses; `winner` precedes `loser` in each pair."""
    keep = torch.ones(n_boxes, dtype=torch.bool, device=winner.device)
    while True:
        # sweep k settles every box whose chain of suppressors is shorter than k, so this ends
        suppressed = torch.zeros_like(keep)
        suppressed[loser[keep.index_select(0, winner)]] = True
        if torch.equal(keep, ~suppressed):
            return keep.nonzero().flatten()
        keep = ~suppressed


def _not_suppressed(kept: Tensor, boxes: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Return the indices of the `boxes` (5, M) that none of the `kept` (5, K) suppresses."""
    alive = torch.arange(boxes.shape[1], device=boxes.device)
    for tile in kept.split(max(TILE // boxes.shape[1], 1), dim=1):
        suppressed = pair_iou(tile[:, :, None], boxes[:, None, alive], offset) > iou_threshold
        alive = alive[~suppressed.any(0)]
    return alive


def pair_iou(a: Tensor, b: Tensor, offset: int) -> Tensor:
    """Intersection over union of boxes (5, ...) and (5, ...) from `with_area`, broadcast."""
    (ax1, ay1, ax2, ay2, a_area), (bx1, by1, bx2, by2, b_area) = a, b
    width = (torch.minimum(ax2, bx2) - torch.maximum(ax1, bx1)).add_(offset).clamp_(min=0)
    height = (torch.minimum(ay2, by2) - torch.maximum(ay1, by1)).add_(offset).clamp_(min=0)
    intersection = width.mul_(height)
    return intersection.div_((a_area + b_area).sub_(intersection))


def with_area(boxes: Tensor, offset: int) -> Tensor:
    """Lay boxes (N, 4) out by fields: (5, N) x1, y1, x2, y2, area."""
    x1, y1, x2, y2 = boxes.unbind(1)
    return torch.stack((x1, y1, x2, y2, (x2 - x1 + offset) * (y2 - y1 + offset)))
