"""The COCO metric, in mmengine's evaluation loops."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import broadcast_object_list, gather_object, is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmengine.registry import METRICS
from pycocotools import mask as coco_mask

from ..data.coco import CocoFile, read_coco
from ..errors import UserError
from ..evaluation.coco import UNDEFINED, CocoScores, IouType, evaluate_coco, score_table
from ..files import write_whole


@METRICS.register_module()
class CocoDetectionMetric(BaseMetric):
    """COCO's AP and AR of boxes and masks, by `faster-coco-eval`; the numbers of `pycocotools`.

    The names are mmdet's (`coco/bbox_mAP`, `coco/segm_mAP_50`, …), with `coco/bbox_AR@1`, `@10`, `@100`,
    `AR_s@100`, … for the recalls; values are in [0, 1] and not rounded. A class or an object size without
    ground truth takes no part in a mean; where nothing is left the value is -1 (shown as `-`: undefined), and
    0 where there is ground truth but no prediction. So every value is finite and fit for `save_best`.

    Every image counts once however the processes share them, and the result does not depend on their number.
    Of a batch nothing is kept but boxes, scores, labels and run lengths.

    Args:
        ann_file: Ground truth; by default the annotation file of the data set, where it is a
            `CocoInstances`. It is scored against as it stands, as the COCO API does. Images of it that were
            not evaluated take no part, which a notice says.
        metric: `bbox`, `segm`, or both.
        classwise: Report each class, too: rows of the table, and values such as `coco/bbox_mAP/cat`
            (those that are defined).
        outfile_prefix: Write `<prefix>.bbox.json` and `<prefix>.segm.json`, COCO results with the file's own
            category ids, as `pycocotools`' `loadRes` reads them.
        prefix: As of mmengine's `BaseMetric`: the first part of the names.

    Raises:
        UserError: The ground truth is missing or faulty, or is not that of the evaluated images.

    Attributes:
        scores: The last scores by kind (`bbox`, `segm`), those of each class included; main process only.
    """

    default_prefix = "coco"

    def __init__(
        self,
        ann_file: str | None = None,
        metric: IouType | Sequence[IouType] = "bbox",
        classwise: bool = False,
        outfile_prefix: str | None = None,
        prefix: str | None = None,
    ) -> None:
        super().__init__(prefix=prefix)
        self.kinds: tuple[IouType, ...] = (metric,) if isinstance(metric, str) else tuple(metric)
        if not self.kinds or set(self.kinds) - {"bbox", "segm"}:
            raise UserError(
                f"metric is {metric!r}", "the evaluator", "choose 'bbox', 'segm' or both in a list"
            )
        if ann_file is not None and not Path(ann_file).is_file():
            raise UserError(
                "the annotation file does not exist",
                f"{Path(ann_file).absolute()} (ann_file of the evaluator)",
            )
        self.ann_file = ann_file
        self.classwise = classwise
        self.outfile_prefix = outfile_prefix
        self.scores: dict[str, CocoScores] = {}
        self._truth: CocoFile | None = None

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Take the predictions of a batch.

        Args:
            data_batch: Not used.
            data_samples: Per image `img_id` and `pred_instances`: `bboxes` (n, 4), x1, y1, x2, y2 in pixels
                of the original image; `scores` (n,); `labels` (n,); for `segm` `masks`, (n, height, width)
                bool or a list of n RLEs; optionally `mask_scores` (n,).
        """
        for sample in data_samples:
            predicted = sample["pred_instances"]
            result = {
                "img_id": sample["img_id"],
                **{key: _array(predicted[key]) for key in ("bboxes", "scores", "labels")},
            }
            if "segm" in self.kinds:
                if "masks" not in predicted:
                    raise UserError(
                        "the model predicts no masks",
                        "metric of the evaluator",
                        "set metric='bbox', or evaluate a model with a mask head",
                    )
                result["masks"] = _run_lengths(predicted["masks"])
                result["mask_scores"] = _array(predicted.get("mask_scores", predicted["scores"]))
            self.results.append(result)

    def evaluate(self, size: int) -> dict[str, float]:
        """Gather the results of all processes and score them on the main one.

        Args:
            size: Number of images of the data set. The images are counted by their ids instead, so that it
                does not matter how a sampler shares them out, or repeats some to make shares equal.

        Returns:
            The scores, on every process.
        """
        gathered = gather_object(self.results)
        scores: list[Any] = [None]
        if is_main_process():
            values = self.compute_metrics([result for part in gathered for result in part])
            scores = [{f"{self.prefix}/{name}": value for name, value in values.items()}]
        broadcast_object_list(scores)
        self.results.clear()
        return scores[0]

    def compute_metrics(self, results: list[dict[str, Any]]) -> dict[str, float]:
        """Score the results of all processes; an image that is there twice counts once."""
        truth = self._ground_truth()
        by_image: dict[int, dict[str, Any]] = {}
        for result in results:
            by_image.setdefault(result["img_id"], result)
        if unknown := [number for number in by_image if number not in truth.images]:
            raise UserError(
                f"{len(unknown)} of {len(by_image)} evaluated images are not in the annotation file, first "
                f"image {unknown[0]!r}",
                str(truth.path),
                "name the data set's own annotation file as ann_file of the evaluator",
            )
        classes = len(truth.classes)
        if (highest := max((int(r["labels"].max(initial=-1)) for r in results), default=-1)) >= classes:
            raise UserError(
                f"the model predicts label {highest}, the data set has {classes} classes",
                str(truth.path),
                f"set num_classes={classes} in every head of the model",
            )
        # In the file's order, so that equal scores are ranked alike whichever process had them.
        images = [image for number, image in truth.images.items() if number in by_image]
        if len(images) < len(truth.images):
            text = f"{len(images):,} of the {len(truth.images):,} images of {truth.path.name} were evaluated"
            print_log(f"{text}; the scores are of these alone", logger="current")
        annotations = [item for image in images for item in truth.annotations[image["id"]]]
        categories = dict(zip(truth.classes, truth.category_ids, strict=True))
        self.scores = {}
        for kind in self.kinds:
            detections = [
                item
                for image in images
                for item in _detections(by_image[image["id"]], kind, truth.category_ids)
            ]
            if self.outfile_prefix is not None:
                _write(Path(f"{self.outfile_prefix}.{kind}.json"), detections)
            self.scores[kind] = evaluate_coco(images, annotations, detections, categories, kind)
        print_log("\n" + score_table(self.scores, self.classwise), logger="current")
        return self._values()

    def _values(self) -> dict[str, float]:
        values = {
            f"{kind}_{name}": value
            for kind, score in self.scores.items()
            for name, value in score.overall.items()
        }
        if self.classwise:
            for kind, score in self.scores.items():
                for name, numbers in score.by_class.items():
                    defined = {key: numbers[key] for key in ("mAP", "mAP_50") if numbers[key] != UNDEFINED}
                    values.update({f"{kind}_{key}/{name}": value for key, value in defined.items()})
        return values

    def _ground_truth(self) -> CocoFile:
        meta = self.dataset_meta or {}
        if self._truth is None:
            path = self.ann_file or meta.get("ann_file")
            if path is None:
                raise UserError(
                    "the metric has no ground truth",
                    "val_evaluator or test_evaluator",
                    "set its ann_file, or use a data set of type CocoInstances",
                )
            masks = "required" if "segm" in self.kinds else "optional"
            self._truth = read_coco(path, meta.get("classes"), masks=masks, faulty="keep")  # type: ignore[arg-type]
        return self._truth


