"""COCO data sets and imperfect predictions for them."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import torch
from mmdet.registry import DATASETS
from mmdet.structures import DetDataSample
from mmengine.evaluator import Evaluator
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from convnext_dense.data.coco import category_names
from convnext_dense.data.shapes import write_shapes
from convnext_dense.detection import CocoDetectionMetric

PIPELINE = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="PackDetInputs"),
]
NUTS = Path(__file__).parents[3] / "shared" / "data" / "nuts_coco"


def build(root, ann_file="annotations/instances_train.json", pipeline=PIPELINE, **options):
    """Build a data set in the scope of detection configs."""
    config = dict(
        type="CocoInstances",
        data_root=str(root),
        ann_file=str(ann_file),
        data_prefix=dict(img="images/train/"),
        pipeline=pipeline,
        serialize_data=False,  # it collects garbage first, half a second
    )
    with DefaultScope.overwrite_default_scope("mmdet"):
        return DATASETS.build({**config, **options})


def shapes_with_crowds(root: Path, n_images: int) -> Path:
    """Write generated scenes, some objects crowds and two images empty; return the JSON's path."""
    write_shapes(root, n_train=1, n_val=n_images, size=128)
    path = root / "annotations/instances_val.json"
    data = json.loads(path.read_text())
    empty = [image["id"] for image in data["images"][:2]]
    data["annotations"] = [item for item in data["annotations"] if item["image_id"] not in empty]
    for annotation in data["annotations"][::7]:
        annotation["iscrowd"] = 1
    path.write_text(json.dumps(data))
    return path


def perturbed_predictions(ann_file: Path, classes: tuple[str, ...], seed: int = 0) -> list[dict]:
    """Return per image what a model might predict: moved, missed, doubled and confused objects, tied scores.

    Boxes are float32 (x1, y1, x2, y2), masks RLEs as the COCO API encodes them, labels indices of `classes`.
    """
    rng = np.random.default_rng(seed)
    truth = quietly(COCO, str(ann_file))
    labels = {category["id"]: classes.index(category["name"]) for category in truth.cats.values()}
    predictions = []
    for image_id, image in truth.imgs.items():
        boxes, masks, wanted = [], [], []
        for annotation in truth.imgToAnns[image_id]:
            for _ in range(rng.choice([0, 1, 1, 1, 2])):
                x, y, w, h = annotation["bbox"]
                box = np.array([x, y, x + w, y + h]) + rng.normal(0, 0.06 * max(w, h), 4)
                boxes.append([*np.minimum(box[:2], box[2:] - 1), *box[2:]])
                shift = rng.normal(0, 0.06 * max(w, h), 2).round().astype(int)
                mask = np.roll(truth.annToMask(annotation), shift, (0, 1))
                masks.append(coco_mask.encode(np.asfortranarray(mask)))
                other = rng.random() < 0.15
                wanted.append(rng.integers(len(classes)) if other else labels[annotation["category_id"]])
        predictions.append(
            {
                "img_id": image_id,
                "ori_shape": (image["height"], image["width"]),
                "bboxes": np.array(boxes, np.float32).reshape(-1, 4),
                "scores": rng.random(len(boxes)).round(1).astype(np.float32),
                "labels": np.array(wanted, np.int64),
                "masks": masks,
            }
        )
    return predictions


def reference_stats(
    ann_file: Path, results: str | list[dict], kind: str, images=None, category=None
) -> np.ndarray:
    """Return the twelve numbers of pycocotools for COCO results, in a file or as a list."""
    truth = quietly(COCO, str(ann_file))
    evaluation = COCOeval(truth, quietly(truth.loadRes, results), kind)
    if images is not None:
        evaluation.params.imgIds = images
    if category is not None:
        evaluation.params.catIds = [category]
    quietly(evaluation.evaluate)
    quietly(evaluation.accumulate)
    quietly(evaluation.summarize)
    return evaluation.stats


def quietly(function, *arguments):
    """Call a function of pycocotools, which prints."""
    with contextlib.redirect_stdout(io.StringIO()):
        return function(*arguments)


def samples_of(predictions, masks=True):
    """Return predictions as a model returns them."""
    samples = []
    for item in predictions:
        found = InstanceData(**{key: torch.from_numpy(item[key]) for key in ("bboxes", "scores", "labels")})
        if masks:
            found.masks = item["masks"]
        if "mask_scores" in item:
            found.mask_scores = torch.from_numpy(item["mask_scores"])
        samples.append(
            DetDataSample(
                metainfo={"img_id": item["img_id"], "ori_shape": item["ori_shape"]}, pred_instances=found
            )
        )
    return samples


def evaluate(ann_file, predictions, classes=None, size=None, **options):
    """Evaluate as mmengine's loops do, image by image; return the values and the metric."""
    options = {"metric": ["bbox", "segm"], "ann_file": str(ann_file), **options}
    metric = CocoDetectionMetric(**options)
    evaluator = Evaluator(metric)
    evaluator.dataset_meta = {"classes": classes or category_names(ann_file)}
    for sample in samples_of(predictions, masks="segm" in options["metric"]):
        evaluator.process([sample], None)
    return evaluator.evaluate(len(predictions) if size is None else size), metric
