"""The COCO metric: the numbers of pycocotools, whatever the order of classes and the number of processes."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from convnext_dense.data.coco import category_names
from convnext_dense.detection import CocoDetectionMetric
from convnext_dense.errors import UserError
from convnext_dense.evaluation.coco import NAMES

from .coco_samples import (
    NUTS,
    evaluate,
    perturbed_predictions,
    quietly,
    reference_stats,
    samples_of,
    shapes_with_crowds,
)

EXACT = 1e-12


@pytest.fixture(scope="module", params=["shapes", "nuts"])
def ann_file(request, tmp_path_factory):
    if request.param == "shapes":
        return shapes_with_crowds(tmp_path_factory.mktemp("shapes") / "data", 24)
    if not NUTS.is_dir():
        pytest.skip(f"needs the real images of {NUTS}, which are not here")
    return NUTS / "trainval.json"


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    return shapes_with_crowds(tmp_path_factory.mktemp("seven") / "data", 7)


def test_every_number_is_that_of_pycocotools(ann_file, tmp_path):
    predictions = perturbed_predictions(ann_file, category_names(ann_file))
    values, metric = evaluate(ann_file, predictions, classwise=True, outfile_prefix=str(tmp_path / "out/r"))
    ids = {category["name"]: number for number, category in quietly(COCO, str(ann_file)).cats.items()}
    for kind in ("bbox", "segm"):
        results = str(tmp_path / f"out/r.{kind}.json")
        expected = reference_stats(ann_file, results, kind)
        assert 0.1 < expected[0] < 0.9
        found = [values[f"coco/{kind}_{name}"] for name in NAMES]
        np.testing.assert_allclose(found, expected, rtol=0, atol=EXACT)
        for name, scores in metric.scores[kind].by_class.items():
            expected = reference_stats(ann_file, results, kind, category=ids[name])
            np.testing.assert_allclose(list(scores.values()), expected, rtol=0, atol=EXACT, err_msg=name)
            assert values[f"coco/{kind}_mAP/{name}"] == pytest.approx(expected[0], abs=EXACT)
            assert values[f"coco/{kind}_mAP_50/{name}"] == pytest.approx(expected[1], abs=EXACT)


def test_results_have_the_files_own_category_ids_and_the_boxes_as_predicted(shapes, tmp_path):
    data = json.loads(shapes.read_text())
    renumber = {category["id"]: 1000 - 7 * category["id"] for category in data["categories"]}
    for record in data["categories"]:
        record["id"] = renumber[record["id"]]
    for record in data["annotations"]:
        record["category_id"] = renumber[record["category_id"]]
    path = tmp_path / "renumbered.json"
    path.write_text(json.dumps(data))
    classes = tuple(category["name"] for category in data["categories"])
    predictions = perturbed_predictions(path, classes)
    values, _ = evaluate(path, predictions, classes, outfile_prefix=str(tmp_path / "r"))
    results = json.loads((tmp_path / "r.bbox.json").read_text())
    boxes = np.concatenate([item["bboxes"] for item in predictions]).astype(np.float64)
    np.testing.assert_allclose(
        [r["bbox"] for r in results], np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]]), atol=EXACT
    )
    labels = np.concatenate([item["labels"] for item in predictions])
    assert [r["category_id"] for r in results] == [renumber[i + 1] for i in labels]
    before, _ = evaluate(shapes, predictions, classes)
    assert values == pytest.approx(before, abs=EXACT)


def test_the_order_of_the_classes_changes_nothing_but_the_labels(ann_file):
    classes = category_names(ann_file)
    permuted = classes[1:] + classes[:1]
    predictions = perturbed_predictions(ann_file, classes)
    before = evaluate(ann_file, predictions, classes)[1].scores
    for item in predictions:
        item["labels"] = np.array([permuted.index(classes[i]) for i in item["labels"]], np.int64)
    after = evaluate(ann_file, predictions, permuted)[1].scores
    for kind in ("bbox", "segm"):
        assert list(after[kind].by_class) == list(permuted)
        assert after[kind].by_class == before[kind].by_class


def test_a_subset_of_the_classes_is_scored_alone(shapes):
    classes = category_names(shapes)
    predictions = perturbed_predictions(shapes, classes)
    whole = evaluate(shapes, predictions)[1].scores["bbox"]
    subset = (classes[3], classes[1])
    for item in predictions:
        keep = np.isin(item["labels"], [3, 1])
        item["masks"] = [mask for mask, kept in zip(item["masks"], keep, strict=True) if kept]
        for key in ("bboxes", "scores", "labels"):
            item[key] = item[key][keep]
        item["labels"] = np.where(item["labels"] == 3, 0, 1)
    part = evaluate(shapes, predictions, subset)[1].scores["bbox"]
    for name in subset:
        assert part.by_class[name] == whole.by_class[name]


def test_masks_as_tensors_and_as_run_lengths_give_the_same(shapes):
    predictions = perturbed_predictions(shapes, category_names(shapes))
    coded, _ = evaluate(shapes, predictions)
    for item in predictions:
        arrays = [coco_mask.decode(mask).astype(bool) for mask in item["masks"]]
        item["masks"] = torch.from_numpy(np.stack(arrays)) if arrays else torch.zeros(0, *item["ori_shape"])
    metric = CocoDetectionMetric(str(shapes), ["bbox", "segm"])
    metric.dataset_meta = {"classes": category_names(shapes)}
    for sample in samples_of(predictions):
        metric.process(None, [sample.to_dict()])
    kept = metric.results[-1]["masks"]
    assert kept and all(set(mask) == {"size", "counts"} for mask in kept), "nothing larger than RLE is kept"
    assert metric.evaluate(7) == coded


def test_scores_of_masks_may_differ_from_those_of_boxes(shapes):
    """As in Mask Scoring R-CNN."""
    predictions = perturbed_predictions(shapes, category_names(shapes))
    plain, _ = evaluate(shapes, predictions)
    scored, _ = evaluate(shapes, [{**p, "mask_scores": 1 - p["scores"]} for p in predictions])
    inverted, _ = evaluate(shapes, [{**p, "scores": 1 - p["scores"]} for p in predictions])
    for name in NAMES:
        assert scored[f"coco/bbox_{name}"] == plain[f"coco/bbox_{name}"]
        assert scored[f"coco/segm_{name}"] == inverted[f"coco/segm_{name}"]
    assert scored["coco/segm_mAP"] != plain["coco/segm_mAP"]


def empty(predictions):
    return [
        {**item, "masks": [], **{key: item[key][:0] for key in ("bboxes", "scores", "labels")}}
        for item in predictions
    ]


def test_no_prediction_scores_zero(shapes, tmp_path):
    predictions = empty(perturbed_predictions(shapes, category_names(shapes)))
    values, _ = evaluate(shapes, predictions, classwise=True, outfile_prefix=str(tmp_path / "r"))
    # The scenes have small and medium objects, none of 96² px: undefined.
    undefined = {name for name, value in values.items() if value == -1}
    assert undefined == {f"coco/{k}_{n}" for k in ("bbox", "segm") for n in ("mAP_l", "AR_l@100")}
    assert all(value == 0 for name, value in values.items() if name not in undefined)
    assert json.loads((tmp_path / "r.segm.json").read_text()) == []


def without_truth(ann_file, folder):
    data = json.loads(ann_file.read_text())
    data["annotations"] = []
    path = folder / "nothing.json"
    path.write_text(json.dumps(data))
    return path


def test_no_ground_truth_is_undefined_as_for_pycocotools(shapes, tmp_path):
    predictions = perturbed_predictions(shapes, category_names(shapes))
    path = without_truth(shapes, tmp_path)
    for guess in (predictions, empty(predictions)):
        values, _ = evaluate(path, guess)
        assert set(values.values()) == {-1.0}
        assert len(values) == 24
    values, _ = evaluate(path, predictions, outfile_prefix=str(tmp_path / "r"))
    assert set(reference_stats(path, str(tmp_path / "r.bbox.json"), "bbox")) == {-1.0}


@pytest.mark.parametrize("save_best", ["coco/segm_mAP", "coco/bbox_mAP_l", "auto"])
def test_save_best_finds_a_finite_value_in_every_case(shapes, tmp_path, save_best):
    """What mmengine's CheckpointHook does with the values of an evaluation."""
    from mmengine.hooks import CheckpointHook

    predictions = perturbed_predictions(shapes, category_names(shapes))
    nothing = without_truth(shapes, tmp_path)
    for path, guess in ((shapes, empty(predictions)), (nothing, predictions), (nothing, empty(predictions))):
        values, _ = evaluate(path, guess)
        hook = CheckpointHook(save_best=save_best)
        if save_best == "auto":
            hook._init_rule(hook.rules, list(values)[:1])
        (key,) = hook.key_indicators
        assert key in values
        assert hook.rules == ["greater"]
        assert math.isfinite(values[key])
        assert hook.is_better_than[key](values[key], -math.inf)


