"""Small ConvNeXts and random weights shared by the tests of the models."""

import torch
from torch import nn

from convnext_dense.models.convnext import ARCHS, Arch, ConvNeXt

TOY_V1 = dict(depths=(1, 2, 3, 1), dims=(8, 16, 24, 32))
TOY_V2 = dict(depths=(1, 2, 3, 1), dims=(8, 16, 24, 32), use_grn=True)


def shrunk(name: str) -> Arch:
    """The named size with an eighth of its width and at most two blocks in a stage."""
    arch = ARCHS[name]
    return Arch(tuple(min(d, 2) for d in arch.depths), tuple(d // 8 for d in arch.dims), arch.use_grn)


@torch.no_grad()
def randomise(module: nn.Module, seed: int = 0) -> None:
    """Give every parameter a value that matters: no zeros in biases and GRN, no ones in norms."""
    generator = torch.Generator().manual_seed(seed)
    for name, param in module.named_parameters():
        noise = torch.randn(param.shape, generator=generator, dtype=torch.float64)
        fan_in = param[0].numel() if param.ndim > 1 else 1
        if param.ndim > 1 and "grn" not in name:
            param.copy_(noise / fan_in**0.5)
        else:
            param.copy_(0.5 + 0.3 * noise)


def toy(v2: bool = False, **kwargs) -> ConvNeXt:
    """A toy ConvNeXt with random weights."""
    net = ConvNeXt(TOY_V2 if v2 else TOY_V1, **kwargs)
    randomise(net)
    return net


def loss_of(maps) -> torch.Tensor:
    """A scalar that weighs every position of every map differently, in the maps' order."""
    total = torch.zeros((), dtype=torch.float64)
    for k, m in enumerate(maps):
        generator = torch.Generator().manual_seed(100 + k)
        weight = torch.randn(m.shape, generator=generator, dtype=torch.float64)
        total = total + (m.double() * weight).sum() / m.numel() ** 0.5
    return total
