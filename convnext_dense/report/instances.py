"""Pictures of detected objects: masks in the classes' colours, boxes, names and scores over the image.

Shapes: image (H, W, 3) uint8 BGR, boxes (N, 4) x1 y1 x2 y2 px, masks (H, W).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_OPACITY = 0.45
#: Line width and text are drawn for images whose shorter side is this, and grow with it.
_BASE_SIDE_PX = 600


def draw_instances(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: np.ndarray,
    scores: np.ndarray | None,
    masks: Sequence[Callable[[], np.ndarray]] | None,
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
) -> np.ndarray:
    """Return the image with objects drawn on it, large ones first so that small ones stay visible.

    Args:
        image: (H, W, 3) uint8 BGR; left as it is.
        boxes: (N, 4) px.
        labels: (N,) indices into `classes`.
        scores: (N,) 0 … 1; None for the truth, whose names stand alone.
        masks: For each object a function that returns its mask, (H, W), zero outside: one at a time is held.
        classes: Class names.
        palette: RGB colour of each class.
    """
    picture = image.copy()
    width = max(1, round(min(image.shape[:2]) / _BASE_SIDE_PX * 2))
    sides = boxes[:, 2:] - boxes[:, :2]
    order = np.argsort(-sides.prod(1), kind="stable")
    colors = [tuple(int(c) for c in palette[label][::-1]) for label in labels]
    for index in order:
        if masks is not None:
            _tint(picture, masks[index](), colors[index], width)
    for index in order:
        x1, y1, x2, y2 = _inside(boxes[index], picture)
        cv2.rectangle(picture, (x1, y1), (x2, y2), colors[index], width)
    # Names last, the most certain on top.
    for index in order if scores is None else np.argsort(scores, kind="stable"):
        text = classes[labels[index]] + ("" if scores is None else f" {scores[index]:.2f}")
        _write_label(picture, text, _inside(boxes[index], picture), colors[index])
    return picture


def draw_coco(
    image: np.ndarray,
    annotations: Sequence[Mapping[str, Any]],
    names: Mapping[int, str],
    colors: Mapping[int, Sequence[int]],
) -> np.ndarray:
    """Return the image with the boxes and polygons of COCO records; what cannot be drawn is left out.

    Args:
        image: (H, W, 3) uint8 BGR; left as it is.
        annotations: Records as in the file, faulty ones among them.
        names: Class name of each category id.
        colors: RGB colour of each category id.
    """
    picture = image.copy()
    width = max(1, round(min(image.shape[:2]) / _BASE_SIDE_PX * 2))
    for annotation in annotations:
        polygons = annotation.get("segmentation")
        category: Any = annotation.get("category_id")
        try:
            x, y, w, h = map(float, annotation["bbox"])
            corners = np.array([x, y, x + w, y + h])
            polygons = polygons if isinstance(polygons, list) else []
            outlines = [np.array(polygon, float).reshape(-1, 2) for polygon in polygons]
        except (KeyError, TypeError, ValueError):
            continue
        if category not in names or not np.isfinite(corners).all():
            continue
        color = tuple(int(c) for c in colors[category][::-1])
        inside = _inside(corners, picture)
        cv2.polylines(
            picture, [o.round().astype(np.int32) for o in outlines], True, color, width, cv2.LINE_AA
        )
        cv2.rectangle(picture, inside[:2], inside[2:], color, width)
        _write_label(picture, names[category], inside, color)
    return picture


def _inside(box: np.ndarray, picture: np.ndarray) -> tuple[int, int, int, int]:
    height, width = picture.shape[:2]
    x1, y1, x2, y2 = np.clip(box.round(), 0, [width - 1, height - 1] * 2).astype(int).tolist()
    return x1, y1, x2, y2


def _tint(picture: np.ndarray, mask: np.ndarray, color: tuple[int, ...], width: int) -> None:
    """Mix a colour into the masked pixels and draw the mask's outline, in place and in the mask's window."""
    x, y, w, h = cv2.boundingRect(mask)
    window, inside = picture[y : y + h, x : x + w], mask[y : y + h, x : x + w] != 0
    if not inside.any():
        return
    mixed = window[inside] * (1 - _OPACITY) + np.array(color) * _OPACITY
    window[inside] = mixed.round().astype(np.uint8)
    outlines, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(window, outlines, -1, color, max(1, width // 2), cv2.LINE_AA)


def _write_label(
    picture: np.ndarray, text: str, box: tuple[int, int, int, int], color: tuple[int, ...]
) -> None:
    """Write text on a field of the class's colour above the box, or in it at the image's upper edge."""
    height, width = picture.shape[:2]
    scale = float(np.clip(min(height, width) / _BASE_SIDE_PX * 0.6, 0.35, 2.0))
    thickness = max(1, round(scale * 1.4))
    (text_width, text_height), descent = cv2.getTextSize(text, _FONT, scale, thickness)
    pad = max(2, round(4 * scale))
    field_width, field_height = text_width + 2 * pad, text_height + descent + 2 * pad
    left = max(0, min(box[0], width - field_width))
    top = box[1] - field_height if box[1] >= field_height else min(box[1], max(0, height - field_height))
    cv2.rectangle(picture, (left, top), (left + field_width, top + field_height), color, cv2.FILLED)
    blue, green, red = color
    is_light = 0.114 * blue + 0.587 * green + 0.299 * red > 140  # luma, ITU-R BT.601
    ink = (0, 0, 0) if is_light else (255, 255, 255)
    baseline = (left + pad, top + pad + text_height)
    cv2.putText(picture, text, baseline, _FONT, scale, ink, thickness, cv2.LINE_AA)
