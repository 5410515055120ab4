"""`--auto-scale`: what an optimizer step sees stays what was published, and the rest is rescaled and told."""

from __future__ import annotations

import json
import math

import pytest
import torch

from convnext_dense.cli import main
from convnext_dense.engine.auto_scale import auto_scale, plan_batch
from convnext_dense.engine.config import load_config
from convnext_dense.errors import UserError

from .conftest import CONFIGS

ADE, COCO = CONFIGS / "upernet_convnext_t.py", CONFIGS / "cascade_mask_rcnn_convnext_t.py"


def scaled(path, processes, per_process=2, **options):
    cfg = load_config(path, [f"train_dataloader.batch_size={per_process}"])
    return cfg, "\n".join(auto_scale(cfg, processes, **options))


@pytest.mark.parametrize(
    ("processes", "per_process", "accumulated", "step"),
    [
        (8, 2, 1, 16),
        (4, 4, 1, 16),
        (1, 2, 8, 16),
        (1, 1, 16, 16),
        (1, 6, 3, 18),
        (16, 2, 1, 32),
        (3, 2, 3, 18),
    ],
)
def test_the_batch_is_made_up_by_accumulation(processes, per_process, accumulated, step):
    batch = plan_batch(16, processes, per_process)
    assert (batch.accumulated, batch.step) == (accumulated, step)


def test_the_published_machine_changes_nothing_but_what_it_says(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    before = load_config(ADE).to_dict()
    cfg, text = scaled(ADE, 8)
    assert cfg.to_dict() == before
    assert "learning rate unchanged" in text
    assert "schedule unchanged" in text


@pytest.mark.parametrize("processes", [1, 2, 3, 4, 8, 16])
@pytest.mark.parametrize("per_process", [1, 2, 4, 6])
def test_as_many_samples_are_seen_in_every_part_of_the_schedule(processes, per_process):
    cfg, _ = scaled(ADE, processes, per_process)
    images = processes * per_process
    warm_up, decay = cfg.param_scheduler
    assert warm_up.end * images == pytest.approx(1500 * 16, abs=images)
    assert decay.end * images == pytest.approx(160_000 * 16, abs=images)
    assert cfg.train_cfg.max_iters * images == pytest.approx(160_000 * 16, abs=images)
    assert cfg.train_cfg.val_interval == cfg.default_hooks.checkpoint.interval
    step = images * cfg.optim_wrapper.get("accumulative_counts", 1)
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(1e-4 * math.sqrt(step / 16))


def test_one_gpu_keeps_rate_and_batch_and_says_what_changed():
    cfg, text = scaled(ADE, 1)
    assert cfg.optim_wrapper.accumulative_counts == 8
    assert cfg.optim_wrapper.optimizer.lr == 1e-4
    assert cfg.model.decode_head.norm_cfg.type == cfg.model.auxiliary_head.norm_cfg.type == "BN"
    for part in (
        "8 iterations",
        "16 images",
        "max_iters 160000 -> 1280000",
        "end 1500 -> 12000",
        "BN instead of SyncBN",
    ):
        assert part in text


def test_epochs_stay_and_the_warm_up_in_iterations_stretches():
    cfg, text = scaled(COCO, 1)
    warm_up, steps = cfg.param_scheduler
    assert warm_up.end == 8000
    assert (steps.milestones, steps.end, cfg.train_cfg.max_epochs) == ([27, 33], 36, 36)
    assert cfg.train_cfg.val_interval == cfg.default_hooks.checkpoint.interval == 1
    assert {head.norm_cfg.type for head in cfg.model.roi_head.bbox_head} == {"BN"}
    assert "LinearLR end 1000 -> 8000" in text


def test_sync_batch_norm_stays_where_there_is_something_to_synchronise(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    cfg, text = scaled(ADE, 4, 4)
    assert cfg.model.decode_head.norm_cfg.type == "SyncBN"
    assert "instead of" not in text


def test_group_norm_is_an_option_and_fits_the_widths():
    cfg, _ = scaled(ADE, 1, norm="GN")
    assert cfg.model.decode_head.norm_cfg == dict(type="GN", num_groups=32, requires_grad=True)
    cfg = load_config(ADE, ["model.decode_head.channels=24"])
    auto_scale(cfg, 1, "GN")
    assert cfg.model.decode_head.norm_cfg.num_groups == 4


def test_ema_is_updated_once_an_optimizer_step():
    cfg = load_config(ADE)
    cfg.custom_hooks = [dict(type="EMAHook")]
    auto_scale(cfg, 1)
    assert cfg.custom_hooks[0]["interval"] == 8


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("auto_scale_lr=None", "base_batch_size"),
        ("optim_wrapper.accumulative_counts=2", "accumulates gradients already"),
        ("param_scheduler.1.type=OneCycleLR", "cannot convert 'OneCycleLR'"),
    ],
)
def test_what_cannot_be_scaled_is_refused(override, message):
    cfg = load_config(ADE, [override])
    with pytest.raises(UserError, match=message):
        auto_scale(cfg, 1)


def test_both_scalings_at_once_are_refused(toy_config, capsys):
    assert main(["train", str(toy_config()), "--auto-scale", "--auto-scale-lr"]) == 2
    assert "give --auto-scale alone" in capsys.readouterr().err


@pytest.mark.parametrize("norm", ["BN", pytest.param("GN", marks=pytest.mark.full)])
def test_a_scaled_run_trains_and_tells(toy_config, tmp_path, capsys, norm):
    """The toy reads 2 images at once: a recipe for batch 4 takes two iterations a step."""
    config = toy_config(source="upernet_convnext_t.py", auto_scale_lr=dict(enable=False, base_batch_size=4))
    run = tmp_path / "run"
    assert (
        main(["train", str(config), "--work-dir", str(run), "--auto-scale", "--auto-scale-norm", norm]) == 0
    )
    out = capsys.readouterr().out
    assert "gradients of 2 iterations are accumulated" in out
    assert f"{norm} instead of SyncBN" in out
    saved = json.loads((run / "latest/config.json").read_text())
    assert saved["train_cfg"]["max_iters"] == 8
    checkpoint = torch.load(run / "latest/iter_8.pth", weights_only=True)
    assert {state["step"].item() for state in checkpoint["optimizer"]["state"].values()} == {4.0}
