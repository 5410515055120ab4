"""Features of regions of interest under mixed precision."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmengine.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class PreciseRoIExtractor(SingleRoIExtractor):
    """`SingleRoIExtractor` that never rounds RoIs to half precision, under the same arguments.

    mmdet casts them to the features' dtype: beyond 1024 px float16 keeps whole pixels only and bfloat16
    multiples of 8, in the coordinates as in the choice of the pyramid's level. Here coordinates, and the
    sums over the samples, are float32; in float32 and float64 it is mmdet's extractor.
    """

    def forward(self, feats: Sequence[Tensor], rois: Tensor, roi_scale_factor: float | None = None) -> Tensor:
        """Pool each RoI from the level that fits its size (Lin et al., "FPN", 2017, equation 1).

        Args:
            feats: One map (B, C, H_l, W_l) per stride, any floating dtype.
            rois: (N, 5) image in the batch, x1, y1, x2, y2 in px of the network's input.
            roi_scale_factor: Enlarges RoIs about their centres once their levels are chosen.

        Returns:
            (N, C, *output_size), dtype of `feats`.
        """
        dtype = feats[0].dtype
        compute = torch.promote_types(dtype, torch.float32)
        feats = tuple(level.to(compute) for level in feats)
        return super().forward(feats, rois.to(compute), roi_scale_factor).to(dtype)
