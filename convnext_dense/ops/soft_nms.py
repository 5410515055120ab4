"""Soft-NMS and NMS matching at mmcv's semantics: each box in turn changes what follows, on the CPU.

One NumPy step per kept box handles all the others.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

NAIVE, LINEAR, GAUSSIAN = 0, 1, 2


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int = 0,
) -> tuple[Tensor, Tensor]:
    """Lower the scores of boxes that overlap one of higher score (Bodla et al., "Soft-NMS", 2017).

    Args:
        boxes: (N, 4) x1, y1, x2, y2, px. Half precision is computed in float32.
        scores: (N,).
        iou_threshold: IoU from which `NAIVE` zeroes a score and `LINEAR` multiplies it by 1 − IoU.
        sigma: `GAUSSIAN` multiplies every score by exp(−IoU² / sigma).
        min_score: A box whose score falls below it is dropped.
        method: `NAIVE`, `LINEAR` or `GAUSSIAN`.
        offset: 0 or 1, added to widths and heights.

    Returns:
        (K, 5) boxes with their new scores, in the order in which they were picked, and (K,) int64 indices.
        Among equal scores mmcv picks by its own bookkeeping (a picked box trades places with the first
        one left, a dropped one is replaced by the last): it is reproduced here.
    """
    x1, y1, x2, y2 = _sides(boxes)
    area = (x2 - x1 + offset) * (y2 - y1 + offset)
    columns = np.stack((x1, y1, x2, y2, _array(scores), area))
    index = np.arange(len(x1))
    first = 0
    while first < len(index):
        swap = [first, first + int(columns[4, first:].argmax())]
        columns[:, swap], index[swap] = columns[:, swap[::-1]], index[swap[::-1]]
        rest = columns[:, first + 1 :]
        rest[4] *= _decay(_iou(columns[:, first], rest, offset), iou_threshold, sigma, method)
        dropped = rest[4] < min_score
        if dropped.any():
            order = _fill_from_the_end(dropped)
            columns = np.concatenate((columns[:, : first + 1], rest[:, order]), axis=1)
            index = np.concatenate((index[: first + 1], index[first + 1 :][order]))
        first += 1
    return torch.from_numpy(columns[:5].T.copy()), torch.from_numpy(index)


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Group every box with the kept one that suppresses it.

    Args:
        dets: (N, 5) x1, y1, x2, y2, score.
        iou_threshold: IoU from which a box is suppressed.

    Returns:
        One list of indices for each kept box, the kept one first, by descending score.
    """
    left = dets[:, 4].sort(descending=True, stable=True).indices.cpu().numpy()
    x1, y1, x2, y2 = _sides(dets)
    boxes = np.stack((x1, y1, x2, y2, x1, (x2 - x1) * (y2 - y1)))
    groups = []
    while len(left):
        kept, rest = left[0], left[1:]
        matched = _iou(boxes[:, kept], boxes[:, rest], offset=0) >= iou_threshold
        groups.append([int(kept), *rest[matched].tolist()])
        left = rest[~matched]
    return groups


def _array(values: Tensor) -> np.ndarray:
    return values.detach().to("cpu", torch.promote_types(values.dtype, torch.float32)).numpy()


def _sides(boxes: Tensor) -> np.ndarray:
    return _array(boxes[:, :4]).T


def _iou(box: np.ndarray, others: np.ndarray, offset: int) -> np.ndarray:
    """IoU of one box (6,) with others (6, M); rows are x1, y1, x2, y2, score, area."""
    zero = others.dtype.type(0)
    width = np.maximum(zero, np.minimum(box[2], others[2]) - np.maximum(box[0], others[0]) + offset)
    height = np.maximum(zero, np.minimum(box[3], others[3]) - np.maximum(box[1], others[1]) + offset)
    intersection = width * height
    with np.errstate(divide="ignore", invalid="ignore"):
        return intersection / (box[5] + others[5] - intersection)


def _decay(iou: np.ndarray, iou_threshold: float, sigma: float, method: int) -> np.ndarray:
    if method == GAUSSIAN:
        return np.exp(-(iou * iou) / iou.dtype.type(sigma))
    lowered = np.zeros_like(iou) if method == NAIVE else 1 - iou
    return np.where(iou >= iou.dtype.type(iou_threshold), lowered, iou.dtype.type(1))


def _fill_from_the_end(dropped: np.ndarray) -> np.ndarray:
    """Return the order of what is left when each dropped entry is replaced by the last one left."""
    n_left = len(dropped) - int(dropped.sum())
    order = np.arange(n_left)
    order[dropped[:n_left]] = n_left + np.flatnonzero(~dropped[n_left:])[::-1]
    return order
