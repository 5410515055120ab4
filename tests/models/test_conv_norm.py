"""A fixed batch norm goes into the weights, everything else stays as it is."""

import pytest
import torch
from mmcv.cnn import ConvModule

from convnext_dense.models.conv_norm import convolve


def module(norm="BN", **arguments):
    torch.manual_seed(0)
    norm_cfg = norm and {"type": norm, **({"num_groups": 2} if norm == "GN" else {})}
    made = ConvModule(4, 4, 3, padding=1, norm_cfg=norm_cfg, **arguments).double()
    with torch.no_grad():
        for name, tensor in made.state_dict().items():
            if name.startswith(("bn", "gn")) and tensor.is_floating_point():
                tensor.uniform_(0.5, 2)
    return made


def passes_of_norm(made, x):
    """Return the module's result by `convolve`, and how often its norm ran by itself."""
    calls = []
    if made.with_norm:
        forward = made.norm.forward
        made.norm.forward = lambda y: (calls.append(None), forward(y))[1]
    return convolve(x, made), len(calls)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("conv", [None, "Conv2d", "WinogradConv2d"])
@pytest.mark.parametrize("act", [None, "ReLU", "GELU"])
def test_batch_norm_in_evaluation_costs_no_pass(act, conv, bias):
    made = module(bias=bias, conv_cfg=conv and {"type": conv}, act_cfg=act and {"type": act}).eval()
    x = torch.randn(2, 4, 5, 7, dtype=torch.float64)
    found, passes = passes_of_norm(made, x)
    torch.testing.assert_close(found, made(x), rtol=1e-12, atol=1e-12)
    assert passes == 0


@pytest.mark.parametrize(
    ("norm", "arguments", "training"),
    [
        ("BN", {}, True),
        ("GN", {}, False),
        (None, {}, False),
        ("BN", {"order": ("norm", "conv", "act")}, False),
        ("BN", {"padding_mode": "reflect"}, False),
        ("BN", {"with_spectral_norm": True}, False),
    ],
    ids=[
        "training",
        "another norm",
        "no norm",
        "another order",
        "another padding",
        "spectral norm",
    ],
)
def test_other_modules_run_as_they_are(norm, arguments, training):
    made = module(norm, **arguments).train(training)
    x = torch.randn(2, 4, 5, 7, dtype=torch.float64)
    found, passes = passes_of_norm(made, x)
    assert torch.equal(found, made(x))
    assert passes == (1 if norm else 0)


def test_a_weight_larger_than_the_map_is_not_multiplied():
    _, passes = passes_of_norm(module().eval(), torch.randn(1, 4, 6, 6, dtype=torch.float64))
    assert passes == 1
    _, passes = passes_of_norm(module().eval(), torch.randn(1, 4, 6, 7, dtype=torch.float64))
    assert passes == 0


@pytest.mark.parametrize("part", ["the module", "conv", "bn"])
@pytest.mark.parametrize("kind", ["register_forward_hook", "register_forward_pre_hook"])
def test_hooks_are_called(kind, part):
    made, calls = module().eval(), []
    owner = made if part == "the module" else getattr(made, part)
    getattr(owner, kind)(lambda *_: calls.append(None))
    convolve(torch.randn(2, 4, 5, 7, dtype=torch.float64), made)
    assert len(calls) == 1


def test_something_else_in_its_place():
    x = torch.randn(2, 4, 5, 7)
    assert convolve(x, torch.nn.Identity()) is x


def test_winograds_way_with_the_norm_folded(winograd_calls):
    made = module(conv_cfg={"type": "WinogradConv2d"}).eval()
    convolve(torch.randn(2, 4, 5, 7, dtype=torch.float64), made)
    assert winograd_calls == [(2, 4, 5, 7)]


def test_gradients_of_a_frozen_norm():
    made = module().eval()
    x = torch.randn(2, 4, 5, 7, dtype=torch.float64, requires_grad=True)
    leaves = [x, *made.parameters()]
    for found, expected in zip(
        torch.autograd.grad(convolve(x, made).square().sum(), leaves),
        torch.autograd.grad(made(x).square().sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
