"""The depthwise convolution against PyTorch's."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import gradcheck

from convnext_dense.models import depthwise
from convnext_dense.models.depthwise import DepthwiseConv2d


@pytest.fixture
def calls(monkeypatch):
    """The dtypes of the maps whose filters' gradients went the fast way."""
    if not depthwise._HAS_KERNELS:
        pytest.skip("PyTorch's way is taken here: the fast one needs an x86 processor with AVX2")
    dtypes = []

    def record(x, *others, bands=depthwise._bands):
        dtypes.append(x.dtype)
        return bands(x, *others)

    monkeypatch.setattr(depthwise, "_bands", record)
    monkeypatch.setattr(depthwise, "MIN_SIZE", 1)
    return dtypes


def results(conv, x, probe):
    """Return the outputs and the gradients of map, filters and biases."""
    x = x.detach().requires_grad_()
    out = conv(x)
    gradients = torch.autograd.grad((out * probe.to(out)).sum(), [x, conv.weight, conv.bias])
    return [out.detach(), *gradients]


def plain(conv):
    twin = nn.Conv2d(
        conv.in_channels, conv.in_channels, conv.kernel_size, padding=conv.padding, groups=conv.groups
    )
    twin.load_state_dict(conv.state_dict())
    return twin


SHAPES = [
    (1, 8, 16, 16),
    (3, 5, 13, 18),
    (2, 3, 2, 5),
    (1, 1, 1, 1),
    (2, 24, 50, 76),
    (1, 3, 64, 7),
    (1, 2, 65, 8),
]


@pytest.mark.parametrize("kernel_size", [7, 3])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_outputs_and_gradients_in_float64(shape, kernel_size):
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64).to(memory_format=torch.channels_last)
    probe = torch.randn(shape, dtype=torch.float64)
    conv = DepthwiseConv2d(shape[1], kernel_size).double()
    expected = results(plain(conv).double(), x, probe)
    conv.forward = lambda x: depthwise._Depthwise.apply(x, conv.weight, conv.bias)
    for ours, theirs in zip(results(conv, x, probe), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_gradcheck():
    leaves = [
        torch.randn(size, dtype=torch.float64, requires_grad=True)
        for size in ((2, 3, 5, 4), (3, 1, 3, 3), (3,))
    ]
    assert gradcheck(depthwise._Depthwise.apply, leaves)
    assert gradcheck(depthwise._Depthwise.apply, (*leaves[:2], None))


@pytest.mark.parametrize("mean", [0, 1])
@pytest.mark.parametrize("shape", [(1, 16, 200, 304), (8, 48, 16, 16), (3, 5, 13, 18)], ids=str)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_rounding_in_float32(shape, memory_format, mean, calls):
    """Against exact results: 5e-6 of the largest value."""
    torch.manual_seed(0)
    x, probe = (mean + torch.randn(shape).to(memory_format=memory_format) for _ in range(2))
    conv = DepthwiseConv2d(shape[1], 7)
    ours = results(conv, x, probe)
    assert calls == [torch.float32]
    for found, exact in zip(ours, results(plain(conv).double(), x.double(), probe.double()), strict=True):
        assert (found - exact).abs().max() < 5e-6 * exact.abs().max()


def test_rounding_under_autocast(calls):
    """As far from the exact results as `nn.Conv2d` is; sums over images in fp32."""
    torch.manual_seed(0)
    x, probe = (torch.randn(16, 32, 8, 8).to(memory_format=torch.channels_last) for _ in range(2))
    conv = DepthwiseConv2d(32, 7)
    exact = results(plain(conv).double(), x.double(), probe.double())
    with torch.autocast("cpu", torch.bfloat16):
        theirs, ours = results(plain(conv), x, probe), results(conv, x, probe)
    assert calls == [torch.bfloat16]
    for found, peer, right in zip(ours, theirs, exact, strict=True):
        assert found.dtype == peer.dtype
        assert (found - right).abs().max() < 1.5 * (peer - right).abs().max()


def test_only_gradients_that_are_wanted(calls):
    conv = DepthwiseConv2d(4, 7)
    conv(torch.randn(1, 4, 8, 8)).sum().backward()
    assert conv.weight.grad is not None
    conv.requires_grad_(False)
    x = torch.randn(1, 4, 8, 8, requires_grad=True)
    conv(x).sum().backward()
    assert x.grad is not None
    assert len(calls) == 1, "none of frozen filters"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compiled(dtype, calls):
    torch.manual_seed(0)
    x, probe = (torch.randn(2, 16, 20, 24).to(memory_format=torch.channels_last) for _ in range(2))
    conv = DepthwiseConv2d(16, 7)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        expected = results(conv, x, probe)
        conv.forward = torch.compile(conv.forward, dynamic=False, fullgraph=True)
        compiled = results(conv, x, probe)
    assert calls == [dtype, dtype]
    tolerance = 1e-5 if dtype == torch.float32 else 1e-2
    for ours, eager in zip(compiled, expected, strict=True):
        assert (ours - eager).abs().max() < tolerance * eager.abs().max()


def test_the_plain_convolution_otherwise(calls, monkeypatch):
    """Without gradients, in float64, where a tracer looks, of little work: PyTorch's."""
    conv = DepthwiseConv2d(4, 7)
    x = torch.randn(2, 4, 9, 8)
    expected = F.conv2d(x, conv.weight, conv.bias, padding=3, groups=4)
    assert conv(x).grad_fn.name() == "_DepthwiseBackward"
    with torch.no_grad():
        assert torch.equal(conv(x), expected)
    assert torch.equal(torch.jit.trace(conv, x)(x), expected)
    torch.testing.assert_close(conv(x[0]), expected[0])
    conv(x[0]).sum().backward()
    conv(x[:0]).sum().backward()
    conv(x[:, :, :2]).sum().backward()
    monkeypatch.setattr(depthwise, "MIN_SIZE", 1000)
    conv(x).sum().backward()
    conv.double()(x.double()).sum().backward()
    assert not calls


@pytest.mark.parametrize("autocast", [False, True])
def test_dtypes_that_do_not_fit_are_met_as_pytorch_meets_them(autocast):
    conv = DepthwiseConv2d(64, 7)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        with pytest.raises(RuntimeError, match="type"):
            conv(torch.ones(1, 64, 9, 8, dtype=torch.int64))
        x = torch.ones(1, 64, 9, 8, dtype=torch.float64)
        assert conv.double()(x).dtype == F.conv2d(x, conv.weight, padding=3, groups=64).dtype