def test_the_table_is_short_and_says_what_is_undefined(shapes, caplog):
    import logging

    from mmengine.logging import MMLogger

    predictions = perturbed_predictions(shapes, category_names(shapes))
    logger = MMLogger.get_instance("table")
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.INFO):
        evaluate(shapes, predictions, classwise=True)
    (table,) = [r.getMessage() for r in caplog.records if "AR@100" in r.getMessage()]
    rows = [line.split() for line in table.strip().splitlines()]
    assert rows[0] == list(NAMES)
    assert [row[0] for row in rows[1:3]] == ["bbox", "segm"]
    assert len(rows) == 1 + 2 + 2 * len(category_names(shapes)) + 1
    assert "undefined" in table
    assert max(map(len, table.splitlines())) < 130


def test_images_that_were_not_evaluated_take_no_part(shapes):
    predictions = perturbed_predictions(shapes, category_names(shapes))
    values, _ = evaluate(shapes, predictions[2:5])
    results = [
        {"image_id": item["img_id"], "category_id": int(label) + 1, "score": float(score)}
        | {"bbox": [*box[:2].tolist(), *(box[2:].astype(float) - box[:2]).tolist()]}
        for item in predictions[2:5]
        for label, score, box in zip(item["labels"], item["scores"], item["bboxes"], strict=True)
    ]
    expected = reference_stats(shapes, results, "bbox", images=[item["img_id"] for item in predictions[2:5]])
    found = [values[f"coco/bbox_{name}"] for name in NAMES]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_annotations_numbered_from_zero_score_as_numbered_from_one(shapes, tmp_path):
    """To the COCO API an object with the id 0 is never found, which lowers its AP without a word."""
    data = json.loads(shapes.read_text())
    number = len(data["annotations"])
    for position, annotation in enumerate(data["annotations"]):
        annotation["id"] = (position - 1) % number  # the first one is a crowd, which is not matched anyway
    path = tmp_path / "from_zero.json"
    path.write_text(json.dumps(data))
    predictions = perturbed_predictions(shapes, category_names(shapes))
    assert evaluate(path, predictions)[0] == evaluate(shapes, predictions)[0]


