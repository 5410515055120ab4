"""The COCO scores of detections: twelve numbers, and the same by class.

Matching and counting are done by `faster-coco-eval`, whose numbers are those of `pycocotools`.

Source: Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014; https://cocodataset.org/#detection-eval.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from pycocotools import mask as coco_mask

IouType = Literal["bbox", "segm"]

#: The twelve numbers in the order of the COCO API's `stats`: AP (s, m, l: objects below 32² px, below 96² px,
#: and above), and AR at 1, 10 and 100 detections per image.
NAMES = (
    *("mAP", "mAP_50", "mAP_75", "mAP_s", "mAP_m", "mAP_l"),
    *("AR@1", "AR@10", "AR@100", "AR_s@100", "AR_m@100", "AR_l@100"),
)
#: What the COCO API says where there is no ground truth to score against.
UNDEFINED = -1.0
_MASKS = 255  #: that pycocotools measures at a time: it counts them in 8 bits
_TRUTH_KEYS = ("image_id", "category_id", "bbox", "area", "iscrowd", "segmentation")


@dataclass(frozen=True)
class CocoScores:
    """Scores of one kind of detections, each in [0, 1], or -1 where there is no such ground truth.

    Attributes:
        overall: The numbers of `NAMES`, means over the classes that have ground truth.
        by_class: For each class, the numbers of `NAMES` for it alone, in the order of the classes.
    """

    overall: dict[str, float]
    by_class: dict[str, dict[str, float]]


def evaluate_coco(
    images: Sequence[Mapping[str, Any]],
    truth: Iterable[Mapping[str, Any]],
    detections: Iterable[Mapping[str, Any]],
    categories: Mapping[str, int],
    iou_type: IouType,
) -> CocoScores:
    """Score detections against the ground truth of the given images.

    Args:
        images: COCO image records: `id`, `height`, `width`.
        truth: COCO annotations of these images. They are renumbered from 1 in their order: to the COCO API,
            an object with the id 0 is never found.
        detections: COCO results: `image_id`, `category_id`, `score`, and `bbox` (x, y, width, height in
            pixels) or, for `segm`, `segmentation` as compressed RLE, whose area decides on the object size.
        categories: Category id of each class, in the order that the result has.
        iou_type: Whether boxes or masks are matched.

    Returns:
        The scores. Without detections they are 0, and -1 where there is no ground truth either.
    """
    base = {
        "images": [{key: image[key] for key in ("id", "height", "width")} for image in images],
        "categories": [{"id": number, "name": name} for name, number in categories.items()],
    }
    # Copies, as the evaluation writes into what it is given.
    annotations = [
        {"iscrowd": 0, **{key: item[key] for key in _TRUTH_KEYS if key in item}, "id": number}
        for number, item in enumerate(truth, start=1)
    ]
    key = "bbox" if iou_type == "bbox" else "segmentation"
    found = [{name: item[name] for name in ("image_id", "category_id", "score", key)} for item in detections]

    coco_truth = COCO({**base, "annotations": annotations})
    if iou_type == "segm":
        coco_found = COCO({**base, "annotations": _measured(found)})
    else:
        coco_found = coco_truth.loadRes(found)
    evaluation = COCOeval_faster(coco_truth, coco_found, iou_type)
    evaluation.params.catIds = sorted(categories.values())
    evaluation.params.imgIds = [image["id"] for image in images]
    evaluation.evaluate()
    evaluation.accumulate()
    precision = np.asarray(evaluation.eval["precision"])  # (IoU thresholds, recalls, classes, sizes, limits)
    recall = np.asarray(evaluation.eval["recall"])  # (IoU thresholds, classes, sizes, limits)
    column = {number: i for i, number in enumerate(evaluation.params.catIds)}
    return CocoScores(
        overall=_summary(precision, recall),
        by_class={
            name: _summary(precision[:, :, [column[number]]], recall[:, [column[number]]])
            for name, number in categories.items()
        },
    )


def _measured(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return masks' detections with what `loadRes` adds one by one, in a third of all the time."""
    masks = [item["segmentation"] for item in found]
    areas = [area for i in range(0, len(masks), _MASKS) for area in coco_mask.area(masks[i : i + _MASKS])]
    boxes = coco_mask.toBbox(masks) if masks else ()
    return [
        {**item, "id": number, "iscrowd": 0, "area": int(area), "bbox": box.tolist()}
        for number, (item, area, box) in enumerate(zip(found, areas, boxes, strict=True), start=1)
    ]


def _summary(precision: np.ndarray, recall: np.ndarray) -> dict[str, float]:
    """Return the twelve numbers; the axes are those of the COCO API, 10 IoU thresholds from 0.50 to 0.95."""
    values = (
        *(precision[..., 0, -1], precision[0, ..., 0, -1], precision[5, ..., 0, -1]),
        *(precision[..., size, -1] for size in (1, 2, 3)),
        *(recall[..., 0, limit] for limit in (0, 1, 2)),
        *(recall[..., size, -1] for size in (1, 2, 3)),
    )
    defined = [value[value > UNDEFINED] for value in values]
    means = [float(np.mean(value)) if value.size else UNDEFINED for value in defined]
    return dict(zip(NAMES, means, strict=True))


def score_table(scores: Mapping[str, CocoScores], by_class: bool = False) -> str:
    """Return scores as a table of plain text, one row per kind of detection and, if asked for, per class."""
    header = ["", *NAMES]
    rows = [[kind, *map(_number, score.overall.values())] for kind, score in scores.items()]
    if by_class:
        for kind, score in scores.items():
            rows += [[f"{kind}  {name}", *map(_number, row.values())] for name, row in score.by_class.items()]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in [header, *rows]
    ]
    if any("-" in row[1:] for row in rows):
        lines.append("-: undefined, as there is no ground truth of this kind")
    return "\n".join(lines)


def _number(value: float) -> str:
    return "-" if value == UNDEFINED else f"{value:.3f}"
