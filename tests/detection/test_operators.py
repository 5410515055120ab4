"""Detection through the PyTorch operators is what it is through mmcv's compiled ones.

To compare, compile mmcv in a folder of its own and name that folder, in which `mmcv` lies, in the environment
variable `COMPILED_MMCV`; an installed mmcv with compiled operators serves as well.
"""

import os
import sys

import numpy as np
import pytest
import torch
from mmdet.models.layers import multiclass_nms
from mmengine.config import ConfigDict

from convnext_dense.detection import masks
from convnext_dense.ops.stand_in import load_compiled, make_stand_in

from ..ops import reference
from . import tiny

NMS = dict(type="nms", iou_threshold=0.5)
SOFT_NMS = dict(type="soft_nms", iou_threshold=0.5, min_score=1e-3)
IMAGES = ((3, 192, 256), (3, 224, 160))


@pytest.fixture(scope="module")
def compiled():
    """The compiled module, without putting it into use."""
    folder = os.environ.get("COMPILED_MMCV")
    module = load_compiled(folder)
    if module is None and folder:
        pytest.fail(f"COMPILED_MMCV={folder} has no compiled mmcv/_ext that loads")
    if module is None:
        pytest.skip(
            "mmcv's compiled operators are not installed, and COMPILED_MMCV names no folder with them"
        )
    return module


@pytest.fixture
def use(monkeypatch):
    """A function that makes mmcv's operators call a module."""

    def use(extension):
        for name in ("roi_align", "nms"):
            monkeypatch.setattr(sys.modules[f"mmcv.ops.{name}"], "ext_module", extension)

    return use


def detector(kind, nms, max_per_img=100):
    config = tiny.with_our_heads({"mask_rcnn": tiny.mask_rcnn, "cascade": tiny.cascade_mask_rcnn}[kind]())
    config.test_cfg.rpn.update(nms_pre=1000, max_per_img=300)
    config.test_cfg.rcnn.update(nms=nms, max_per_img=max_per_img, score_thr=0.05)
    return tiny.build(config)


def partner(of, among):
    """For each detection the index of the one with the same label, box to 1e-3 px and score to 1e-5."""
    same = (of.labels[:, None] == among.labels) & ((of.scores[:, None] - among.scores).abs() < 1e-5)
    same &= ((of.bboxes[:, None] - among.bboxes).abs() < 1e-3).all(2)
    assert same.any(1).all()
    return same.int().argmax(1)


@pytest.mark.parametrize("nms", [NMS, SOFT_NMS], ids=["nms", "soft_nms"])
@pytest.mark.parametrize("kind", ["mask_rcnn", "cascade"])
def test_the_same_detections_as_through_compiled_operators(compiled, use, kind, nms):
    model = detector(kind, nms)
    results = []
    for extension in (compiled, make_stand_in()):
        use(extension)
        results.append(tiny.detect(model, sizes=IMAGES))
    for expected, ours in zip(*results, strict=True):
        assert len(ours) == len(expected) == 100
        index = partner(expected, ours)
        assert len(index.unique()) == len(index)
        size = ours.masks[0]["size"]
        differing = masks.decode([ours.masks[i] for i in index], size) != masks.decode(expected.masks, size)
        assert differing.mean() < 1e-5


@pytest.mark.parametrize("kind", ["mask_rcnn", "cascade"])
def test_the_same_losses_and_gradients_as_through_compiled_operators(compiled, use, kind):
    model = detector(kind, NMS)
    results = []
    for extension in (compiled, make_stand_in()):
        use(extension)
        results.append(tiny.losses_and_gradients(model, sizes=IMAGES))
    (expected, expected_grads), (ours, grads) = results
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(grads, expected_grads, rtol=1e-3, atol=1e-4)


def random_detections(count=60, classes=3):
    torch.manual_seed(0)
    corner = torch.rand(count, 2) * 60
    boxes = torch.cat((corner, corner + torch.rand(count, 2) * 50 + 5), 1)
    return boxes, torch.rand(count, classes + 1)


@pytest.mark.parametrize("method", ["linear", "gaussian", "naive"])
def test_soft_nms_of_a_test_config(method):
    boxes, scores = random_detections()
    config = ConfigDict(type="soft_nms", iou_threshold=0.4, min_score=0.05, method=method)
    found, labels = multiclass_nms(boxes, scores, 0.05, config, max_num=1000)
    for label in range(3):
        valid = scores[:, label] > 0.05
        index, expected = reference.soft_nms(
            boxes[valid].numpy(), scores[valid, label].numpy().astype(float), 0.4, 0.5, 0.05, method
        )
        of_class = found[labels == label]
        order = np.argsort(expected)[::-1]
        np.testing.assert_allclose(of_class[:, 4], np.array(expected)[order], rtol=1e-4)
        np.testing.assert_allclose(of_class[:, :4], boxes[valid][np.array(index)[order]], atol=1e-4)
        assert (of_class[:, 4] < 0.99 * scores[valid, label].sort(descending=True).values[: len(index)]).any()


@pytest.mark.parametrize("kind", ["mask_rcnn", "cascade"])
def test_detectors_with_soft_nms(kind):
    hard, soft = (tiny.detect(detector(kind, nms, 1000))[0] for nms in (NMS, SOFT_NMS))
    assert len(soft) > len(hard) > 0
    assert (soft.scores.diff() <= 0).all()
    assert len(soft.masks) == len(soft)
