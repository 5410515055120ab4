from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.runner import Runner

from convnext_dense.errors import UserError
from convnext_dense.testing import TOY_CROP_PX, TOY_DIMS, shrink
from convnext_dense.toy_data import IMAGES

from .configs.shipped import CONFIGS, build_model, scope

ADE20K = CONFIGS / "upernet_convnext_b_in22k.py"
CAMVID = CONFIGS / "custom/upernet_convnextv2_atto_camvid.py"


@pytest.fixture
def cfg() -> Config:
    return Config.fromfile(ADE20K)


def values(folder: Path) -> list[int]:
    return sorted({int(v) for path in folder.glob("*.png") for v in np.unique(cv2.imread(str(path), -1))})


def test_the_argument_is_left_as_it_is(cfg, tmp_path):
    before = cfg.pretty_text
    shrink(cfg, tmp_path)
    assert cfg.pretty_text == before


def test_the_structure_stays(cfg, tmp_path):
    toy = shrink(cfg, tmp_path)

    def types(node):
        if isinstance(node, dict):
            inner = [t for key in sorted(node) if key not in ("arch", "init_cfg") for t in types(node[key])]
            return [node.get("type"), *inner]
        return [t for item in node for t in types(item)] if isinstance(node, list | tuple) else []

    assert len(types(cfg.tta_pipeline)) == 1 + 1 + 6 + 2 + 1 + 1
    for key in (
        "train_dataloader",
        "val_dataloader",
        "test_dataloader",
        "tta_pipeline",
        "default_hooks",
        "model",
    ):
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
        with pytest.raises(IndexError, match="out of bounds"):
            model.eval()(**model.data_preprocessor(batch, training=True), mode="loss")


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
