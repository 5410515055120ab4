"""Whole detectors with this project's heads against the same ones with mmdet's."""

import pycocotools.mask
import pytest
import torch

from . import tiny

CONFIGS = {"mask_rcnn": tiny.mask_rcnn, "cascade": tiny.cascade_mask_rcnn}


@pytest.fixture(params=CONFIGS)
def pair(request):
    config = CONFIGS[request.param]()
    stock, ours = tiny.build(config), tiny.build(tiny.with_our_heads(config))
    ours.load_state_dict(stock.state_dict(), strict=True)
    return stock, ours


def test_the_same_detections_and_masks(pair):
    for stock, ours in zip(*map(tiny.detect, pair), strict=True):
        assert len(stock) == len(ours) > 5
        torch.testing.assert_close(ours.bboxes, stock.bboxes, rtol=1e-5, atol=1e-4)  # px
        torch.testing.assert_close(ours.scores, stock.scores, rtol=1e-5, atol=1e-6)
        assert torch.equal(ours.labels, stock.labels)
        assert isinstance(ours.masks, list)
        decoded = torch.from_numpy(pycocotools.mask.decode(ours.masks)).permute(2, 0, 1).bool()
        assert (decoded != stock.masks).float().mean() < 1e-4  # a grey value of one half, rounded
        assert 0 < decoded.float().mean() < 1


def test_the_same_losses_and_gradients(pair):
    (losses, gradients), (our_losses, our_gradients) = map(tiny.losses_and_gradients, pair)
    assert losses.keys() == our_losses.keys()
    assert any("loss_mask" in name and value > 0 for name, value in our_losses.items())
    torch.testing.assert_close(our_losses, losses, rtol=1e-6, atol=0)
    torch.testing.assert_close(our_gradients, gradients, rtol=1e-5, atol=1e-6)


def test_a_batch_without_detections(pair):
    model = pair[1]
    model.roi_head.test_cfg.score_thr = 1.1
    for found in tiny.detect(model):
        assert len(found) == len(found.masks) == len(found.bboxes) == 0
