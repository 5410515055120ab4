"""The reordered convolution against the plain one: upsample, concatenate, convolve."""

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck

from convnext_dense.models.upsampled_conv import conv3x3_of_upsampled


def plain(maps, weight, bias=None, align_corners=False):
    size = maps[0].shape[2:]
    resized = [F.interpolate(m, size, mode="bilinear", align_corners=align_corners) for m in maps[1:]]
    return F.conv2d(torch.cat([maps[0], *resized], 1), weight, bias, padding=1)


def random_maps(*shapes, out=5, dtype=torch.float64, batch=2):
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    maps = [draw(batch, *shape) for shape in shapes]
    return maps, draw(out, sum(m.shape[1] for m in maps), 3, 3), draw(out)


#: (channels, height, width) of each map, the full one first.
SIZES = {
    "a pyramid": [(4, 16, 24), (4, 8, 12), (4, 4, 6), (4, 2, 3)],
    "odd at every level": [(4, 27, 35), (3, 14, 18), (2, 7, 9), (1, 4, 5)],
    "pooled": [(6, 13, 17), (3, 1, 1), (3, 2, 2), (3, 3, 3), (3, 6, 6)],
    "a pooled map larger than the full one": [(3, 4, 5), (2, 6, 6)],
    "factors of 3 and 5, unequal": [(2, 15, 9), (2, 5, 3), (2, 3, 9)],
    "one pixel": [(2, 1, 1), (3, 1, 1)],
    "a single map": [(3, 6, 7)],
}


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("shapes", SIZES.values(), ids=SIZES)
def test_outputs_and_gradients_are_those_of_the_concatenation(shapes, align_corners):
    maps, weight, bias = random_maps(*shapes)
    results = []
    for function in (conv3x3_of_upsampled, plain):
        leaves = [tensor.clone().requires_grad_() for tensor in (*maps, weight, bias)]
        out = function(leaves[:-2], leaves[-2], leaves[-1], align_corners)
        probe = torch.randn(out.shape, dtype=out.dtype, generator=torch.Generator().manual_seed(1))
        grads = torch.autograd.grad((out * probe).sum(), leaves)
        results.append([out.detach(), *grads])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_gradcheck():
    maps, weight, bias = random_maps((2, 5, 4), (1, 3, 2), (2, 2, 2), out=2, batch=1)
    leaves = [tensor.requires_grad_() for tensor in (*maps, weight, bias)]
    assert gradcheck(lambda *given: conv3x3_of_upsampled(given[:-2], given[-2], given[-1]), leaves)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
def test_single_and_half_precision_are_as_near_to_double_as_the_plain_order(dtype, tolerance):
    maps, weight, _ = random_maps((16, 20, 28), (16, 10, 14), (16, 5, 7), dtype=dtype)
    exact = plain([m.double() for m in maps], weight.double())
    scale = exact.abs().max()
    error = (conv3x3_of_upsampled(maps, weight).double() - exact).abs().max() / scale
    assert error < tolerance
    # bfloat16 rounds the taps and the rows as well as the sum: twice as often as the plain order does
    assert error <= 4 * ((plain(maps, weight).double() - exact).abs().max() / scale) + 1e-7


def test_memory_formats_give_the_same():
    maps, weight, bias = random_maps((4, 9, 7), (4, 5, 4))
    last = [m.to(memory_format=torch.channels_last) for m in maps]
    torch.testing.assert_close(
        conv3x3_of_upsampled(last, weight, bias),
        conv3x3_of_upsampled(maps, weight, bias),
        rtol=1e-12,
        atol=1e-12,
    )


def test_nothing_is_computed_on_the_meta_device():
    maps, weight, _ = random_maps((4, 9, 7), (4, 5, 4))
    out = conv3x3_of_upsampled([m.to("meta") for m in maps], weight.to("meta"))
    assert out.shape == (2, 5, 9, 7)
