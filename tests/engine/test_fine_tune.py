"""The fine-tuning options: what each adds to the config, and whole runs with all of them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS, DefaultScope

from convnext_dense.cli import build_parser, main
from convnext_dense.engine.config import load_config
from convnext_dense.engine.fine_tune import add_fine_tuning, class_weights
from convnext_dense.errors import UserError

from .conftest import CONFIGS

SEG, DET = "upernet_convnext_t.py", "mask_rcnn_convnext_t.py"
SHAPES_DET = "demo/mask_rcnn_convnext_atto_shapes.py"


def tuned(source, *options, **changes):
    cfg = load_config(CONFIGS / source)
    cfg.custom_hooks = []
    cfg.merge_from_dict(changes)
    return cfg, add_fine_tuning(cfg, build_parser().parse_args(["train", source, *options]))


def test_without_an_option_nothing_changes():
    cfg, lines = tuned(SEG)
    assert lines == []
    assert cfg.custom_hooks == []


@pytest.mark.parametrize(("source", "monitor", "gain"), [(SEG, "mIoU", 0.1), (DET, "coco/bbox_mAP", 0.001)])
def test_hooks_watch_the_score_that_the_best_checkpoint_is_chosen_by(source, monitor, gain):
    cfg, lines = tuned(source, "--ema", "0.01", "--early-stopping", "3", "--frozen-stages", "2")
    ema, stopping = cfg.custom_hooks
    assert (ema["type"], ema["momentum"]) == ("EMAHook", 0.01)
    assert (stopping["monitor"], stopping["patience"], stopping["min_delta"]) == (monitor, 3, gain)
    assert cfg.model.backbone.frozen_stages == 2
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("source", "options", "changes", "message"),
    [
        (SEG, ["--keep-class-rows"], {}, "--load-from"),
        (SEG, ["--ema", "1"], {}, "between 0 and 1"),
        (SEG, ["--early-stopping", "0"], {}, "above 0"),
        (SEG, ["--early-stopping", "2"], {"default_hooks.checkpoint.save_best": None}, "a score to watch"),
        (SEG, ["--repeat-rare", "0.1"], {}, "--class-weights"),
        (DET, ["--repeat-rare", "2"], {}, "share"),
        (DET, ["--class-weights"], {}, "CrossEntropyLoss"),
    ],
)
def test_options_that_do_not_fit_are_refused(source, options, changes, message):
    with pytest.raises(UserError, match=message):
        tuned(source, *options, **changes)


def test_rare_classes_weigh_more_within_bounds():
    weights = class_weights(np.array([10**9, 10**6, 1, 0]))
    assert weights[0] < weights[1] < weights[2]
    assert weights[2] / weights[0] < 36
    assert np.mean(weights[:3]) == pytest.approx(1, abs=1e-3)
    assert weights[3] == 1


def test_a_segmentor_goes_on_with_other_classes(trained, toy_config, tmp_path, capsys):
    """All options in one run: rows by name, frozen stages, averages, class weights, early stopping."""
    _, before = trained
    checkpoint = before / "iter_4.pth"
    old = torch.load(checkpoint, weights_only=True)
    classes = [*old["meta"]["dataset_meta"]["classes"]]
    classes[0], classes[1], classes[2] = classes[1], classes[0], "rhombus"
    # So small a rate that four steps leave every weight where it began, to three digits.
    config = toy_config("tuned", **{"optim_wrapper.optimizer.lr": 1e-7, "train_cfg.val_interval": 1})
    options = ["--load-from", str(checkpoint), "--keep-class-rows", "--frozen-stages", "2", "--ema", "0.5"]
    options += ["--class-weights", "--early-stopping", "1", "--work-dir", str(tmp_path / "run")]
    names = ",".join(f"'{name}'" for name in classes)
    overrides = [f"{split}_dataloader.dataset.metainfo.classes=[{names}]" for split in ("train", "val")]
    assert main(["train", str(config), *options, "--cfg-options", *overrides]) == 0

    out = capsys.readouterr().out
    assert "from initialisation: rhombus" in out
    assert "classes are weighted in the loss" in out
    saved = json.loads((tmp_path / "run/latest/config.json").read_text())
    assert len(saved["model"]["decode_head"]["loss_decode"]["class_weight"]) == len(classes)
    last = (tmp_path / "run/last_checkpoint").read_text()
    assert last.endswith("iter_2.pth"), "stopped: the first evaluation was no worse than the second"
    new = torch.load(last, weights_only=True)
    assert "ema_state_dict" in new
    rows_before, rows = (c["state_dict"]["decode_head.conv_seg.weight"] for c in (old, new))
    assert torch.allclose(rows[[0, 1, 3]], rows_before[[1, 0, 3]], atol=1e-4)
    assert not torch.allclose(rows[2], rows_before[2], atol=1e-4)
    stem = "backbone.downsample_layers.0.0.weight"
    assert torch.equal(new["state_dict"][stem], old["state_dict"][stem]), "frozen"


def test_rare_classes_of_a_detector_are_repeated(toy_config, tmp_path):
    config = toy_config("rare", SHAPES_DET, **{"train_cfg.max_iters": None})
    cfg = load_config(config)
    del cfg.train_cfg["max_iters"]  # the helper's, for loops that count iterations
    cfg.dump(config)
    run = tmp_path / "run"
    assert main(["train", str(config), "--repeat-rare", "1.0", "--work-dir", str(run)]) == 0
    saved = json.loads((run / "latest/config.json").read_text())["train_dataloader"]["dataset"]
    with DefaultScope.overwrite_default_scope("mmdet"):
        plain, repeated = (DATASETS.build(dataset) for dataset in (saved["dataset"], saved))
    assert len(repeated) > len(plain)
    checkpoint = torch.load((run / "last_checkpoint").read_text(), weights_only=True)
    assert checkpoint["meta"]["iter"] == -(-len(repeated) // 2), "batches of two"
