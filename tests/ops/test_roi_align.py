import itertools

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from convnext_dense import ops
from convnext_dense.ops import roi_align as implementation

from . import reference

ops.install()
from mmcv.ops import RoIAlign, roi_align  # noqa: E402

pytestmark = pytest.mark.usefixtures("stand_in")

SCALE = 0.25
NASTY = [
    [0, 20, 20, 20, 20],  # no size
    [1, -100, -100, -50, -50],  # outside, above left
    [0, 500, 500, 600, 640],  # outside, below right
    [1, 40, 30, 20, 36],  # negative width
    [1, 40, 30, 20, 10],  # negative width and height
    [0, -40, -30, 200, 300],  # far larger than the map
    [1, 0, 0, 52, 44],  # the map itself
    [0, -6, -6, 2, 2],  # across the corner at −1 px
    [1, 8, 8, 8.5, 40],  # thin
]


@pytest.fixture(params=["weighted sums", "products"], autouse=True)
def form(request, monkeypatch):
    """Every test holds for both ways of pooling, between which the number of channels chooses."""
    few = {"weighted sums": 0, "products": 1000}[request.param]
    monkeypatch.setattr(implementation, "FEW_CHANNELS", few)


def maps_and_rois(n_random=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(2, 3, 11, 13, generator=generator, dtype=torch.float64)
    corner = torch.rand(n_random, 2, generator=generator, dtype=torch.float64) * 60 - 10
    size = torch.rand(n_random, 2, generator=generator, dtype=torch.float64) * 40
    image = torch.arange(n_random, dtype=torch.float64)[:, None] % 2
    rois = torch.cat((image, corner, corner + size), 1)
    return maps, torch.cat((rois, torch.tensor(NASTY, dtype=torch.float64)))


@pytest.mark.parametrize(("aligned", "sampling_ratio"), itertools.product((True, False), (0, 1, 2, 3)))
def test_equals_the_formula(aligned, sampling_ratio):
    maps, rois = maps_and_rois()
    out = roi_align(maps, rois, (3, 2), SCALE, sampling_ratio, "avg", aligned)
    expected = reference.roi_align(maps.numpy(), rois, (3, 2), SCALE, sampling_ratio, aligned)
    np.testing.assert_allclose(out.numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("output_size", [(1, 1), (7, 7), (2, 5)])
def test_output_sizes(output_size):
    maps, rois = maps_and_rois(4)
    out = RoIAlign(output_size, SCALE)(maps, rois)
    expected = reference.roi_align(maps.numpy(), rois, output_size, SCALE, 0, True)
    np.testing.assert_allclose(out.numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("map_size", [(1, 1), (1, 9), (8, 1)])
def test_maps_one_pixel_wide(map_size):
    _, rois = maps_and_rois(4)
    maps = torch.randn(2, 2, *map_size, dtype=torch.float64)
    out = roi_align(maps, rois, 2, SCALE, 0, "avg", True)
    expected = reference.roi_align(maps.numpy(), rois, (2, 2), SCALE, 0, True)
    np.testing.assert_allclose(out.numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("aligned", "sampling_ratio"), itertools.product((True, False), (0, 2)))
def test_gradient(aligned, sampling_ratio):
    maps, rois = maps_and_rois(3)
    maps.requires_grad_()
    assert gradcheck(lambda x: roi_align(x, rois, (3, 2), SCALE, sampling_ratio, "avg", aligned), maps)


def test_the_result_does_not_depend_on_the_chunks(monkeypatch):
    maps, rois = maps_and_rois()

    def run():
        x = maps.clone().requires_grad_()
        out = roi_align(x, rois, 4, SCALE, 0, "avg", True)
        out.square().sum().backward()
        return out.detach(), x.grad

    whole = run()
    monkeypatch.setattr(implementation, "TAPS_PER_CHUNK", 200)
    for a, b in zip(whole, run(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_memory_formats_agree_in_both_directions():
    maps, rois = maps_and_rois()
    results = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        x = maps.clone(memory_format=memory_format).requires_grad_()
        out = roi_align(x, rois, 3, SCALE, 0, "avg", True)
        (out.contiguous(memory_format=memory_format) ** 2).sum().backward()
        results.append((out.detach(), x.grad))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-13)


def test_float32_is_close_to_float64():
    maps, rois = maps_and_rois(40)
    rois = rois.float()
    exact = roi_align(maps, rois.double(), 7, SCALE, 0, "avg", True)
    single = roi_align(maps.float(), rois, 7, SCALE, 0, "avg", True)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), exact, rtol=0, atol=2e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_accumulates_in_single_and_keeps_the_coordinates(dtype):
    maps, rois = maps_and_rois(40)
    maps = maps.to(dtype)
    rois = rois.float()
    rois[:, 1:] += 1000 / 3  # not a half-precision number
    maps = torch.nn.functional.pad(maps, (83, 0, 83, 0))
    x, exact = maps.clone().requires_grad_(), maps.float().requires_grad_()
    out, expected = (roi_align(m, rois, 3, SCALE, 0, "avg", True) for m in (x, exact))
    assert out.dtype == dtype
    assert torch.equal(out, expected.to(dtype))
    out.sum().backward()
    expected.sum().backward()
    assert x.grad.dtype == dtype
    assert torch.equal(x.grad, exact.grad.to(dtype))


def test_no_rois_and_rois_that_touch_nothing():
    maps = torch.randn(1, 3, 5, 5, requires_grad=True)
    assert roi_align(maps, maps.new_zeros(0, 5), 7, 1.0, 0, "avg", True).shape == (0, 3, 7, 7)
    out = roi_align(maps, torch.tensor([[0.0, 90, 90, 99, 99], [0, 2, 2, 2, 2]]), 7, 1.0, 0, "avg", True)
    assert not out.any()
    out.sum().backward()
    assert not maps.grad.any()


def test_huge_and_non_finite_rois_cost_no_more_than_the_map():
    maps = torch.rand(1, 2, 16, 16) + 1
    rois = torch.tensor(
        [
            [0, -1e6, -1e6, 1e6, 1e6],
            [0, -1e30, 0, 1e30, 16],
            [0, 0, 0, float("inf"), 8],
            [0, float("nan"), 0, 8, 8],
            [0, 2, 2, 9, 9],
        ]
    )
    out = roi_align(maps, rois, 2, 1.0, 0, "avg", True)
    assert out.isfinite().all()
    assert not out[2:4].any()
    alone = roi_align(maps, rois[4:], 2, 1.0, 0, "avg", True)
    torch.testing.assert_close(out[4:], alone, rtol=0, atol=1e-6)


def test_many_rois_of_a_detector_against_grid_sample():
    """With one sample per bin RoIAlign is plain bilinear sampling, for which PyTorch has its own operator."""
    maps = torch.randn(1, 8, 40, 50, dtype=torch.float64)
    corner = torch.rand(500, 2, dtype=torch.float64) * torch.tensor([25, 20])
    corners = torch.cat((corner, corner + torch.rand(500, 2, dtype=torch.float64) * 18 + 1), 1)
    out = roi_align(maps, torch.cat((corners.new_zeros(500, 1), corners), 1), 7, 1.0, 1, "avg", True)
    centre = (torch.arange(7, dtype=torch.float64) + 0.5) / 7
    x = corners[:, :1] + centre * (corners[:, 2] - corners[:, 0])[:, None]
    y = corners[:, 1:2] + centre * (corners[:, 3] - corners[:, 1])[:, None]
    x, y = x / 50 * 2 - 1, y / 40 * 2 - 1
    grid = torch.stack((x[:, None].expand(500, 7, 7), y[:, :, None].expand(500, 7, 7)), -1)
    expected = torch.nn.functional.grid_sample(
        maps, grid.reshape(1, 500, 49, 2), padding_mode="border", align_corners=False
    )
    torch.testing.assert_close(out, expected[0].transpose(0, 1).view(500, 8, 7, 7), rtol=0, atol=1e-12)


def test_max_pooling_says_what_to_do():
    with pytest.raises(ops.AbsentOperatorError, match=r"max.*\n.*pool_mode='avg'"):
        roi_align(torch.rand(1, 1, 4, 4), torch.zeros(1, 5), 2, 1.0, 0, "max", True)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_cuda_equals_cpu(dtype):
    maps, rois = maps_and_rois(40)
    maps, rois = maps.to(dtype), rois.float()
    results = []
    for device in ("cpu", "cuda"):
        x = maps.to(device).requires_grad_()
        out = implementation.roi_align(x, rois.to(device), (7, 7), SCALE)
        grad = implementation.roi_align_grad(out, rois.to(device), x.shape, SCALE)
        results.append((out.cpu(), grad.cpu()))
    tolerance = {torch.float64: 1e-12, torch.float32: 2e-5, torch.bfloat16: 2e-2}[dtype]
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)
