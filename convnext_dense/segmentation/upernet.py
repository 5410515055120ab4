"""UperNet's head (Xiao et al., "Unified Perceptual Parsing for Scene Understanding", 2018), made fast.

Legend: B images; C the head's channels, h × w a level's map, H × W the finest level's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmengine.registry import MODELS
from mmseg.models.decode_heads import UPerHead
from torch import Tensor

from ..models.conv_norm import convolve, fold_norm, folds_norm, is_plain
from ..models.upsampled_conv import conv3x3_of_upsampled
from ..models.winograd import WinogradConv2d, conv3x3, direct3x3, is_conv3x3
from .banded_loss import BandedLoss


@MODELS.register_module()
class FusedUPerHead(BandedLoss, UPerHead):
    """`UPerHead` whose two convolutions over upsampled maps take their taps before the upsampling.

    Arguments, parameters, state dict and results are those of `UPerHead`; see
    `convnext_dense.models.upsampled_conv` for why the order may be changed. The fusion convolution, two
    thirds of UperNet-T's multiply-accumulates, becomes three times cheaper, and neither its 4C-channel input
    nor the pyramid pooling's is made. With `conv_cfg=dict(type="WinogradConv2d")` what is left of its 3×3
    convolutions takes Winograd's way. In evaluation batch norm is part of the weights where the map is larger
    than these. The loss needs no logits of the label map's size, see `BandedLoss`.

    Args:
        fused: Whether to do so; False computes as `UPerHead` does, to compare with.
        **kwargs: As of `UPerHead`.
    """

    def __init__(self, *, fused: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fused = fused

    def psp_forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Pool the last level in a pyramid (Zhao et al., "PSPNet", 2017); (B, C, h, w)."""
        if not self._can_fuse(self.bottleneck):
            return super().psp_forward(inputs)
        last = inputs[-1]
        return self._fuse(self.bottleneck, [last, *(branch(last) for branch in self.psp_modules)])

    def _forward_feature(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return the fused features before the classifier, (B, C, H, W)."""
        if not self._can_fuse(self.fpn_bottleneck):
            return super()._forward_feature(inputs)
        levels = self._transform_inputs(inputs)
        merged = [self.psp_forward(levels)]
        for level, lateral in zip(levels[-2::-1], reversed(self.lateral_convs), strict=True):
            own = convolve(level, lateral)
            above = F.interpolate(
                merged[-1], own.shape[2:], mode="bilinear", align_corners=self.align_corners
            )
            merged.append(own + above)
        coarsest, *finer = merged
        maps = [convolve(m, conv) for conv, m in zip(self.fpn_convs, reversed(finer), strict=True)]
        return self._fuse(self.fpn_bottleneck, [*maps, coarsest])

    def _can_fuse(self, module: ConvModule) -> bool:
        return self.fused and is_plain(module) and is_conv3x3(module.conv)

    def _fuse(self, module: ConvModule, maps: Sequence[Tensor]) -> Tensor:
        """Run a module on the concatenation of maps, all resized to the first one's size."""
        folds = folds_norm(module, maps[0])
        weight, bias = fold_norm(module) if folds else (module.conv.weight, module.conv.bias)
        convolution = conv3x3 if isinstance(module.conv, WinogradConv2d) else direct3x3
        fused = conv3x3_of_upsampled(maps, weight, bias, self.align_corners, convolution)
        if module.with_norm and not folds:
            fused = module.norm(fused)
        return module.activate(fused) if module.with_activation else fused
