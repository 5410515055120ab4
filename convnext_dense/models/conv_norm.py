"""mmcv's `ConvModule` with batch norm as part of the convolution's weights, where the norm is fixed."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from mmcv.cnn import Conv2d, ConvModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .winograd import WinogradConv2d, conv3x3, is_conv3x3


def convolve(x: Tensor, module: ConvModule) -> Tensor:
    """Apply a convolution, its norm and its activation; a fixed batch norm costs no pass over the map.

    Args:
        x: (B, C, H, W).
        module: Any; one that is more than these three in this order is called as it is.
    """
    if not (is_plain(module) and _is_fixed(module.norm)):
        return module(x)
    conv = module.conv
    weight, bias = weight_and_bias(module)
    if type(conv) is WinogradConv2d and is_conv3x3(conv):
        y = conv3x3(x, weight, bias)
    else:
        y = F.conv2d(x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)
    return module.activate(y) if module.with_activation else y


def finish(y: Tensor, module: ConvModule) -> Tensor:
    """Apply what `weight_and_bias` does not contain to the convolution's result: norm and activation."""
    if module.with_norm and not _is_fixed(module.norm):
        y = module.norm(y)
    return module.activate(y) if module.with_activation else y


def weight_and_bias(module: ConvModule) -> tuple[Tensor, Tensor | None]:
    """Return the weight and the bias of a plain module's convolution, with its norm if that is fixed."""
    conv, norm = module.conv, module.norm
    if not _is_fixed(norm):
        return conv.weight, conv.bias
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    bias = norm.bias - norm.running_mean * scale
    if conv.bias is not None:
        bias = bias + conv.bias * scale
    return conv.weight * scale[:, None, None, None], bias


def is_plain(module: ConvModule) -> bool:
    """Tell whether a module is a dense convolution padded with zeros, then a norm, then an activation."""
    conv = module.conv
    if type(conv) not in (nn.Conv2d, Conv2d, WinogradConv2d) or conv.padding_mode != "zeros":
        return False
    is_more = module.with_explicit_padding or module.with_spectral_norm
    return not is_more and module.order == ("conv", "norm", "act")


def _is_fixed(norm: Any) -> bool:
    """Whether a norm multiplies and adds constants: batch norm that uses its running statistics."""
    return isinstance(norm, _BatchNorm) and norm.affine and norm.track_running_stats and not norm.training
