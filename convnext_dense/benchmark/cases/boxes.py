"""Boxes as detectors see them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def random_boxes(count: int, size: Sequence[int] = (800, 1216), seed: int = 0) -> Tensor:
    """Return boxes (count, 4) in an image of `size` (H, W) px; at 800 px they are 12 to 300 px wide."""
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    corner = torch.rand(count, 2, generator=generator) * torch.tensor([0.8 * width, 0.8 * height])
    sides = torch.exp(torch.rand(count, 2, generator=generator) * 3.2 + 2.5) * min(size) / 800
    return torch.cat((corner, corner + sides), 1).minimum(torch.tensor([width, height, width, height]))
