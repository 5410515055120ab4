"""Mask R-CNN from scratch on 14 real photos: it can learn them."""

import json

import pytest

from convnext_dense.cli import main
from convnext_dense.data.split import split_coco
from tests.real.test_ade20k import ROOT


@pytest.mark.full
@pytest.mark.timeout(2400)
def test_a_small_convnext_learns_the_training_photos(nuts, tmp_path):
    train, val = split_coco(nuts / "trainval.json", 4, out_dir=tmp_path)
    files = {"train": train, "val": val, "test": train}
    overrides = [f"{split}_dataloader.dataset.ann_file={path}" for split, path in files.items()]
    overrides += [f"{split}_dataloader.dataset.data_root={nuts}" for split in files]
    config = str(ROOT / "configs/custom/mask_rcnn_convnext_atto_coco.py")
    run = str(tmp_path / "run")
    assert main(["train", config, "--work-dir", run, "--cfg-options", *overrides]) == 0
    checkpoint = str(tmp_path / "run/latest/last.pth")
    out = str(tmp_path / "test")
    assert main(["test", config, checkpoint, "--work-dir", out, "--cfg-options", *overrides]) == 0
    scores = json.loads((tmp_path / "test/metrics.json").read_text())
    assert scores["coco/bbox_mAP_50"] >= 0.8
