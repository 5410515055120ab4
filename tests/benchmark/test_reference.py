"""The plain ConvNeXt that stands for the stock one computes what ours does."""

import pytest
import torch

from convnext_dense import ConvNeXt
from convnext_dense.benchmark.reference import PlainConvNeXt
from convnext_dense.benchmark.weights import randomise


@pytest.mark.parametrize("use_grn", [False, True])
def test_the_same_maps_and_gradients(use_grn):
    arch = dict(depths=[1, 1, 2, 1], dims=[8, 16, 24, 32], use_grn=use_grn)
    ours = ConvNeXt(arch, out_indices=(0, 1, 2, 3), layer_scale_init_value=0.0 if use_grn else 1.0).double()
    randomise(ours)
    plain = PlainConvNeXt(arch).double()
    plain.load_state_dict(ours.state_dict())
    images = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    gradients = []
    for model in (ours, plain):
        maps = model(images)
        sum((map_.sin() * map_).sum() for map_ in maps).backward()
        gradients.append((maps, {name: p.grad for name, p in model.named_parameters()}))
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-9)


def test_random_weights_leave_nothing_out():
    """A parameter that is 0, or a scale that is 1, would hide a difference."""
    model = ConvNeXt("v2_atto")
    randomise(model)
    for name, tensor in model.state_dict().items():
        assert tensor.std() > 0, name
        assert (tensor != 0).all(), name
