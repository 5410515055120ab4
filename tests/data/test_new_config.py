"""Configs written for a data set: short, on the shipped bases, and they train."""

from __future__ import annotations

import ast
import json
import math
from pathlib import Path

import pytest

from convnext_dense import cli
from convnext_dense.data.recipe import SIZES, backbone_settings, fit_recipe
from convnext_dense.engine.config import load_config
from convnext_dense.models.arch import ARCHS
from convnext_dense.testing import shrink

from .checked import Coco, Masks


@pytest.fixture
def coco(tmp_path):
    for seed, name in enumerate(("train", "val")):
        Coco(tmp_path / "data", name, seed=10 * seed).split()
    files = [str(tmp_path / f"data/{name}") for name in ("train", "val")]
    return ["--coco", *(f"{file}.json" for file in files), "--images", *files]


@pytest.fixture
def masks(tmp_path):
    for name in ("train", "val"):
        Masks(tmp_path / "data" / name)
    folders = {
        kind: [str(tmp_path / "data" / n / kind) for n in ("train", "val")] for kind in ("masks", "images")
    }
    return ["--masks", *folders["masks"], "--images", *folders["images"], "--classes", "cat", "dog"]


def write(tmp_path, data, *more):
    out = tmp_path / "configs/mine.py"
    assert cli.main(["new-config", *data, "--out", str(out), *more]) == 0
    return out


@pytest.mark.parametrize("model", ["mask_rcnn", "cascade_mask_rcnn"])
def test_a_detectors_config(coco, tmp_path, model, capsys):
    out = write(tmp_path, coco, "--model", model, "--size", "tiny", "--devices", "4")
    header = ast.get_docstring(ast.parse(out.read_text()))
    assert header in capsys.readouterr().out
    assert "batch 8 = 4 x 2, published 16 = 8 x 2" in header and "sqrt(8 / 16)" in header
    assert f"tools/dist_train.sh {out} 4" in header
    cfg = load_config(out)
    assert cfg.train_dataloader.dataset.metainfo.classes == ("dog", "cat")
    assert cfg.train_dataloader.dataset.data_root == str(tmp_path / "data")
    assert cfg.train_dataloader.dataset.ann_file == "train.json"
    assert cfg.val_dataloader.dataset.ann_file == cfg.test_dataloader.dataset.ann_file == "val.json"
    published = {"mask_rcnn": 1e-4, "cascade_mask_rcnn": 2e-4}[model]
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(published * math.sqrt(0.5), rel=1e-2)
    assert cfg.train_cfg.max_epochs == 1000, "one iteration each for two images"
    assert len(out.read_text().splitlines()) < 90


@pytest.mark.parametrize("size", SIZES)
def test_every_size_has_its_widths_and_weights(masks, tmp_path, size):
    cfg = load_config(write(tmp_path, masks, "--model", "upernet", "--size", size))
    arch = ARCHS[cfg.model.backbone.arch]
    assert tuple(cfg.model.decode_head.in_channels) == arch.dims
    assert cfg.model.auxiliary_head.in_channels == arch.dims[2]
    assert size.removesuffix("l") in cfg.model.backbone.init_cfg.checkpoint
    assert cfg.model.backbone.layer_scale_init_value == (0.0 if arch.use_grn else 1.0)
    assert cfg.model.decode_head.norm_cfg.type == "BN", "one device"


def test_the_weights_are_those_of_the_shipped_recipes():
    for name, size in (("mask_rcnn_convnext_t", "tiny"), ("upernet_convnext_xl_in22k", "xl")):
        assert load_config(Path("configs") / f"{name}.py").weights == backbone_settings(size)[2]


