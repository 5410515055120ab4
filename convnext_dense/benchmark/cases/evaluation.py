"""The COCO metric against pycocotools, on detections as many as a detector gives."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor

from ...evaluation.coco import NAMES, IouType, evaluate_coco
from ..peers import PYCOCOTOOLS
from ..setting import Setting
from ..timing import EAGER, OURS, Side
from .case import Case, Comparison, compare_sides

CLASSES, OBJECTS, DETECTIONS = 80, 7, 100  #: as COCO has: 7 objects an image, 100 detections at most
_SIZE = (480, 640)
_CORNERS = 16


@dataclass(frozen=True)
class _Scene:
    images: list[dict[str, Any]]
    truth: list[dict[str, Any]]
    detections: list[dict[str, Any]]
    categories: dict[str, int]


def compare_evaluation(setting: Setting) -> list[Comparison]:
    """Score boxes, then masks, with `evaluate_coco`, which gives each class's scores too, and `COCOeval`."""
    scene = _make_scene(setting.number)
    kinds: tuple[IouType, ...] = ("bbox", "segm")
    comparisons = []
    for kind in kinds:
        sides = [Side(OURS, EAGER, partial(_ours, scene, kind))]
        if setting.wants(PYCOCOTOOLS):
            sides.append(Side(PYCOCOTOOLS, EAGER, partial(_theirs, scene, kind)))
        title = f"COCO metric, {kind}, {setting.number:,} images"
        comparisons.append(compare_sides(title, setting, sides, tolerance=1e-9, flops=False))
    return comparisons


def _ours(scene: _Scene, kind: IouType) -> list[Tensor]:
    scores = evaluate_coco(scene.images, scene.truth, scene.detections, scene.categories, kind)
    return [torch.tensor([scores.overall[name] for name in NAMES], dtype=torch.float64)]


def _theirs(scene: _Scene, kind: IouType) -> list[Tensor]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with redirect_stdout(io.StringIO()):
        truth = COCO()
        categories = [{"id": number, "name": name} for name, number in scene.categories.items()]
        truth.dataset = {
            "images": scene.images,
            # it writes into what it is given
            "annotations": [dict(item) for item in scene.truth],
            "categories": categories,
        }
        truth.createIndex()
        key = "bbox" if kind == "bbox" else "segmentation"
        kept = ("image_id", "category_id", "score", key)
        found = truth.loadRes([{name: item[name] for name in kept} for item in scene.detections])
        evaluation = COCOeval(truth, found, kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [torch.from_numpy(np.asarray(evaluation.stats))]


def _make_scene(images: int) -> _Scene:
    """Draw objects, and detections of which half lie near an object."""
    rng = np.random.default_rng(0)
    height, width = _SIZE
    scene = _Scene(
        [{"id": number, "height": height, "width": width} for number in range(1, images + 1)],
        [],
        [],
        {f"class {number}": number for number in range(1, CLASSES + 1)},
    )
    for image in scene.images:
        boxes, labels = _draw_boxes(rng, OBJECTS), rng.integers(1, CLASSES + 1, OBJECTS)
        for box, label in zip(boxes, labels, strict=True):
            outline = _outline(box)
            scene.truth.append(
                {
                    **_record(image, label, box),
                    "id": len(scene.truth) + 1,
                    "iscrowd": 0,
                    "area": float(np.pi / 4 * box[2] * box[3]),
                    "segmentation": [outline.tolist()],
                }
            )
        near = rng.integers(OBJECTS, size=DETECTIONS // 2)
        moved = boxes[near] + rng.normal(0, 0.15, (len(near), 4)) * boxes[near][:, [2, 3, 2, 3]]
        moved[:, 2:] = moved[:, 2:].clip(2)
        found = np.concatenate((moved, _draw_boxes(rng, DETECTIONS - len(near))))
        classes = np.concatenate((labels[near], rng.integers(1, CLASSES + 1, DETECTIONS - len(near))))
        codes = coco_mask.frPyObjects([_outline(box).tolist() for box in found], height, width)
        for box, label, code, score in zip(found, classes, codes, rng.random(DETECTIONS), strict=True):
            scene.detections.append(
                {**_record(image, label, box), "segmentation": code, "score": float(score)}
            )
    return scene


def _record(image: dict[str, Any], label: int, box: np.ndarray) -> dict[str, Any]:
    return {"image_id": image["id"], "category_id": int(label), "bbox": box.tolist()}


def _draw_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return (count, 4) x, y, width, height in px, of all sizes that COCO tells apart."""
    sides = np.exp(rng.uniform(np.log(10), np.log(250), (count, 2)))
    corner = rng.random((count, 2)) * (np.array(_SIZE[::-1]) - sides)
    return np.concatenate((corner, sides), 1)


def _outline(box: np.ndarray) -> np.ndarray:
    """Return the polygon (2 · corners,) of the ellipse in a box."""
    angle = np.arange(_CORNERS) * 2 * np.pi / _CORNERS
    around = np.stack((np.cos(angle), np.sin(angle)), 1)
    return (box[:2] + box[2:] * (1 + around) / 2).reshape(-1)


EVAL = Case(compare_evaluation, "the COCO metric of boxes and masks", {}, ("number",))
