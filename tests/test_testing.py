from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.runner import Runner
from pycocotools.coco import COCO as COCO_API

from convnext_dense.errors import UserError
from convnext_dense.testing import TOY_CROP_PX, TOY_DIMS, shrink
from convnext_dense.toy_data import IMAGES

from .configs.shipped import CONFIGS, build_model, scope

ADE20K = CONFIGS / "upernet_convnext_b_in22k.py"
CAMVID = CONFIGS / "custom/upernet_convnextv2_atto_camvid.py"


COCO = CONFIGS / "cascade_mask_rcnn_convnext_t.py"
PARTS = ("train_dataloader", "val_dataloader", "test_dataloader", "default_hooks", "model")


@pytest.fixture
def cfg() -> Config:
    return Config.fromfile(ADE20K)


@pytest.fixture
def detector() -> Config:
    return Config.fromfile(COCO)


def types(node: Any) -> list[str | None]:
    """What a part of a config is made of, in order."""
    if isinstance(node, dict):
        inner = [t for key in sorted(node) if key not in ("arch", "init_cfg") for t in types(node[key])]
        return [node.get("type"), *inner]
    return [t for item in node for t in types(item)] if isinstance(node, list | tuple) else []


def values(folder: Path) -> list[int]:
    return sorted({int(v) for path in folder.glob("*.png") for v in np.unique(cv2.imread(str(path), -1))})


def test_the_argument_is_left_as_it_is(cfg, tmp_path):
    before = cfg.pretty_text
    shrink(cfg, tmp_path)
    assert cfg.pretty_text == before


def test_the_structure_stays(cfg, tmp_path):
    toy = shrink(cfg, tmp_path)
    assert len(types(cfg.tta_pipeline)) == 1 + 1 + 6 + 2 + 1 + 1
    for key in (*PARTS, "tta_pipeline"):
        assert types(toy[key]) == types(cfg[key]), key
    assert toy.param_scheduler == cfg.param_scheduler
    assert toy.optim_wrapper.paramwise_cfg.decay_type == cfg.optim_wrapper.paramwise_cfg.decay_type
    assert toy.model.decode_head.num_classes == cfg.model.decode_head.num_classes


def test_it_is_small(cfg, tmp_path):
    toy = shrink(cfg, tmp_path)
    assert sum(p.numel() for p in build_model(toy).parameters()) < 200_000
    assert toy.model.data_preprocessor["size"] == (TOY_CROP_PX,) * 2
    assert toy.model.test_cfg == {"mode": "slide", "crop_size": (64, 64), "stride": (43, 43)}
    resize, crop = toy.train_dataloader.dataset.pipeline[2:4]
    assert resize.scale == (256, 64)
    assert crop.crop_size == (64, 64)
    assert toy.tta_pipeline[1].transforms[0][0].scale == (128, 32)
    assert toy.model.backbone.init_cfg is None
    assert toy.optim_wrapper.type == "OptimWrapper"
    assert toy.train_dataloader.num_workers == 0


@pytest.mark.parametrize(
    ("path", "expected"),
    [(ADE20K, {0, 1, 150}), (CAMVID, {0, 10, 11})],
    ids=["zero is ignored", "eleven is ignored"],
)
def test_the_data_holds_every_kind_of_label(path, expected, tmp_path):
    shrink(Config.fromfile(path), tmp_path)
    for split, count in IMAGES.items():
        assert len(list((tmp_path / "images" / split).glob("*.jpg"))) == count
        found = values(tmp_path / "labels" / split)
        assert expected <= set(found)
        assert max(found) == max(expected)


def test_the_data_is_the_same_each_time(cfg, tmp_path):
    for name in "ab":
        shrink(cfg, tmp_path / name)
    for path in (tmp_path / "a").rglob("*.*g"):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


