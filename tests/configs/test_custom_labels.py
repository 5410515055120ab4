"""The example of a custom data set: its unlabelled value must count nowhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import PixelData
from mmseg.registry import DATASETS, METRICS
from mmseg.structures import SegDataSample

from .shipped import CONFIGS, REPO, build_model, scope

CAMVID = REPO.parent / "shared" / "data" / "camvid_small"
UNLABELLED = 11


@pytest.fixture(scope="module")
def cfg() -> Config:
    return Config.fromfile(CONFIGS / "custom/upernet_convnextv2_atto_camvid.py")


def sample_of(labels: torch.Tensor) -> SegDataSample:
    sample = SegDataSample(metainfo={"img_shape": labels.shape, "ori_shape": labels.shape})
    sample.gt_sem_seg = PixelData(data=labels[None])
    return sample


def test_losses_take_no_gradient_from_unlabelled_pixels(cfg):
    model = build_model(cfg)
    labels = torch.full((64, 64), UNLABELLED)
    labels[:32] = torch.arange(64) % 11
    for head in (model.decode_head, model.auxiliary_head):
        logits = torch.randn(1, 11, 64, 64, requires_grad=True)
        loss = head.loss_by_feat(logits, [sample_of(labels)])["loss_ce"]
        (gradient,) = torch.autograd.grad(loss, logits)
        assert gradient[:, :, :32].abs().min() > 0
        assert gradient[:, :, 32:].abs().max() == 0


def test_padding_counts_as_unlabelled(cfg):
    preprocessor = build_model(cfg).data_preprocessor
    batch = {
        "inputs": [torch.zeros(3, 200, 240)],
        "data_samples": [sample_of(torch.zeros(200, 240, dtype=int))],
    }
    padded = preprocessor(batch, training=True)["data_samples"][0].gt_sem_seg.data
    assert padded.shape[-2:] == (256, 256)
    assert padded.unique().tolist() == [0, UNLABELLED]
    assert (padded == UNLABELLED).sum() == 256 * 256 - 200 * 240


def test_the_metric_passes_over_unlabelled_pixels(cfg):
    metric = METRICS.build(cfg.val_evaluator)
    metric.dataset_meta = {"classes": cfg.metainfo.classes}
    truth = torch.tensor([[0, 0, 1, 1], [UNLABELLED] * 4])
    guess = torch.tensor([[0, 1, 1, 1], [5, 5, 0, 1]])
    metric.process({}, [{"pred_sem_seg": {"data": guess}, "gt_sem_seg": {"data": truth}}])
    # Class 0: 1 of 2; class 1: 2 of 3. Class 5 was guessed on unlabelled pixels only: no part of the mean.
    assert metric.evaluate(1)["mIoU"] == pytest.approx(100 * (1 / 2 + 2 / 3) / 2, abs=0.01)


@pytest.mark.skipif(not CAMVID.is_dir(), reason=f"no CamVid sample at {CAMVID}")
def test_camvid_loads_with_eleven_classes_and_the_unlabelled_value(cfg):
    with scope(cfg):
        dataset = DATASETS.build({**cfg.train_dataloader.dataset, "data_root": str(CAMVID)})
    assert len(dataset) == 60
    values = np.unique(
        np.concatenate([np.unique(dataset[i]["data_samples"].gt_sem_seg.data) for i in range(8)])
    )
    assert set(values) <= set(range(12))
    assert UNLABELLED in values
