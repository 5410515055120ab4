"""Toy models for the tests of weights: small, and with no parameter at a value that hides it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from convnext_dense.models.convnext import ConvNeXt

V1 = {"depths": (1, 1, 2, 1), "dims": (8, 16, 24, 32)}
V2 = {**V1, "use_grn": True}


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give every parameter and running statistic a value of its own: also layer scale, GRN and norms."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                noise = torch.randn(tensor.shape, generator=generator)
                tensor.copy_(noise.abs() + 0.5 if name.endswith("running_var") else noise * 0.3)
    return module.eval()


def backbone(arch: Mapping[str, Any] | str = V1, **options: Any) -> ConvNeXt:
    return ConvNeXt(arch=arch, **options).eval()


def images(height: int = 69, width: int = 75) -> Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def state_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def assert_same(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    torch.testing.assert_close(dict(module.state_dict()), dict(state), rtol=0, atol=0, equal_nan=True)


def classifier_state(net: ConvNeXt, classes: int = 5) -> dict[str, Tensor]:
    """Return a network's tensors as original classification files have them: `norm` and `head` last."""
    dim = net.arch.dims[-1]
    state = {name: t for name, t in state_of(net).items() if not name.startswith("norm")}
    norm = {"norm.weight": torch.full((dim,), 3.0), "norm.bias": torch.full((dim,), 4.0)}
    return state | norm | {"head.weight": torch.ones(classes, dim), "head.bias": torch.ones(classes)}


def save(content: Any, path: Path, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path
