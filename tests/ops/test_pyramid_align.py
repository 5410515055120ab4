"""RoIAlign over a pyramid in one pass: level by level the numbers and gradients of `roi_align`."""

import pytest
import torch

from convnext_dense.ops import roi_align as one_level
from convnext_dense.ops.pyramid_align import pyramid_roi_align

SCALES = (1 / 4, 1 / 8, 1 / 16)
SIZE = (3, 2)


def make(dtype=torch.float64, channels=6, memory_format=torch.contiguous_format):
    """Three levels of two images of 96 × 80 px, and RoIs of which some leave the image."""
    torch.manual_seed(0)
    maps = [
        torch.randn(2, channels, int(96 * s), int(80 * s), dtype=dtype)
        .to(memory_format=memory_format)
        .requires_grad_()
        for s in SCALES
    ]
    corner = torch.rand(30, 2) * 80 - 5
    rois = torch.cat((torch.arange(30)[:, None] % 2, corner, corner + 2 ** (torch.rand(30, 2) * 6)), 1)
    return maps, rois.to(dtype), torch.arange(30) * 7 % 3


def by_level(maps, rois, level, ratio, aligned, upstream):
    """The same work by `roi_align` and its gradient, one level after the other."""
    out = torch.zeros_like(upstream)
    gradients = []
    for index, (map_, scale) in enumerate(zip(maps, SCALES, strict=True)):
        own = level == index
        options = (scale, ratio, aligned)
        out[own] = one_level.roi_align(map_.detach(), rois[own], SIZE, *options)
        gradients.append(one_level.roi_align_grad(upstream[own], rois[own], map_.shape, *options))
    return out, gradients


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("ratio", "aligned"), [(0, True), (2, True), (0, False)])
@pytest.mark.parametrize("taps_per_chunk", [1 << 20, 150])
def test_numbers_and_gradients_are_those_of_single_levels(
    dtype, tolerance, memory_format, ratio, aligned, taps_per_chunk, monkeypatch
):
    monkeypatch.setattr(one_level, "TAPS_PER_CHUNK", taps_per_chunk)
    maps, rois, level = make(dtype, memory_format=memory_format)
    ours = pyramid_roi_align(maps, rois, level, SIZE, SCALES, ratio, aligned)
    upstream = torch.randn_like(ours)
    expected, gradients = by_level(maps, rois, level, ratio, aligned, upstream)
    torch.testing.assert_close(ours, expected, rtol=0, atol=tolerance)
    assert ours.is_contiguous(memory_format=torch.channels_last)
    ours.backward(upstream)
    for map_, gradient in zip(maps, gradients, strict=True):
        torch.testing.assert_close(map_.grad, gradient, rtol=0, atol=tolerance)
        assert gradient.abs().max() > 0.1


def test_gradcheck():
    maps, rois, level = make(channels=2)
    few = slice(0, 6)
    assert torch.autograd.gradcheck(
        lambda *maps: pyramid_roi_align(maps, rois[few], level[few], SIZE, SCALES), maps, atol=1e-7
    )


def test_no_rois_and_unused_levels_have_gradients_of_zero():
    maps, rois, level = make()
    none = pyramid_roi_align(maps, rois[:0], level[:0], SIZE, SCALES)
    assert none.shape == (0, 6, *SIZE)
    (none.sum() + pyramid_roi_align(maps, rois, level.fill_(1), SIZE, SCALES).sum()).backward()
    assert [bool(map_.grad.any()) for map_ in maps] == [False, True, False]


def test_rois_that_are_not_finite_pool_nothing():
    maps, rois, level = make()
    expected = pyramid_roi_align(maps, rois, level, SIZE, SCALES).detach()
    rois[4, 2], rois[9, 3] = torch.nan, torch.inf
    ours = pyramid_roi_align(maps, rois, level, SIZE, SCALES)
    assert not ours[[4, 9]].any()
    others = [i for i in range(30) if i not in (4, 9)]
    assert torch.equal(ours[others], expected[others])
