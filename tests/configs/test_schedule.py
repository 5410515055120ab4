"""The learning rate over a whole run, against the original definitions."""

from __future__ import annotations

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import PARAM_SCHEDULERS

from .shipped import CONFIGS

pytestmark = pytest.mark.filterwarnings("ignore:Detected call of")

ITERATIONS, WARMUP, WARMUP_RATIO = 160_000, 1_500, 1e-6
CHECKED = (0, 1, 750, 1_499, 1_500, 1_501, 80_000, 159_999)


def published_factor(iteration: int) -> float:
    """One polynomial of power 1 over the whole run, with a linear warm-up laid over its start."""
    factor = 1 - iteration / ITERATIONS
    if iteration < WARMUP:
        factor *= WARMUP_RATIO + (1 - WARMUP_RATIO) * iteration / WARMUP
    return factor


@pytest.fixture(scope="module", params=["upernet_convnext_t", "upernet_convnext_xl_in22k"])
def curve(request) -> tuple[float, dict[int, float]]:
    """The base rate, and the rate in force at each checked iteration."""
    cfg = Config.fromfile(CONFIGS / f"{request.param}.py")
    lr = cfg.optim_wrapper.optimizer.lr
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    schedulers = [
        PARAM_SCHEDULERS.build(s, default_args={"optimizer": optimizer}) for s in cfg.param_scheduler
    ]
    rates = {}
    for iteration in range(cfg.train_cfg.max_iters):
        if iteration in CHECKED:
            rates[iteration] = optimizer.param_groups[0]["lr"]
        for scheduler in schedulers:
            scheduler.step()
    return lr, rates


def test_the_rate_follows_the_published_curve(curve):
    lr, rates = curve
    for iteration in CHECKED:
        # mmengine reaches the end of a warm-up or decay one iteration early: 1/1500 of the base rate.
        assert rates[iteration] == pytest.approx(lr * published_factor(iteration), abs=lr / WARMUP)


def test_the_decay_runs_beneath_the_warm_up(curve):
    lr, rates = curve
    # A decay that began after the warm-up would reach the full rate here, 0.9 % more.
    assert rates[1_500] == pytest.approx(lr * (1 - 1_500 / 160_000), rel=1e-5)
    assert rates[0] == pytest.approx(lr * 1e-6)
    assert rates[80_000] == pytest.approx(lr / 2, rel=1e-4)
    assert 0 <= rates[159_999] <= lr / 159_999


# Of COCO's 7,330 iterations an epoch the steps need no more than that the warm-up ends in the first.
EPOCHS, ITERATIONS_PER_EPOCH, COCO_WARMUP = 36, 1_100, 1_000


def steps_factor(iteration: int) -> float:
    """A linear warm-up from 0.001, then a tenth from epoch 27 and a hundredth from epoch 33."""
    if iteration < COCO_WARMUP:
        return 0.001 + 0.999 * iteration / COCO_WARMUP
    epoch = iteration // ITERATIONS_PER_EPOCH
    return 1.0 if epoch < 27 else 0.1 if epoch < 33 else 0.01


@pytest.mark.parametrize("name", ["mask_rcnn_convnext_t", "cascade_mask_rcnn_convnext_s"])
def test_the_detectors_rate_goes_down_in_steps(name):
    cfg = Config.fromfile(CONFIGS / f"{name}.py")
    assert cfg.train_cfg.max_epochs == EPOCHS
    lr = cfg.optim_wrapper.optimizer.lr
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    schedulers = [
        PARAM_SCHEDULERS.build(s, default_args={"optimizer": optimizer}) for s in cfg.param_scheduler
    ]
    for iteration in range(EPOCHS * ITERATIONS_PER_EPOCH):
        in_epoch = iteration % ITERATIONS_PER_EPOCH
        if iteration < COCO_WARMUP + 2 or in_epoch in (0, ITERATIONS_PER_EPOCH - 1):
            rate = optimizer.param_groups[0]["lr"]
            # mmengine reaches the end of a warm-up one iteration early.
            tolerance = lr / COCO_WARMUP if iteration < COCO_WARMUP else 1e-6 * lr
            assert rate == pytest.approx(lr * steps_factor(iteration), abs=tolerance), iteration
        for scheduler in schedulers:
            if not scheduler.by_epoch or in_epoch == ITERATIONS_PER_EPOCH - 1:
                scheduler.step()
