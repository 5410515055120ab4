"""The block without gradients computes what it computes with them."""

from collections import Counter

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from convnext_dense.models import fused_mlp
from convnext_dense.models.convnext import Block
from convnext_dense.models.layers import channel_energy


class Operators(TorchDispatchMode):
    """Names of the operators that run meanwhile."""

    def __init__(self):
        super().__init__()
        self.names = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names[func.name()] += 1
        return func(*args, **(kwargs or {}))


def make_block(use_grn, dim=24):
    torch.manual_seed(0)
    block = Block(dim, layer_scale_init_value=0.0 if use_grn else 1.0, use_grn=use_grn)
    for name, parameter in block.named_parameters():
        if name.startswith(("grn", "gamma", "norm")):
            torch.nn.init.normal_(parameter, mean=0.5)
    return block.eval()


@pytest.mark.parametrize("use_grn", [False, True])
@pytest.mark.parametrize(
    ("batch", "height", "width"), [(1, 13, 7), (3, 9, 5), (2, 3, 5)], ids=["one", "several", "small"]
)
def test_the_same_map_as_with_gradients(use_grn, batch, height, width):
    """Small maps have fewer positions than channels: GRN's scale stays out of the weights."""
    block = make_block(use_grn)
    x = torch.randn(batch, 24, height, width).to(memory_format=torch.channels_last)
    kept = x.clone()
    expected = block.double()(x.double())
    block.float()
    with torch.no_grad(), Operators() as ran:
        y = block(x)
    assert "mkldnn::_linear_pointwise" in ran.names
    assert "aten::gelu" not in ran.names
    torch.testing.assert_close(y.double(), expected.detach(), rtol=1e-5, atol=1e-5)
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(x, kept), "the input is the caller's"


@pytest.mark.parametrize("use_grn", [False, True])
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_large_hidden_map_in_pieces(channels_last, use_grn, monkeypatch):
    """V2's pieces are of one image, each of which has a scale of its own."""
    block = make_block(use_grn)
    x = torch.randn(2, 24, 7, 9)
    x = x.to(memory_format=torch.channels_last) if channels_last else x
    with torch.no_grad():
        expected = block(x)
        monkeypatch.setattr(fused_mlp, "WHOLE", 0)
        monkeypatch.setattr(fused_mlp, "PIECE", 96 * 50)  # of 126 positions, 63 an image
        with Operators() as ran:
            y = block(x)
    assert ran.names["mkldnn::_linear_pointwise"] == (4 if use_grn else 3)
    torch.testing.assert_close(y, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("use_grn", [False, True])
def test_under_autocast(use_grn):
    block = make_block(use_grn)
    x = torch.randn(1, 24, 12, 12).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        expected = block(x)
        with torch.no_grad():
            y = block(x)
    assert y.dtype == expected.dtype
    torch.testing.assert_close(y.float(), expected.float(), rtol=0, atol=0.03 * expected.abs().max().item())


@pytest.mark.parametrize("case", ["gradients", "float64", "switched off"])
def test_where_it_cannot_be_fused_operators_run_one_by_one(case):
    block, x = make_block(use_grn=False), torch.randn(1, 24, 4, 4)
    if case == "float64":
        block, x = block.double(), x.double()
    with (
        torch.set_grad_enabled(case == "gradients"),
        torch.backends.mkldnn.flags(enabled=case != "switched off"),
        Operators() as ran,
    ):
        block(x)
    assert "aten::gelu" in ran.names


def test_samples_are_dropped_without_gradients_too():
    block = Block(8, drop_path=0.999999, layer_scale_init_value=1.0).train()
    x = torch.randn(2, 8, 4, 4)
    with torch.no_grad():
        assert torch.equal(block(x), x)


def test_weights_that_change_are_seen():
    block, x = make_block(use_grn=False), torch.randn(1, 24, 4, 4)
    with torch.no_grad():
        before = block(x)
        block.gamma.mul_(2)
        torch.testing.assert_close(block(x) - x, 2 * (before - x), rtol=1e-4, atol=1e-5)


def test_gradient_of_the_energy():
    x = torch.randn(2, 3, 5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(channel_energy, x)
    assert torch.autograd.gradgradcheck(channel_energy, x)
    torch.testing.assert_close(channel_energy(x), torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True))


def test_a_channel_of_zeros_has_no_gradient():
    x = torch.randn(1, 3, 3, 2)
    x[..., 1] = 0
    x.requires_grad_()
    channel_energy(x).sum().backward()
    assert (x.grad[..., 1] == 0).all()
    assert x.grad[..., 0].norm() == pytest.approx(1)


def test_energy_of_16_bit_maps_is_summed_in_32():
    x = torch.full((1, 256, 256, 1), 40.0)
    for dtype in (torch.bfloat16, torch.float16):
        energy = channel_energy(x.to(dtype))
        assert energy.dtype == torch.float32
        assert energy.item() == pytest.approx(40 * 256, rel=1e-3)
