"""Parameters and multiply-accumulates, counted as the published tables count them.

Parameters are those of the whole model as it is trained, auxiliary heads included. Multiply-accumulates
are those of one image in evaluation, where auxiliary heads do not run: of convolutions, linear layers and
matrix products. Norms, activations, interpolation and other elementwise work count nothing. The papers'
"FLOPs" are these. So counted, every row of ConvNeXt's ADE20K table is met to 0.1 %.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from .errors import UserError


def count_params(model: nn.Module) -> int:
    """Count the parameters of a model on any device, each shared one once; buffers are none.

    The published column of UperNet includes the auxiliary head, which is trained with the rest.
    """
    return sum(p.numel() for p in model.parameters())


def count_macs(model: nn.Module, input_shape: Sequence[int]) -> int:
    """Count the multiply-accumulates of one forward pass in evaluation mode.

    Nothing is computed: shapes alone pass through the model, on the meta device. For a segmentor that is
    the backbone and the decode head, without the auxiliary head.

    Args:
        model: A module that takes one batch of images; left as it is.
        input_shape: (C, H, W) of one image, e.g. (3, 512, 2048) for UperNet at a crop of 512.

    Raises:
        UserError: `input_shape` is not three positive integers.
    """
    if len(input_shape) != 3 or any(side < 1 for side in input_shape):
        raise UserError(
            f"input_shape is {tuple(input_shape)}", "count_macs", "give (C, H, W), e.g. (3, 512, 2048)"
        )
    image = torch.empty(1, *input_shape, device="meta")
    modes = {module: module.training for module in model.modules()}
    counter = FlopCounterMode(display=False)
    model.eval()
    try:
        with counter, torch.no_grad():
            functional_call(model, _meta_state(model), (image,))
    finally:
        for module, mode in modes.items():
            module.training = mode
    return counter.get_total_flops() // 2


def _meta_state(model: nn.Module) -> dict[str, Tensor]:
    """Return stand-ins without data for all parameters and buffers."""
    state = [*model.named_parameters(), *model.named_buffers()]
    return {name: torch.empty_like(tensor, device="meta") for name, tensor in state}
