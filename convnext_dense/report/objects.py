"""Drawing objects in mmdet's structures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

from .instances import draw_instances
from .overlay import enlarge


def draw_objects(image: np.ndarray, objects: Any, meta: Mapping[str, Any], scale: int = 1) -> np.ndarray:
    """Return the image (H, W, 3) uint8 BGR with mmdet's instances drawn on it, predicted or true.

    Args:
        image: The image that the boxes belong to.
        objects: `InstanceData` with bboxes and labels, perhaps masks and scores.
        meta: `classes` and `palette` of the data set.
        scale: By how much the image is enlarged first, so that the names of objects in a small one do not
            cover it.

    Returns:
        (H * scale, W * scale, 3) uint8 BGR.
    """
    boxes = getattr(objects.bboxes, "tensor", objects.bboxes)  # mmdet wraps the truth's
    scores = objects.get("scores")
    return draw_instances(
        enlarge(image, scale),
        boxes.cpu().numpy() * scale,
        objects.labels.cpu().numpy(),
        None if scores is None else scores.cpu().numpy(),
        _masks(objects.get("masks"), scale),
        meta["classes"],
        meta["palette"],
    )


def _masks(masks: Any, scale: int) -> list[Callable[[], np.ndarray]] | None:
    """Return a function for each mask, be they mmdet's structures, run-length codes or a tensor."""
    if masks is None:
        return None
    if isinstance(masks, list):
        return [partial(_decoded, code, scale) for code in masks]
    arrays = masks.to_ndarray() if hasattr(masks, "to_ndarray") else masks.cpu().numpy().astype(np.uint8)
    return [partial(enlarge, array, scale) for array in arrays]


def _decoded(code: Any, scale: int) -> np.ndarray:
    return enlarge(mask_api.decode(code), scale)
