"""The same weights on all sides."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..weights import rename_weights

_LAYER_SCALE = 0.2  #: about what trained V1 models have, so that the branches matter


@torch.no_grad()
def randomise(module: nn.Module, seed: int = 0) -> None:
    """Give every parameter and running statistic a random value that matters: none is 0, no scale is 1.

    Maps keep their size from layer to layer, so that a difference in any of them shows in the outputs.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in module.state_dict().items():
        if not tensor.is_floating_point():
            continue
        noise = torch.randn(tensor.shape, generator=generator).to(tensor.device)
        if name.endswith("running_var"):
            tensor.copy_(1 + 0.2 * noise.abs())
        elif name.endswith("grn.gamma") or (tensor.ndim < 2 and name.endswith(("weight", "gamma"))):
            # of norms and GRN, or the layer scale
            centre = _LAYER_SCALE if name.endswith(".gamma") else 1.0
            tensor.copy_(centre * (1 + 0.2 * noise))
        elif tensor.ndim < 2 or name.endswith("grn.beta"):
            tensor.copy_(0.1 * noise)
        else:
            tensor.copy_(noise / math.sqrt(tensor[0].numel()))


def load_renamed(model: nn.Module, state: Mapping[str, Tensor], to: str) -> dict[str, str]:
    """Load our weights into a model of another library, completely.

    Args:
        model: The other library's.
        state: State dict of ours; output norms that the model has no place for are left out.
        to: A key of `convnext_dense.weights.convert.TARGETS`.

    Returns:
        The model's names of parameters by our names.
    """
    named, names, left = rename_weights(state, to)
    if beyond := [name for name in left if not name.startswith("norm")]:
        raise ValueError(f"{to} has no place for {beyond}")
    prefix = "backbone." if to == "mmpretrain" else ""  # of its files, not of its backbone
    model.load_state_dict({name.removeprefix(prefix): tensor for name, tensor in named.items()})
    return {ours: theirs.removeprefix(prefix) for ours, theirs in names.items()}


def pick(model: nn.Module, names: Sequence[str]) -> list[nn.Parameter]:
    """Return parameters by their names."""
    return [model.get_parameter(name) for name in names]
