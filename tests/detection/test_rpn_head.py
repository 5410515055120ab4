"""The RPN head's proposals are mmdet's, though its suppression ends early."""

import pytest
import torch
from mmdet.models.dense_heads import RPNHead
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

from convnext_dense.detection import LeanRPNHead

from . import tiny

META = {"img_shape": (90, 120), "scale_factor": (2.0, 2.0)}


def candidates(count=400, dtype=torch.float32):
    """Boxes of three levels in clusters, some without an area, with scores of which many are equal."""
    torch.manual_seed(0)
    centre = (torch.rand(25, 2) * torch.tensor([120, 90])).repeat(count // 25, 1) + torch.randn(count, 2)
    half = torch.rand(count, 2) * 6 + 4
    boxes = torch.cat((centre - half, centre + half), 1)
    boxes[::40, 2] = boxes[::40, 0]
    scores, level = torch.rand(count).round(decimals=1), torch.arange(count) % 3
    return InstanceData(bboxes=boxes.to(dtype), scores=scores.to(dtype), level_ids=level)


def proposals(head_type, found, nms=None, **options):
    head = head_type(**{key: value for key, value in tiny.RPN.items() if key != "type"})
    config = dict(max_per_img=50, min_bbox_size=0, nms=nms or dict(type="nms", iou_threshold=0.5))
    rescale = options.pop("rescale", False)
    return head._bbox_post_process(found, ConfigDict(config | options), rescale=rescale, img_meta=META)


@pytest.mark.parametrize(
    "options",
    [
        dict(),
        dict(max_per_img=1),
        dict(max_per_img=1000),
        dict(max_per_img=0),
        dict(min_bbox_size=12),
        dict(min_bbox_size=-1),
        dict(min_bbox_size=1000),  # leaves none
        dict(nms=dict(type="nms", iou_threshold=0.2)),
        dict(nms=dict(type="nms", iou_threshold=0.5, class_agnostic=True)),
        dict(nms=dict(type="soft_nms", iou_threshold=0.5)),
        dict(rescale=True),
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_stock_proposals_in_the_stock_order(options, dtype):
    stock, ours = (proposals(head, candidates(dtype=dtype), **options) for head in (RPNHead, LeanRPNHead))
    assert sorted(ours.keys()) == sorted(stock.keys())
    for key, value in stock.items():
        assert torch.equal(ours[key], value), key
        assert ours[key].dtype == value.dtype, key


def test_few_of_many_need_little_work(monkeypatch):
    """The point of it: blocks of boxes beyond the last one wanted are not compared."""
    from convnext_dense.ops import nms

    blocks = []
    keep = nms._keep_in_block
    monkeypatch.setattr(nms, "_keep_in_block", lambda *args: blocks.append(keep(*args)) or blocks[-1])
    monkeypatch.setattr(nms, "_pairs", lambda *args: None)
    torch.manual_seed(0)
    corner = torch.rand(5000, 2) * 1000
    boxes = torch.cat((corner, corner + 20), 1)
    found = InstanceData(bboxes=boxes, scores=torch.rand(5000), level_ids=torch.zeros(5000).long())
    assert len(proposals(LeanRPNHead, found, max_per_img=150)) == 150
    assert len(blocks) == 2
