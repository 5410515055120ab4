"""RoI features: mmdet's in single precision, and RoIs that are not rounded in half precision."""

import pytest
import torch
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.registry import MODELS

from convnext_dense.detection import PreciseRoIExtractor

STRIDES = (4, 8, 16, 32)
SIZE = (640, 1280)  # px; beyond 1024 half precision keeps no fractions


def make(extractor, levels=4, **options):
    layer = dict(type="RoIAlign", output_size=(5, 7), sampling_ratio=0, **options)
    return extractor(roi_layer=layer, out_channels=3, featmap_strides=list(STRIDES[:levels]))


def maps(dtype, levels=4, seed=0):
    torch.manual_seed(seed)
    return [
        torch.randn(2, 3, SIZE[0] // s, SIZE[1] // s).to(dtype).requires_grad_() for s in STRIDES[:levels]
    ]


def rois(count=40):
    torch.manual_seed(1)
    corner = torch.rand(count, 2) * torch.tensor([1000.0, 500]) + torch.tensor([200, 0])
    extent = 2 ** (torch.rand(count, 2) * 7 + 3)
    return torch.cat((torch.arange(count)[:, None] % 2, corner, corner + extent), 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("levels", [1, 4])
@pytest.mark.parametrize("scale", [None, 1.3])
def test_in_single_and_double_precision_it_is_the_stock_extractor(dtype, levels, scale):
    outputs, gradients = [], []
    for extractor in (SingleRoIExtractor, PreciseRoIExtractor):
        feats = maps(dtype, levels)
        out = make(extractor, levels)(feats, rois().to(dtype), scale)
        out.square().sum().backward()
        outputs.append(out.detach())
        gradients.append([level.grad for level in feats])
    tolerance = dict(rtol=1e-6, atol=1e-6) if dtype == torch.float32 else dict(rtol=0, atol=1e-13)
    torch.testing.assert_close(*outputs, **tolerance)
    assert outputs[0].dtype == dtype
    torch.testing.assert_close(*gradients, **tolerance)
    assert outputs[0].abs().max() > 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_in_half_precision_only_the_features_are_rounded(dtype):
    feats = maps(dtype)
    exact = make(PreciseRoIExtractor)([level.detach().double() for level in feats], rois().double())
    ours = make(PreciseRoIExtractor)(feats, rois())
    stock = make(SingleRoIExtractor)(feats, rois())
    assert ours.dtype == dtype
    resolution = torch.finfo(dtype).eps
    torch.testing.assert_close(ours.double(), exact, rtol=resolution, atol=1e-4)
    assert (stock - exact).abs().max() > 100 * resolution  # what it is for
    ours.float().square().sum().backward()
    for level, stride in zip(feats, STRIDES, strict=True):
        assert level.grad.dtype == dtype, stride
        assert level.grad.abs().sum() > 0, stride


def test_a_level_without_rois_stays_in_the_graph():
    """Processes that differ in the levels that they use would wait for one another otherwise."""
    feats = maps(torch.bfloat16)
    make(PreciseRoIExtractor)(feats, torch.tensor([[0.0, 5, 5, 20, 20]])).sum().backward()
    assert [level.grad is not None for level in feats] == [True] * 4
    assert not feats[3].grad.any()


def test_no_rois():
    out = make(PreciseRoIExtractor)(maps(torch.bfloat16), torch.zeros(0, 5))
    assert out.shape == (0, 3, 5, 7)
    assert out.dtype == torch.bfloat16


def test_one_pass_pools_into_channels_last():
    """What makes it fast on a CPU; the heads' convolutions need no copy of their input."""
    out = make(PreciseRoIExtractor)(maps(torch.float32), rois())
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert type(out.grad_fn).__name__.startswith("_PyramidRoIAlign")


def test_a_layer_of_its_own_is_left_to_mmdet():
    maximum = make(PreciseRoIExtractor, pool_mode="max")
    with pytest.raises(NotImplementedError, match="pool_mode"):
        maximum(maps(torch.float32), rois())


def test_configs_find_it_from_mmdet():
    layer = dict(type="RoIAlign", output_size=7, sampling_ratio=0)
    config = dict(type="PreciseRoIExtractor", roi_layer=layer, out_channels=3, featmap_strides=[4])
    assert isinstance(MODELS.build(config), PreciseRoIExtractor)
