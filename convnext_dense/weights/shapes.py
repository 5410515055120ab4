"""Shapes of a ConvNeXt's tensors, which differ between families: to the original ones and from them."""

from __future__ import annotations

import math
import re

from torch import Tensor

from .layouts import Layout

_BLOCK_PART = re.compile(r"stages\.\d+\.\d+\.(.+)")
#: Parts of a block whose shape is not every family's: here as the original code has them.
_ORIGINAL: dict[str, tuple[int, ...]] = {
    "gamma": (-1,),  # torchvision: (C, 1, 1)
    "grn.gamma": (1, 1, 1, -1),  # timm, mmpretrain: (4C,); FCMAE: (1, 4C)
    "grn.beta": (1, 1, 1, -1),
}


def original_shape(name: str, tensor: Tensor) -> Tensor:
    """Return a backbone's tensor, under its original name, in the original shape.

    What has none of the known other shapes is returned as it is.

    Args:
        name: E.g. `stages.0.0.grn.gamma`, `stages.0.0.pwconv1.weight`.
        tensor: Its values in the shape of any family.
    """
    part = _part(name)
    if part in _ORIGINAL:
        return tensor.reshape(_ORIGINAL[part])
    if part in ("pwconv1.weight", "pwconv2.weight") and tensor.shape[2:] == (1, 1):
        return tensor.flatten(1)  # 1×1 convolutions: timm's `conv_mlp`, mmpretrain's `linear_pw_conv=False`
    return tensor


def dense_kernel(kernel: Tensor) -> Tensor:
    """Return a sparse convolution's kernel as a dense one's weight.

    MinkowskiEngine has its k² positions in one dimension, x before y (ConvNeXt-V2's `remap_checkpoint_keys`).

    Args:
        kernel: (k², D) of a depthwise convolution, or (k², C, D).

    Returns:
        (D, 1, k, k) or (D, C, k, k).
    """
    size = math.isqrt(kernel.shape[0])
    if kernel.ndim not in (2, 3) or size * size != kernel.shape[0]:
        return kernel
    by_position = kernel if kernel.ndim == 3 else kernel[:, None]
    return by_position.permute(2, 1, 0).unflatten(2, (size, size)).transpose(2, 3)


def dense_bias(bias: Tensor) -> Tensor:
    """Return a sparse layer's bias (1, D) as (D,)."""
    return bias.flatten()


def shape_for(layout: Layout, name: str, tensor: Tensor) -> Tensor:
    """Return a tensor of the original name and shape in the shape that a layout has."""
    shape = dict(layout.shapes).get(_part(name))
    if shape is None:
        return tensor
    return tensor.reshape([tensor.shape[k] if size == 0 else size for k, size in enumerate(shape)])


def _part(name: str) -> str:
    match = _BLOCK_PART.fullmatch(name)
    return match[1] if match else ""
