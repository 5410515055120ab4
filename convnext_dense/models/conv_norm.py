"""mmcv's `ConvModule` with batch norm as part of the convolution's weights, where the norm is fixed."""

from __future__ import annotations

from typing import TypeGuard

import torch
import torch.nn.functional as F
from mmcv.cnn import Conv2d, ConvModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .winograd import WinogradConv2d, conv3x3, is_conv3x3


def convolve(x: Tensor, module: nn.Module) -> Tensor:
    """Apply a convolution, its norm and its activation, without a pass for the norm where that pays.

    Args:
        x: (B, C, H, W).
        module: Any; one whose norm is not to be folded is called.

    Returns:
        What `module(x)` is, but for rounding.
    """
    if not (is_plain(module) and folds_norm(module, x)):
        return module(x)
    conv = module.conv
    weight, bias = fold_norm(module)
    if type(conv) is WinogradConv2d and is_conv3x3(conv):
        y = conv3x3(x, weight, bias)
    else:
        y = F.conv2d(x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)
    return module.activate(y) if module.with_activation else y


def is_plain(module: nn.Module) -> TypeGuard[ConvModule]:
    """Tell whether a module is a dense convolution padded with zeros, then a norm, then an activation.

    And no more than these: no hook would miss a call if they ran in another way.
    """
    if not isinstance(module, ConvModule):
        return False
    conv, norm = module.conv, module.norm
    if type(conv) not in (nn.Conv2d, Conv2d, WinogradConv2d) or conv.padding_mode != "zeros":
        return False
    hooked = any(part._forward_hooks or part._forward_pre_hooks for part in (module, conv, norm) if part)
    is_more = hooked or module.with_explicit_padding or module.with_spectral_norm
    return not is_more and module.order == ("conv", "norm", "act")


def folds_norm(module: ConvModule, x: Tensor) -> bool:
    """Tell whether a plain module's norm had better be folded for a map `x` (B, C, H, W).

    It can be if it is batch norm that uses its running statistics, and pays if the map is larger than the
    weight.
    """
    norm = module.norm
    is_fixed = isinstance(norm, _BatchNorm) and norm.affine and norm.track_running_stats and not norm.training
    return is_fixed and len(x) * x.shape[2] * x.shape[3] > module.conv.weight[0].numel()


def fold_norm(module: ConvModule) -> tuple[Tensor, Tensor]:
    """Return weight (K, C, h, w) and bias (K,) of a plain module's convolution with its batch norm."""
    conv, norm = module.conv, module.norm
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    bias = norm.bias - norm.running_mean * scale
    if conv.bias is not None:
        bias = bias + conv.bias * scale
    return conv.weight * scale[:, None, None, None], bias