def test_what_the_masks_are_like_reaches_every_part(masks, tmp_path):
    more = ["--ignore-index", "11", "--short-side", "96", "--weights", "none", "--epochs", "2"]
    cfg = load_config(write(tmp_path, masks, "--model", "upernet", *more))
    assert "init_cfg" not in cfg.model.backbone
    assert [h.ignore_index for h in (cfg.model.decode_head, cfg.model.auxiliary_head)] == [11, 11]
    assert cfg.model.data_preprocessor.seg_pad_val == cfg.val_evaluator.ignore_index == 11
    assert cfg.train_dataloader.dataset.pipeline[3].ignore_index == 11
    assert cfg.model.data_preprocessor.size == (96, 96) == cfg.model.test_cfg.crop_size
    assert cfg.train_cfg.max_iters == cfg.param_scheduler[1].end == 4
    assert cfg.train_dataloader.dataset.type == "BaseSegDataset"


def test_narrow_heads(coco, masks, tmp_path, capsys):
    head = load_config(write(tmp_path, masks, "--model", "upernet", "--slim")).model.decode_head
    assert (head.channels, head.norm_cfg.type) == (64, "BN")
    slim = load_config(write(tmp_path, coco, "--model", "mask_rcnn", "--slim", "--force"))
    assert slim.model.neck.out_channels == slim.model.roi_head.mask_head.in_channels == 64
    again = [*coco, "--model", "cascade_mask_rcnn", "--slim", "--force", "--out", str(tmp_path / "a.py")]
    assert cli.main(["new-config", *again]) == 2
    assert "--slim does not know cascade_mask_rcnn" in capsys.readouterr().err


def test_it_trains(coco, tmp_path, monkeypatch):
    """The written config, shrunk, on the data that it was written for; the others train in tests/docs."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    written = load_config(
        write(tmp_path, coco, "--model", "cascade_mask_rcnn", "--weights", "none", "--short-side", "64")
    )
    toy = shrink(written, tmp_path / "toy")
    for split in ("train", "val", "test"):
        toy[f"{split}_dataloader"].dataset.update(written[f"{split}_dataloader"].dataset)
    toy.work_dir = str(tmp_path / "run")
    toy.dump(tmp_path / "toy.py")
    assert cli.main(["train", str(tmp_path / "toy.py"), "--work-dir", str(tmp_path / "run")]) == 0
    assert json.loads((tmp_path / "run/latest/metrics.json").read_text())


@pytest.mark.parametrize(
    ("model", "images", "devices", "lr"),
    [("upernet", 20210, 8, 1e-4), ("mask_rcnn", 117266, 8, 1e-4), ("cascade_mask_rcnn", 118287, 2, 1e-4)],
)
def test_the_published_schedule_at_the_published_size(model, images, devices, lr):
    recipe = fit_recipe(model, images, devices)
    assert recipe.lr == pytest.approx(lr)
    if devices == 8:
        assert recipe.warm_up == {"upernet": 1500, "mask_rcnn": 1000}[model]
        assert len(recipe.reasons) == 1
    assert recipe.iterations == pytest.approx(
        160_000 if model == "upernet" else 36 * images / (2 * devices), rel=0.01
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "mask_rcnn", "--images", "."], "--model mask_rcnn needs --coco TRAIN VAL"),
        (["--model", "upernet", "--images", ".", "--masks", ".", "."], "--masks needs --classes"),
        (["--model", "upernet", "--images", "no", "--masks", ".", "."], "no such file or folder"),
        (["--model", "upernet", "--images", ".", ".", ".", "--masks", ".", "."], "--images names 3 folders"),
        (["--model", "upernet", "--images", ".", "--devices", "0"], "--devices is 0"),
    ],
)
def test_mistakes_are_messages(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["new-config", *arguments, "--out", "mine.py"]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "mine.py").exists()


def test_a_config_is_not_overwritten(coco, tmp_path, capsys):
    write(tmp_path, coco, "--model", "mask_rcnn")
    again = ["new-config", *coco, "--model", "mask_rcnn", "--out", str(tmp_path / "configs/mine.py")]
    assert cli.main(again) == 2
    assert "there already" in capsys.readouterr().err
    assert cli.main([*again, "--force", "--classes", "dgo"]) == 2
    assert "no category dgo" in capsys.readouterr().err
