"""Every shipped config is built, trained for two iterations, evaluated and asked for a prediction."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement

from convnext_dense.testing import TOY_ITERATIONS, shrink

from .shipped import CONFIGS, LEAVES, name_of

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def shrink_file(path: Path, folder: Path) -> Config:
    toy = shrink(Config.fromfile(path), folder)
    # A run writes its config as text seven times; formatting that text takes longer than all the rest.
    return Config(toy.to_dict(), filename=toy.filename, format_python_code=False)


def make_runner(cfg: Config) -> Runner:
    # One process, many runs: each with loggers of its own.
    cfg.experiment_name = cfg.work_dir.replace("/", "_")
    return Runner.from_cfg(cfg)


#: By default scope: the losses and the score of a run, and what its checkpoint is called.
RUNS = {
    "mmdet": (
        ("loss", "loss_rpn_cls", "loss_rpn_bbox", "loss_cls", "loss_bbox", "loss_mask"),
        "coco/bbox_mAP",
        "epoch_1.pth",
    ),
    "mmseg": (("loss", "decode.loss_ce", "aux.loss_ce"), "mIoU", f"iter_{TOY_ITERATIONS}.pth"),
}


@pytest.mark.parametrize("path", LEAVES, ids=name_of)
def test_it_trains_evaluates_and_predicts(path, tmp_path):
    toy = shrink_file(path, tmp_path)
    keys, score, checkpoint = RUNS[toy.default_scope]
    runner = make_runner(toy)
    runner.train()
    assert runner.iter == TOY_ITERATIONS
    scalars = runner.message_hub
    for key in keys:
        for name in stages_of(f"train/{key}", scalars.log_scalars):
            values = scalars.get_scalar(name).data[0]
            assert len(values) == TOY_ITERATIONS
            assert all(math.isfinite(loss) and loss >= 0 for loss in values), name
            assert any(loss > 0 for loss in values), name
    assert 0 <= scalars.get_scalar(f"val/{score}").current() <= 100
    work_dir = tmp_path / "work_dir"
    assert (work_dir / checkpoint).is_file()
    assert list(work_dir.glob(f"best_{score.replace('/', '_')}*.pth"))
    check_gradients(runner)
    CHECK_PREDICTION[toy.default_scope](runner)


def stages_of(name: str, logged: Collection[str]) -> list[str]:
    """The name, or with a cascade its three stages."""
    scope, key = name.split("/")
    stages = [f"{scope}/s{stage}.{key}" for stage in range(3)]
    return stages if stages[0] in logged else [name]


def check_gradients(runner: Runner) -> None:
    """A parameter that no loss reaches would stop every distributed run."""
    model = runner.model.train()
    batch = model.data_preprocessor(next(iter(runner.train_dataloader)), training=True)
    model.zero_grad()
    loss, _ = model.parse_losses(model(**batch, mode="loss"))
    loss.backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def predict_one(runner: Runner) -> BaseDataElement:
    batch = next(iter(runner.val_dataloader))
    with torch.no_grad():
        (sample,) = runner.model.eval().val_step(batch)
    return sample


def check_label_map(runner: Runner) -> None:
    sample = predict_one(runner)
    labels = sample.pred_sem_seg.data
    num_classes = len(runner.val_dataloader.dataset.metainfo["classes"])
    assert tuple(labels.shape[-2:]) == tuple(sample.ori_shape)
    assert 0 <= labels.min() <= labels.max() < num_classes


def check_instances(runner: Runner) -> None:
    sample = predict_one(runner)
    found = sample.pred_instances
    height, width = sample.ori_shape
    assert 0 < len(found) <= runner.cfg.model.test_cfg.rcnn.max_per_img
    assert found.bboxes.min() >= 0
    assert found.bboxes[:, 2].max() <= width and found.bboxes[:, 3].max() <= height
    assert (found.bboxes[:, 2:] >= found.bboxes[:, :2]).all()
    assert 0 <= found.scores.min() <= found.scores.max() <= 1
    assert 0 <= found.labels.min() <= found.labels.max()
    assert found.labels.max() < len(runner.val_dataloader.dataset.metainfo["classes"])
    assert len(found.masks) == len(found)
    assert all(tuple(mask["size"]) == (height, width) for mask in found.masks)


CHECK_PREDICTION = {"mmdet": check_instances, "mmseg": check_label_map}


@pytest.mark.parametrize("name", ["upernet_convnext_b_in22k", "upernet_convnextv2_b"])
def test_multi_scale_test(name, tmp_path):
    """What `test.py --tta` does with a config."""
    toy = shrink_file(CONFIGS / f"{name}.py", tmp_path)
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
    toy = shrink_file(CONFIGS / f"{name}.py", tmp_path)
    groups = make_runner(toy).build_optim_wrapper(toy.optim_wrapper).optimizer.param_groups
    rates = sorted({group["lr"] / toy.optim_wrapper.optimizer.lr for group in groups})
    assert rates == pytest.approx(multipliers, abs=5e-4)
    assert {group["weight_decay"] for group in groups} == {0.0, 0.05}
