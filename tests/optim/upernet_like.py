"""A model shaped like a segmentor, and its optimizer, for the tests of learning-rate decay."""

import copy

import torch
from mmengine.optim import build_optim_wrapper
from torch import nn

from convnext_dense import optim  # noqa: F401
from convnext_dense.models.convnext import ConvNeXt

LR, DECAY = 2e-4, 0.05
TOY = dict(depths=(1, 1, 4, 1), dims=(4, 8, 12, 16))


class UperNetLike(nn.Module):
    """A backbone with two heads named as in a segmentor."""

    def __init__(self, arch, **kwargs):
        super().__init__()
        self.backbone = ConvNeXt(arch, **kwargs)
        self.decode_head = nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.GroupNorm(2, 8))
        self.auxiliary_head = nn.ModuleDict({"conv_seg": nn.Conv2d(8, 8, 1)})


def build(model, constructor="ConvNeXtLayerDecay", optimizer=None, **paramwise):
    cfg = dict(
        type="OptimWrapper",
        constructor=constructor,
        optimizer=optimizer or dict(type="AdamW", lr=LR, betas=(0.9, 0.999), weight_decay=DECAY),
        paramwise_cfg=paramwise,
    )
    before = copy.deepcopy(cfg)
    wrapper = build_optim_wrapper(model, cfg)
    assert cfg == before
    return wrapper.optimizer


def on_meta(arch, **kwargs):
    with torch.device("meta"):
        return UperNetLike(arch, **kwargs)
