"""Drawing objects in mmdet's structures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

from .instances import draw_instances


def draw_objects(image: np.ndarray, objects: Any, meta: Mapping[str, Any]) -> np.ndarray:
    """Return the image (H, W, 3) uint8 BGR with mmdet's instances drawn on it, predicted or true.

    Args:
        image: The image that the boxes belong to.
        objects: `InstanceData` with bboxes and labels, perhaps masks and scores.
        meta: `classes` and `palette` of the data set.
    """
    boxes = getattr(objects.bboxes, "tensor", objects.bboxes)  # mmdet wraps the truth's
    scores = objects.get("scores")
    return draw_instances(
        image,
        boxes.cpu().numpy(),
        objects.labels.cpu().numpy(),
        None if scores is None else scores.cpu().numpy(),
        _masks(objects.get("masks")),
        meta["classes"],
        meta["palette"],
    )


def _masks(masks: Any) -> list[Callable[[], np.ndarray]] | None:
    """Return a function for each mask, be they mmdet's structures, run-length codes or a tensor."""
    if masks is None:
        return None
    if isinstance(masks, list):
        return [partial(mask_api.decode, code) for code in masks]
    arrays = masks.to_ndarray() if hasattr(masks, "to_ndarray") else masks.cpu().numpy()
    return [partial(np.asarray, array) for array in arrays]
