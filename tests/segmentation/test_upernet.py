"""`FusedUPerHead` is mmseg's `UPerHead`, faster."""

import pytest
import torch
from mmseg.models.decode_heads import UPerHead
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from convnext_dense.segmentation import FusedUPerHead

CHANNELS = (6, 8, 10, 12)


def build(kind, **changes):
    settings = dict(
        in_channels=CHANNELS,
        in_index=(0, 1, 2, 3),
        channels=8,
        num_classes=5,
        dropout_ratio=0.0,
        norm_cfg=dict(type="BN"),
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", avg_non_ignore=True),
    )
    return kind(**settings | changes).double()


def pair(**changes):
    torch.manual_seed(0)
    theirs = build(UPerHead, **changes)
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    ours = build(FusedUPerHead, **changes)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def features(height=107, width=139, batch=2, seed=0):
    """Return maps of strides 4, 8, 16, 32 as the backbone makes them: rounded down at each halving."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [(height // stride, width // stride) for stride in (4, 8, 16, 32)]
    return [
        torch.randn(batch, channels, *size, generator=generator, dtype=torch.float64)
        for channels, size in zip(CHANNELS, sizes, strict=True)
    ]


def logits_and_gradients(head, inputs):
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    out = head(leaves)
    probe = torch.randn(out.shape, dtype=out.dtype, generator=torch.Generator().manual_seed(2))
    (out * probe).sum().backward()
    return [out.detach(), *(leaf.grad for leaf in leaves), *(p.grad for p in head.parameters())]


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("changes", [{}, {"align_corners": True}, {"norm_cfg": None}], ids=str)
def test_logits_and_gradients_equal_mmsegs(mode, changes):
    ours, theirs = pair(**changes)
    inputs = features()
    results = [logits_and_gradients(getattr(head, mode)(), inputs) for head in (ours, theirs)]
    assert all(gradient.abs().max() > 0 for gradient in results[0])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_state_dicts_are_interchangeable():
    ours, theirs = pair()
    shapes = [{name: tensor.shape for name, tensor in head.state_dict().items()} for head in (ours, theirs)]
    assert shapes[0] == shapes[1]


def test_the_plain_order_is_mmsegs_bit_for_bit():
    ours, theirs = pair()
    plain = build(FusedUPerHead, fused=False)
    plain.load_state_dict(ours.state_dict())
    assert torch.equal(plain.eval()(features()), theirs.eval()(features()))


class Shapes(TorchDispatchMode):
    """Shapes of all tensors that are made meanwhile."""

    def __init__(self):
        super().__init__()
        self.made = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.made |= {tuple(t.shape) for t in tree_leaves(result) if torch.is_tensor(t)}
        return result


def test_no_map_of_all_levels_channels_is_made():
    """The largest tensor of the plain order, (B, 4C, H, W), is not there."""
    ours, theirs = pair()
    inputs = features()
    largest = (2, 4 * 8, *inputs[0].shape[2:])
    for head, is_there in ((ours, False), (theirs, True)):
        with torch.no_grad(), Shapes() as shapes:
            head.eval()(inputs)
        assert (largest in shapes.made) is is_there


@pytest.mark.parametrize("change", ["order", "convolution"])
def test_modules_of_another_kind_are_left_to_mmseg(change):
    ours, theirs = pair()
    for head in (ours, theirs):
        if change == "order":
            head.fpn_bottleneck.order = ("norm", "conv", "act")
            head.fpn_bottleneck.bn = torch.nn.BatchNorm2d(32).double()
        else:
            plain = head.fpn_bottleneck.conv
            head.fpn_bottleneck.conv = torch.nn.Sequential(plain)
    assert torch.equal(ours.eval()(features()) * 0 + 1, theirs.eval()(features()) * 0 + 1)
    torch.testing.assert_close(ours(features()), theirs(features()), rtol=1e-9, atol=1e-9)


def test_twenty_steps_train_like_mmsegs():
    """Loss and gradient norm of each step, in double precision from the same weights."""
    curves = []
    for head in pair():
        optimizer, curve = torch.optim.AdamW(head.train().parameters(), lr=1e-2), []
        labels = torch.randint(5, (2, 26, 34), generator=torch.Generator().manual_seed(3))
        for step in range(20):
            loss = torch.nn.functional.cross_entropy(head(features(seed=step)), labels)
            optimizer.zero_grad()
            loss.backward()
            norm = torch.nn.utils.get_total_norm([p.grad for p in head.parameters() if p.grad is not None])
            curve.append([loss.item(), norm.item()])
            optimizer.step()
        curves.append(torch.tensor(curve, dtype=torch.float64))
    torch.testing.assert_close(*curves, rtol=1e-6, atol=1e-8)
    assert curves[0][-1, 0] != curves[0][0, 0]