def test_without_a_folder_it_makes_one(cfg, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    root = Path(shrink(cfg).train_dataloader.dataset.data_root)
    assert root.parent == tmp_path
    assert Path(shrink(cfg).train_dataloader.dataset.data_root) != root


@pytest.mark.parametrize(
    ("head", "channels"),
    [("decode_head", [96, 192, 384, 768]), ("auxiliary_head", 256), ("decode_head", [128, 256, 512])],
)
def test_wrong_channels_stay_wrong(cfg, tmp_path, head, channels):
    cfg.model[head].in_channels = channels
    toy = shrink(cfg, tmp_path)
    in_index = toy.model[head].in_index
    fitting = [TOY_DIMS[i] for i in in_index] if isinstance(in_index, list) else TOY_DIMS[in_index]
    assert toy.model[head].in_channels != fitting


def test_too_few_classes_stay_wrong(cfg, tmp_path):
    """The last class is in the data, so a head without it fails at the first step."""
    cfg.model.decode_head.num_classes = 149
    toy = shrink(cfg, tmp_path)
    with scope(toy):
        model = MODELS.build(toy.model)
        batch = next(iter(Runner.build_dataloader(toy.val_dataloader)))
        with pytest.raises(UserError, match="has the value 149, the head has 149 classes"):
            model.eval()(**model.data_preprocessor(batch, training=True), mode="loss")


def test_the_structure_of_a_detector_stays(detector, tmp_path):
    toy = shrink(detector, tmp_path)
    for key in PARTS:
        assert types(toy[key]) == types(detector[key]), key
    assert toy.param_scheduler == detector.param_scheduler
    assert [head.num_classes for head in toy.model.roi_head.bbox_head] == [80] * 3
    assert [step.assigner for step in toy.model.train_cfg.rcnn] == [
        step.assigner for step in detector.model.train_cfg.rcnn
    ]


def test_a_detector_is_small(detector, tmp_path):
    toy = shrink(detector, tmp_path)
    assert sum(p.numel() for p in build_model(toy).parameters()) < 300_000
    branches = toy.train_dataloader.dataset.pipeline[3].transforms
    assert branches[0][0].scales == [(107, side) for side in (38, 41, 44, 46, 49, 51, 54, 56, 59, 61, 64)]
    assert branches[1][1].crop_size == (31, 48)
    assert toy.test_dataloader.dataset.pipeline[1].scale == (107, 64)
    assert toy.model.train_cfg.rcnn[0].sampler.num == 16
    assert toy.optim_wrapper.paramwise_cfg.num_layers == 4


def test_coco_data_hold_every_kind_of_annotation(detector, tmp_path):
    shrink(detector, tmp_path)
    for split, count in IMAGES.items():
        coco = json.loads((tmp_path / "annotations" / f"{split}.json").read_text())
        assert [category["name"] for category in coco["categories"]] == list(detector.metainfo.classes)
        ids = [category["id"] for category in coco["categories"]]
        assert ids == sorted(set(ids)) and ids[-1] > len(ids), "ids have gaps"
        used = {annotation["category_id"] for annotation in coco["annotations"]}
        assert {ids[0], ids[-1]} <= used
        assert {type(annotation["segmentation"]) for annotation in coco["annotations"]} == {list, dict}
        assert len(coco["images"]) == count
        for record in coco["images"]:
            image = cv2.imread(str(tmp_path / "images" / split / record["file_name"]))
            assert image.shape[:2] == (record["height"], record["width"])
            own = [a for a in coco["annotations"] if a["image_id"] == record["id"]]
            assert sum(annotation["iscrowd"] for annotation in own) == 1


def test_masks_of_the_coco_data_lie_in_their_boxes(detector, tmp_path):
    shrink(detector, tmp_path)
    truth = COCO_API(str(tmp_path / "annotations/train.json"))
    for annotation in truth.anns.values():
        x, y, w, h = annotation["bbox"]
        mask = truth.annToMask(annotation)
        assert mask[y : y + h, x : x + w].all()
        assert mask.sum() == annotation["area"] == w * h


def test_a_metric_with_a_file_of_its_own_reads_the_toys(detector, tmp_path):
    detector.val_evaluator = {"type": "CocoMetric", "ann_file": "data/coco/annotations/val.json"}
    toy = shrink(detector, tmp_path)
    assert toy.val_evaluator.ann_file == str(tmp_path / "annotations/val.json")
    assert "ann_file" not in toy.test_evaluator


def test_classes_that_the_config_leaves_to_the_file(detector, tmp_path):
    for loader in (detector.train_dataloader, detector.val_dataloader, detector.test_dataloader):
        del loader.dataset["metainfo"]
    shrink(detector, tmp_path)
    coco = json.loads((tmp_path / "annotations/train.json").read_text())
    assert len(coco["categories"]) == 80


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [("neck", "in_channels", [128, 256, 512, 1024]), ("rpn_head", "in_channels", 128)],
)
def test_wrong_channels_of_a_detector_stay_wrong(detector, tmp_path, part, key, value):
    detector.model[part][key] = value
    model = build_model(shrink(detector, tmp_path))
    with pytest.raises(RuntimeError, match="channels"):
        model.rpn_head(model.extract_feat(torch.zeros(1, 3, 64, 64)))


def test_decay_layers_fit_the_toy_where_they_fitted_the_config(cfg, tmp_path):
    decay = cfg.optim_wrapper.paramwise_cfg
    assert shrink(cfg, tmp_path).optim_wrapper.paramwise_cfg.num_layers == 12, "by stage any number will do"
    decay.decay_type = "layer_wise"
    assert shrink(cfg, tmp_path).optim_wrapper.paramwise_cfg.num_layers == 4
    decay.num_layers = 6
    assert shrink(cfg, tmp_path).optim_wrapper.paramwise_cfg.num_layers == 6, "wrong, and still wrong"


def test_another_backbone_is_refused(cfg, tmp_path):
    cfg.model.backbone = {"type": "ResNet", "depth": 50}
    with pytest.raises(UserError, match="'ResNet'"):
        shrink(cfg, tmp_path)


def test_another_scope_is_refused(cfg, tmp_path):
    cfg.default_scope = "mmpose"
    with pytest.raises(UserError, match="mmpose"):
        shrink(cfg, tmp_path)