def _array(values: Any) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


def _run_lengths(masks: Any) -> list[dict[str, Any]]:
    """Return masks as compressed RLE; those that are it already, unchanged."""
    if isinstance(masks, (list, tuple)) and all(isinstance(mask, Mapping) for mask in masks):
        return list(masks)
    return [coco_mask.encode(np.asfortranarray(mask, np.uint8)) for mask in _array(masks)]


def _detections(
    result: Mapping[str, Any], kind: IouType, category_ids: Sequence[int]
) -> list[dict[str, Any]]:
    """Return the detections of an image as COCO results.

    Those of masks have no box: with one, the COCO API would take the box's area for the object's.
    """
    boxes = result["bboxes"].astype(np.float64).reshape(-1, 4)
    boxes[:, 2:] -= boxes[:, :2]
    scores = result["scores" if kind == "bbox" else "mask_scores"].tolist()
    found = []
    for i, (label, score) in enumerate(zip(result["labels"].tolist(), scores, strict=True)):
        item = {"image_id": result["img_id"], "category_id": category_ids[label], "score": score}
        if kind == "bbox":
            item["bbox"] = boxes[i].tolist()
        else:
            size, counts = result["masks"][i]["size"], result["masks"][i]["counts"]
            text = counts.decode("ascii") if isinstance(counts, bytes) else counts
            item["segmentation"] = {"size": list(map(int, size)), "counts": text}
        found.append(item)
    return found


def _write(path: Path, detections: list[dict[str, Any]]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(detections).encode())
    except OSError as error:
        raise UserError(f"the results cannot be written: {error.strerror}", str(path)) from error
    print_log(f"{len(detections):,} results written to {path}", logger="current")
