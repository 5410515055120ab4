"""Three real ADE20K validation images with their label maps."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.evaluator import Evaluator

from convnext_dense.cli import main
from convnext_dense.engine.config import load_config

ROOT = Path(__file__).parents[2]

CONFIG = ROOT / "configs/upernet_convnext_b.py"
NAMES = [f"ADE_val_0000000{i}" for i in (1, 2, 3)]


def settings(root):
    """Return the overrides that train and validate on the sample, from scratch."""
    folders = "data_prefix.img_path=images/validation", "data_prefix.seg_map_path=annotations/validation"
    return [
        "model.backbone.init_cfg=None",
        *(
            f"{split}_dataloader.dataset.{item}"
            for split in ("train", "val")
            for item in (f"data_root={root}", *folders)
        ),
        *(
            f"{split}_dataloader.{item}"
            for split in ("train", "val")
            for item in ("num_workers=0", "persistent_workers=False")
        ),
        "train_cfg.max_iters=2",
        "train_cfg.val_interval=2",
        "default_hooks.checkpoint.interval=2",
    ]


def read_labels(root, name):
    """Return a label map with classes 0-149 and 255, read without the toolkit."""
    return cv2.imread(str(root / f"annotations/validation/{name}.png"), cv2.IMREAD_GRAYSCALE) - np.uint8(1)


def score(root, predictions):
    """Score label maps through the shipped config's data set, pipeline and metric."""
    import mmseg.datasets
    import mmseg.evaluation  # noqa: F401
    import torch
    from mmengine.registry import DefaultScope
    from mmengine.structures import PixelData
    from mmseg.registry import DATASETS, METRICS

    cfg = load_config(CONFIG, settings(root))
    with DefaultScope.overwrite_default_scope("mmseg"):
        dataset = DATASETS.build(cfg.val_dataloader.dataset)
        evaluator = Evaluator(METRICS.build(cfg.val_evaluator))
    evaluator.dataset_meta = dataset.metainfo
    for index in range(len(dataset)):
        sample = dataset[index]["data_samples"]
        name = sample.img_path.rsplit("/", 1)[-1].removesuffix(".jpg")
        sample.pred_sem_seg = PixelData(data=torch.from_numpy(predictions[name].astype(np.int64))[None])
        evaluator.process([sample], None)
    return evaluator.evaluate(len(dataset))


def test_the_labels_given_as_predictions_score_100(ade20k_sample):
    predictions = {name: read_labels(ade20k_sample, name) for name in NAMES}
    assert score(ade20k_sample, predictions)["mIoU"] == 100.0


def test_a_perturbed_prediction_scores_what_counting_by_hand_gives(ade20k_sample):
    """Every third row is called 'wall' (class 0); IoU is counted here pixel by pixel."""
    truths = {name: read_labels(ade20k_sample, name) for name in NAMES}
    predictions = {name: truth.copy() for name, truth in truths.items()}
    for prediction in predictions.values():
        prediction[::3] = 0
    truth = np.concatenate([t.ravel() for t in truths.values()])
    prediction = np.concatenate([p.ravel() for p in predictions.values()])
    prediction, truth = prediction[truth != 255], truth[truth != 255]
    ious = []
    for label in sorted(set(truth) | set(prediction)):
        both = np.sum((truth == label) & (prediction == label))
        either = np.sum((truth == label) | (prediction == label))
        ious.append(both / either)
    expected = round(100 * float(np.mean(ious)), 2)
    assert 40 < expected < 99, "a perturbation that matters"
    assert score(ade20k_sample, predictions)["mIoU"] == expected


@pytest.mark.full
def test_the_real_base_model_trains_and_evaluates_on_this_machine(ade20k_sample, tmp_path):
    """UperNet on ConvNeXt-B, 512x512 crops, two steps, then three images by sliding window."""
    arguments = ["train", str(CONFIG), "--work-dir", str(tmp_path), "--cfg-options"]
    assert main([*arguments, *settings(ade20k_sample)]) == 0
    metrics = json.loads((tmp_path / "latest/metrics.json").read_text())
    assert 0 <= metrics["mIoU"] < 5, "150 classes after two steps"
