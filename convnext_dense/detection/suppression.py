"""NMS within groups of boxes (levels, classes) that ends with the boxes that are wanted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..ops.nms import nms


def can_stop_early(cfg: Mapping[str, Any], boxes: object, max_num: int) -> bool:
    """Whether `best_of_groups` does what an NMS config asks for.

    It does for plain NMS with nothing but a threshold, of which a number of boxes is wanted, and for boxes
    that are a tensor in the main memory: GPUs have fast kernels of their own.
    """
    plain = cfg.get("type", "nms") == "nms" and set(cfg) <= {"type", "iou_threshold"}
    return plain and max_num >= 0 and isinstance(boxes, Tensor) and boxes.device.type == "cpu"


def best_of_groups(
    boxes: Tensor, scores: Tensor, group: Tensor, iou_threshold: float, max_num: int
) -> Tensor:
    """Return what mmcv's `batched_nms` keeps, up to the `max_num` of highest score.

    Args:
        boxes: (N, 4) x1, y1, x2, y2, px.
        scores: (N,).
        group: (N,) int64; only boxes of one group suppress each other.
        iou_threshold: Largest IoU that two kept boxes of a group may have.
        max_num: How many are wanted.

    Returns:
        (K,) int64 indices by descending score.
    """
    if len(boxes) == 0:
        return group
    # shifted as mmcv does it, so that roundings, and with them what is suppressed, are the same
    shift = group.to(boxes) * (boxes.max() + 1)
    return nms(boxes + shift[:, None], scores, iou_threshold, max_num=max_num)