def mistakes(shapes, tmp_path):
    predictions = perturbed_predictions(shapes, category_names(shapes))
    foreign = [{**predictions[0], "img_id": 4711}]
    detection = json.loads(shapes.read_text())
    for annotation in detection["annotations"]:
        del annotation["segmentation"]
    boxes_only = tmp_path / "boxes.json"
    boxes_only.write_text(json.dumps(detection))
    return {
        "another file": (lambda: evaluate(shapes, foreign), "not in the annotation file, first image 4711"),
        "too many classes": (
            lambda: evaluate(shapes, predictions, ("disc",)),
            "predicts label 8, the data set has 1 classes",
        ),
        "misspelt class": (lambda: evaluate(shapes, predictions, ("disk",)), "did you mean 'disc'"),
        "no masks in the truth": (lambda: evaluate(boxes_only, predictions), "it has no segmentation"),
        "no masks predicted": (
            lambda: CocoDetectionMetric(str(shapes), "segm").process(
                None, [s.to_dict() for s in samples_of(predictions, masks=False)]
            ),
            "the model predicts no masks",
        ),
        "no such file": (lambda: CocoDetectionMetric("nowhere.json"), "does not exist"),
        "no such metric": (lambda: CocoDetectionMetric(metric="mask"), "metric is 'mask'"),
        "no file at all": (lambda: CocoDetectionMetric().evaluate(0), "no ground truth"),
        "not writable": (
            lambda: evaluate(shapes, predictions, outfile_prefix=str(boxes_only / "r")),
            "cannot be written",
        ),
    }


MISTAKES = (
    *("another file", "too many classes", "misspelt class", "no masks in the truth", "no masks predicted"),
    *("no such file", "no such metric", "no file at all", "not writable"),
)


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_named(shapes, tmp_path, name):
    call, message = mistakes(shapes, tmp_path)[name]
    with pytest.raises(UserError, match=message):
        call()
