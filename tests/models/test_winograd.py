"""Winograd's 3×3 convolution against PyTorch's direct one."""

import pytest
import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from torch import nn
from torch.autograd import gradcheck

from convnext_dense.models import winograd
from convnext_dense.models.winograd import MIN_CHANNELS, MIN_TILES, WinogradConv2d, conv3x3


@pytest.fixture
def own_sizes(winograd_calls, monkeypatch):
    """`winograd_calls` with the thresholds as they are."""
    monkeypatch.setattr(winograd, "MIN_CHANNELS", MIN_CHANNELS)
    monkeypatch.setattr(winograd, "MIN_TILES", MIN_TILES)
    return winograd_calls


def results(function, x, weight, bias):
    """Return the output and the gradients of all that has one."""
    leaves = [tensor.detach().clone().requires_grad_() for tensor in (x, weight, bias) if tensor is not None]
    out = function(*leaves) if bias is not None else function(*leaves, None)
    probe = torch.randn(out.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).to(out)
    return [out.detach(), *torch.autograd.grad((out * probe).sum(), leaves)]


def direct(x, weight, bias):
    return F.conv2d(x, weight, bias, padding=1)


@pytest.mark.parametrize("chunk", [1, 60, 10**6], ids=["a row of tiles at a time", "some", "all"])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize(
    "shape",
    [(1, 3, 8, 12), (3, 5, 13, 18), (7, 4, 7, 7), (2, 2, 4, 4), (1, 3, 1, 2), (5, 2, 14, 14)],
    ids=["whole tiles", "odd sides", "regions", "a tile", "less than a tile", "several images"],
)
def test_outputs_and_gradients_in_float64(shape, with_bias, chunk, winograd_calls, monkeypatch):
    monkeypatch.setattr(winograd, "CHUNK", chunk)
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64).to(memory_format=torch.channels_last)
    weight = torch.randn(6, shape[1], 3, 3, dtype=torch.float64)
    bias = torch.randn(6, dtype=torch.float64) if with_bias else None
    ours = results(conv3x3, x, weight, bias)
    assert len(winograd_calls) == 2, "forwards, and backwards for the map"
    for found, expected in zip(ours, results(direct, x, weight, bias), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


def test_gradcheck(winograd_calls):
    x = torch.randn(2, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(conv3x3, (x, weight, bias))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_rounding_in_float32(memory_format, own_sizes):
    """Against exact results."""
    torch.manual_seed(0)
    x = torch.randn(2, 256, 50, 61).relu().to(memory_format=memory_format)
    weight, bias = torch.randn(192, 256, 3, 3) / 48, torch.randn(192)
    ours = results(conv3x3, x, weight, bias)
    assert own_sizes
    assert ours[0].is_contiguous(memory_format=torch.channels_last)
    for found, expected in zip(
        ours, results(direct, x.double(), weight.double(), bias.double()), strict=True
    ):
        assert (found - expected).abs().max() < 2e-5 * expected.abs().max()


def test_only_gradients_that_are_wanted(winograd_calls):
    x, weight = torch.randn(1, 2, 8, 8), torch.randn(2, 2, 3, 3, requires_grad=True)
    conv3x3(x, weight).sum().backward()
    assert weight.grad is not None
    assert len(winograd_calls) == 1, "none of the map's gradient"


@pytest.mark.parametrize(
    ("channels", "side", "dtype"),
    [(64, 64, torch.float32), (192, 32, torch.float32), (192, 64, torch.bfloat16)],
    ids=["narrow", "small", "16 bits"],
)
def test_what_does_not_pay_or_is_not_precise_enough_goes_directly(channels, side, dtype, own_sizes):
    x, weight = (
        torch.randn(1, channels, side, side).to(dtype),
        torch.randn(channels, channels, 3, 3).to(dtype),
    )
    assert torch.equal(conv3x3(x, weight), F.conv2d(x, weight, padding=1))
    assert not own_sizes


@pytest.mark.parametrize("activation", [nn.ReLU(inplace=True), lambda y: y.add_(1)], ids=["ReLU", "sum"])
def test_its_result_may_be_changed_in_place(activation, winograd_calls):
    """A convolution without a norm and an in-place activation is a mask head's layer."""
    layer = WinogradConv2d(3, 4, 3, padding=1)
    x = torch.randn(2, 3, 8, 8, requires_grad=True)
    found = torch.autograd.grad(activation(layer(x)).square().sum(), [x, *layer.parameters()])
    stock = activation(F.conv2d(x, layer.weight, layer.bias, padding=1)).square().sum()
    torch.testing.assert_close(
        found, torch.autograd.grad(stock, [x, *layer.parameters()]), rtol=1e-4, atol=1e-3
    )
    assert len(winograd_calls) == 2


def test_a_map_without_a_batch(winograd_calls):
    layer, x = WinogradConv2d(3, 4, 3, padding=1), torch.randn(3, 8, 8)
    assert torch.equal(layer(x), F.conv2d(x, layer.weight, layer.bias, padding=1))


def test_reduced_precision_of_products_is_not_amplified(winograd_calls):
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        conv3x3(torch.randn(1, 3, 8, 8), torch.randn(4, 3, 3, 3))
    finally:
        torch.set_float32_matmul_precision(before)
    assert not winograd_calls


def test_backwards_under_autocast_as_forwards_without(winograd_calls):
    x = torch.randn(1, 3, 8, 8)
    weight = torch.randn(4, 3, 3, 3, requires_grad=True)
    loss = conv3x3(x, weight).sum()
    with torch.autocast("cpu", torch.bfloat16):
        loss.backward()
    found, weight.grad = weight.grad, None
    F.conv2d(x, weight, padding=1).sum().backward()
    torch.testing.assert_close(found, weight.grad, rtol=1e-4, atol=1e-4)


def test_autocast_keeps_its_dtype(winograd_calls):
    with torch.autocast("cpu", torch.bfloat16):
        assert conv3x3(torch.randn(1, 4, 8, 8), torch.randn(4, 4, 3, 3)).dtype == torch.bfloat16
    assert not winograd_calls


def test_no_images(winograd_calls, monkeypatch):
    monkeypatch.setattr(winograd, "MIN_TILES", 0)
    assert conv3x3(torch.zeros(0, 4, 8, 8), torch.randn(5, 4, 3, 3)).shape == (0, 5, 8, 8)


@pytest.mark.parametrize(
    "arguments",
    [
        {"kernel_size": 1},
        {"kernel_size": 3},
        {"kernel_size": 3, "padding": 1, "stride": 2},
        {"kernel_size": 3, "padding": 2, "dilation": 2},
        {"kernel_size": 3, "padding": 1, "groups": 2},
        {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
        {"kernel_size": 3, "padding": "same"},
    ],
    ids=str,
)
def test_a_layer_that_is_another_convolution(arguments, winograd_calls):
    torch.manual_seed(0)
    layer, stock = WinogradConv2d(4, 6, **arguments), nn.Conv2d(4, 6, **arguments)
    stock.load_state_dict(layer.state_dict())
    x = torch.randn(2, 4, 9, 9)
    assert torch.equal(layer(x), stock(x))
    assert not winograd_calls


def test_as_a_conv_cfg(winograd_calls):
    torch.manual_seed(0)
    given = {"padding": 1, "norm_cfg": {"type": "BN"}}
    module = ConvModule(4, 6, 3, conv_cfg={"type": "WinogradConv2d"}, **given)
    stock = ConvModule(4, 6, 3, **given)
    stock.load_state_dict(module.state_dict())
    x = torch.randn(2, 4, 9, 9)
    torch.testing.assert_close(module(x), stock(x), rtol=1e-4, atol=1e-4)
    assert len(winograd_calls) == 1


def test_compiled_it_is_a_plain_convolution(winograd_calls):
    compiled = torch.compile(WinogradConv2d(4, 4, 3, padding=1), backend="eager", fullgraph=True)
    x = torch.randn(1, 4, 8, 8)
    torch.testing.assert_close(compiled(x), F.conv2d(x, compiled.weight, compiled.bias, padding=1))
    assert not winograd_calls
