"""The box head: mmdet's scores, offsets, gradients and detections."""

import pytest
import torch
from mmdet.models.roi_heads.bbox_heads import ConvFCBBoxHead
from mmengine.config import ConfigDict

from convnext_dense.detection import LeanConvFCBBoxHead

from . import tiny

SHARED = dict(num_shared_convs=1, num_shared_fcs=2, conv_out_channels=8)


def pair(**options):
    """The stock head and ours, in float64 and with the same weights."""
    torch.manual_seed(0)
    config = {key: value for key, value in tiny.box_head().items() if key != "type"} | options
    stock, ours = (head(**config).double() for head in (ConvFCBBoxHead, LeanConvFCBBoxHead))
    for weight in stock.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    ours.load_state_dict(stock.state_dict(), strict=True)
    return stock, ours


def outputs_and_gradients(head, x):
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    scores, offsets = head(x)
    (scores.square().sum() + offsets.square().sum()).backward()
    return [scores.detach(), offsets.detach(), x.grad, *(weight.grad for weight in head.parameters())]


@pytest.mark.parametrize(
    "options",
    [
        SHARED,
        SHARED | dict(norm_cfg=dict(type="BN")),
        dict(num_shared_fcs=1),
        dict(num_shared_fcs=1, with_avg_pool=True),
        dict(num_cls_fcs=1, num_reg_convs=1, conv_out_channels=8),  # mmdet's own pass
    ],
    ids=str,
)
@pytest.mark.parametrize("count", [3, 40])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_outputs_and_gradients_are_the_stock_heads(options, count, memory_format):
    x = torch.randn(count, 8, 7, 7).double().to(memory_format=memory_format)
    stock, ours = (outputs_and_gradients(head, x) for head in pair(**options))
    torch.testing.assert_close(ours, stock, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("norm", ["BN", "SyncBN", "GN"])
def test_norms_in_evaluation(norm):
    norm_cfg = dict(type=norm) | (dict(num_groups=2) if norm == "GN" else {})
    heads = pair(**SHARED, norm_cfg=norm_cfg)
    for head in heads:
        torch.manual_seed(1)
        for name, buffer in head.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.uniform_(0.5, 2)
        head.eval()
    x = torch.randn(20, 8, 7, 7).double()
    stock, ours = (outputs_and_gradients(head, x) for head in heads)
    torch.testing.assert_close(ours, stock, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    "options",
    [
        dict(),
        dict(max_per_img=1),
        dict(max_per_img=2000),
        dict(score_thr=0.3),
        dict(score_thr=1.0),  # leaves none
        dict(nms=dict(type="soft_nms", iou_threshold=0.5)),
        dict(nms=dict(type="nms", iou_threshold=0.5, split_thr=50)),
        dict(max_per_img=-1),
    ],
    ids=str,
)
@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("count", [0, 300])
def test_the_stock_detections_in_the_stock_order(options, agnostic, count):
    torch.manual_seed(0)
    corner = torch.rand(count, 2) * 60
    rois = torch.cat((torch.zeros(count, 1), corner, corner + torch.rand(count, 2) * 40 + 5), 1).double()
    scores = torch.randn(count, tiny.CLASSES + 1).double()
    offsets = torch.randn(count, 4 if agnostic else 4 * tiny.CLASSES).double()
    meta = {"img_shape": (90, 90), "scale_factor": (2.0, 1.5)}
    config = ConfigDict(
        dict(score_thr=0.05, nms=dict(type="nms", iou_threshold=0.4), max_per_img=40) | options
    )
    stock, ours = (
        head.predict_by_feat((rois,), (scores,), (offsets,), [meta], config, rescale=True)[0]
        for head in pair(num_shared_fcs=1, reg_class_agnostic=agnostic)
    )
    assert sorted(ours.keys()) == sorted(stock.keys())
    for key, value in stock.items():
        assert torch.equal(ours[key], value), key
        assert ours[key].dtype == value.dtype, key
