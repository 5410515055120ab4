"""The mask head's forward pass by 1×1 convolutions: mmdet's logits and gradients."""

import pytest
import torch
from mmdet.models.roi_heads.mask_heads import FCNMaskHead

from convnext_dense.detection import WindowedMaskHead


def pair(**options):
    """The stock head and ours, in float64 and with the same weights."""
    torch.manual_seed(0)
    options = dict(num_convs=1, in_channels=6, conv_out_channels=5, num_classes=4) | options
    stock, ours = (head(**options).double() for head in (FCNMaskHead, WindowedMaskHead))
    for weight in stock.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    ours.load_state_dict(stock.state_dict(), strict=True)
    return stock, ours


def logits_and_gradients(head, x):
    x = x.clone().requires_grad_()
    logits = head(x)
    (logits * torch.linspace(-1, 1, logits.numel(), dtype=x.dtype).view_as(logits)).sum().backward()
    return [logits.detach(), x.grad, *(weight.grad for weight in head.parameters())]


@pytest.mark.parametrize(
    "options",
    [
        dict(),
        dict(num_convs=0, conv_out_channels=6),
        dict(class_agnostic=True),
        dict(upsample_cfg=dict(type="deconv", scale_factor=3)),
        dict(upsample_cfg=dict(type="bilinear", scale_factor=2)),  # mmdet's own pass
        dict(upsample_cfg=dict(type=None)),
    ],
    ids=str,
)
@pytest.mark.parametrize("count", [0, 3, 20])
def test_logits_and_gradients_are_the_stock_heads(options, count):
    heads = pair(**options)
    for x in (torch.randn(count, 6, 5, 3).double(), torch.randn(count, 3, 5, 6).double().transpose(1, 3)):
        stock, ours = (logits_and_gradients(head, x) for head in heads)
        torch.testing.assert_close(ours, stock, rtol=1e-12, atol=1e-11)
        assert count == 0 or stock[0].std() > 0.5


def test_mixed_precision_is_as_near_to_double_as_the_stock_head():
    stock, ours = pair(in_channels=64, conv_out_channels=64)
    x = torch.randn(20, 64, 7, 7)
    exact = stock(x.double())
    with torch.autocast("cpu", torch.bfloat16):
        errors = [(head.float()(x) - exact).abs().max().item() for head in (stock, ours)]
    assert errors[1] < 1.5 * errors[0]
