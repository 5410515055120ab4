"""Every shipped config is built, trained for two iterations, evaluated and asked for a prediction."""

from __future__ import annotations

import math

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from convnext_dense.testing import TOY_ITERATIONS, shrink

from .shipped import CONFIGS, LEAVES, name_of

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def make_runner(cfg: Config) -> Runner:
    # One process, many runs: each with loggers of its own.
    cfg.experiment_name = cfg.work_dir.replace("/", "_")
    return Runner.from_cfg(cfg)


@pytest.mark.parametrize("path", LEAVES, ids=name_of)
def test_it_trains_evaluates_and_predicts(path, tmp_path):
    toy = shrink(Config.fromfile(path), tmp_path)
    runner = make_runner(toy)
    runner.train()
    assert runner.iter == TOY_ITERATIONS
    scalars = runner.message_hub
    losses = [scalars.get_scalar(f"train/{key}").data[0] for key in ("loss", "decode.loss_ce", "aux.loss_ce")]
    for values in losses:
        assert len(values) == TOY_ITERATIONS
        assert all(math.isfinite(loss) and loss > 0 for loss in values)
    assert 0 <= scalars.get_scalar("val/mIoU").current() <= 100
    assert (tmp_path / "work_dir" / f"iter_{TOY_ITERATIONS}.pth").is_file()
    assert list((tmp_path / "work_dir").glob("best_mIoU*.pth"))
    check_gradients(runner)
    check_prediction(runner)


def check_gradients(runner: Runner) -> None:
    """A parameter that no loss reaches would stop every distributed run."""
    model = runner.model.train()
    batch = model.data_preprocessor(next(iter(runner.train_dataloader)), training=True)
    model.zero_grad()
    loss, _ = model.parse_losses(model(**batch, mode="loss"))
    loss.backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def check_prediction(runner: Runner) -> None:
    batch = next(iter(runner.val_dataloader))
    with torch.no_grad():
        (sample,) = runner.model.eval().val_step(batch)
    labels = sample.pred_sem_seg.data
    num_classes = len(runner.val_dataloader.dataset.metainfo["classes"])
    assert tuple(labels.shape[-2:]) == tuple(sample.ori_shape)
    assert 0 <= labels.min() <= labels.max() < num_classes
    assert sample.seg_logits.data.shape[0] == num_classes


@pytest.mark.parametrize("name", ["upernet_convnext_b_in22k", "upernet_convnextv2_b"])
def test_multi_scale_test(name, tmp_path):
    """What `test.py --tta` does with a config."""
    toy = shrink(Config.fromfile(CONFIGS / f"{name}.py"), tmp_path)
    toy.test_dataloader.dataset.pipeline = toy.tta_pipeline
    toy.tta_model.module = toy.model
    toy.model = toy.tta_model
    metrics = make_runner(toy).test()
    assert 0 <= metrics["mIoU"] <= 100


@pytest.mark.parametrize(
    ("name", "multipliers"),
    [
        # stem and downsampling, stages 0 to 3, everything else
        ("upernet_convnext_t", [0.478, 0.531, 0.590, 0.656, 0.729, 1.0]),
        ("upernet_convnext_s", [0.254, 0.282, 0.314, 0.349, 0.387, 1.0]),
    ],
)
def test_the_published_rates_reach_the_optimizer(name, multipliers, tmp_path):
    toy = shrink(Config.fromfile(CONFIGS / f"{name}.py"), tmp_path)
    groups = make_runner(toy).build_optim_wrapper(toy.optim_wrapper).optimizer.param_groups
    rates = sorted({group["lr"] / toy.optim_wrapper.optimizer.lr for group in groups})
    assert rates == pytest.approx(multipliers, abs=5e-4)
    assert {group["weight_decay"] for group in groups} == {0.0, 0.05}
