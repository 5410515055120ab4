from __future__ import annotations

import pytest
import torch
from mmengine.config import Config
from torch import nn

from convnext_dense.complexity import count_macs, count_params
from convnext_dense.errors import UserError
from convnext_dense.testing import shrink

from .configs.shipped import CONFIGS, build_model


class Net(nn.Module):
    """A stride-2 convolution, a depthwise one, a linear layer on each position, and a matrix product."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 7, padding=3, groups=8)
        self.linear = nn.Linear(8, 5)

    def forward(self, images):
        x = self.depthwise(torch.relu(self.norm(self.conv(images))))
        y = self.linear(x.permute(0, 2, 3, 1)).flatten(1, 2)
        return y.transpose(1, 2) @ y


def test_macs_of_each_kind_of_layer():
    positions = 10 * 12
    by_hand = positions * (8 * 3 * 9 + 8 * 49 + 8 * 5 + 5 * 5)
    assert count_macs(Net(), (3, 20, 24)) == by_hand


def test_a_shared_parameter_counts_once():
    net = Net()
    net.again = net.linear
    assert count_params(net) == (8 * 3 * 9 + 8) + 2 * 8 + (8 * 49 + 8) + (8 * 5 + 5)


def test_the_model_is_left_as_it_is():
    net = Net().train()
    net.norm.eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    count_macs(net, (3, 20, 24))
    assert net.training and net.conv.training and not net.norm.training
    for name, tensor in net.state_dict().items():
        assert tensor.device.type == "cpu"
        assert torch.equal(tensor, before[name])


@pytest.mark.parametrize(("detector", "stages"), [("mask_rcnn", 1), ("cascade_mask_rcnn", 3)])
def test_heads_of_a_detector_count_on_1000_box_and_100_mask_regions(detector, stages, tmp_path):
    model = build_model(shrink(Config.fromfile(CONFIGS / f"{detector}_convnext_t.py"), tmp_path))

    class Body(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, images):
            return self.model.rpn_head(self.model.extract_feat(images))

    channels, width, classes = 16, 32, 80
    box_region = width * (classes + 1) + width * 4 * classes
    if stages == 1:  # two linear layers
        box_region += 7 * 7 * channels * width + width * width
    else:  # four convolutions, one linear layer
        box_region += 4 * 7 * 7 * channels * channels * 9 + 7 * 7 * channels * width
    # Four convolutions, then twice the resolution, then a map for each class.
    mask_region = 4 * 14 * 14 * channels * channels * 9 + 28 * 28 * channels * (channels + classes)
    heads = count_macs(model, (3, 64, 96)) - count_macs(Body(), (3, 64, 96))
    assert heads == stages * (1000 * box_region + 100 * mask_region)


@pytest.mark.parametrize("shape", [(512, 2048), (3, 0, 512), (1, 3, 64, 64)])
def test_a_wrong_shape_is_named(shape):
    with pytest.raises(UserError, match="input_shape"):
        count_macs(Net(), shape)
