"""ConvNeXt written plainly, in the layout of the original code: what stands for the stock backbone.

mmdet and mmseg have no ConvNeXt of their own (they take mmpretrain's, which is another installation), and
all implementations do the same: maps are contiguous (B, C, H, W), a block permutes to (B, H, W, C) for its
LayerNorm and its linear layers and back. Sources: github.com/facebookresearch/ConvNeXt and ConvNeXt-V2.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.arch import Arch, parse_arch

_EPS = 1e-6


class PlainConvNeXt(nn.Module):
    """ConvNeXt with four layer-normed maps and the names of `convnext_dense.ConvNeXt`'s state dict.

    Args:
        arch: As of `ConvNeXt`.
    """

    def __init__(self, arch: str | Mapping[str, Any] | Arch) -> None:
        super().__init__()
        self.arch = parse_arch(arch)
        dims = self.arch.dims
        stem = nn.Sequential(nn.Conv2d(3, dims[0], 4, stride=4), _ChannelsFirstNorm(dims[0]))
        halvings = [
            nn.Sequential(_ChannelsFirstNorm(narrow), nn.Conv2d(narrow, wide, 2, stride=2))
            for narrow, wide in pairwise(dims)
        ]
        self.downsample_layers = nn.ModuleList([stem, *halvings])
        self.stages = nn.ModuleList(
            nn.Sequential(*(_PlainBlock(dim, self.arch.use_grn) for _ in range(depth)))
            for depth, dim in zip(self.arch.depths, dims, strict=True)
        )
        for i, dim in enumerate(dims):
            self.add_module(f"norm{i}", _ChannelsFirstNorm(dim))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the maps (B, dims[i], H/4·2^i, W/4·2^i) of images (B, 3, H, W)."""
        maps = []
        x = images
        for i, (downsample, stage) in enumerate(zip(self.downsample_layers, self.stages, strict=True)):
            x = stage(downsample(x))
            maps.append(getattr(self, f"norm{i}")(x))
        return tuple(maps)


class _PlainBlock(nn.Module):
    def __init__(self, dim: int, use_grn: bool) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=_EPS)
        self.pwconv1 = nn.Linear(dim, 4 * dim)
        self.grn = _PlainGRN(4 * dim) if use_grn else None
        self.pwconv2 = nn.Linear(4 * dim, dim)
        self.gamma = None if use_grn else nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        y = self.dwconv(x).permute(0, 2, 3, 1)
        y = F.gelu(self.pwconv1(self.norm(y)))
        if self.grn is not None:
            y = self.grn(y)
        y = self.pwconv2(y)
        if self.gamma is not None:
            y = self.gamma * y
        return x + y.permute(0, 3, 1, 2)


class _PlainGRN(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, 1, dim))
        self.beta = nn.Parameter(torch.zeros(1, 1, 1, dim))

    def forward(self, x: Tensor) -> Tensor:
        energy = torch.norm(x, p=2, dim=(1, 2), keepdim=True)
        response = energy / (energy.mean(dim=-1, keepdim=True) + _EPS)
        return self.gamma * (x * response) + self.beta + x


class _ChannelsFirstNorm(nn.Module):
    """LayerNorm over the channels of (B, C, H, W), step by step as the original code has it."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt(variance + _EPS)
        return self.weight[:, None, None] * x + self.bias[:, None, None]
