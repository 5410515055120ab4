"""Features of regions of interest, from all levels in one pass and under mixed precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmcv.ops import RoIAlign
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..ops.pyramid_align import pyramid_roi_align


@MODELS.register_module()
class PreciseRoIExtractor(SingleRoIExtractor):
    """`SingleRoIExtractor` that never rounds RoIs to half precision, under the same arguments.

    mmdet casts them to the features' dtype: beyond 1024 px float16 keeps whole pixels only and bfloat16
    multiples of 8, in the coordinates as in the choice of the pyramid's level. Here coordinates, and the
    sums over the samples, are float32; in float32 and float64 the numbers are those of mmdet's extractor.

    On a CPU all levels are pooled in one pass (`convnext_dense.ops.pyramid_align`), whatever operators mmcv
    has; the result lies in channels_last memory. Elsewhere mmdet's extractor does the work.
    """

    def forward(self, feats: Sequence[Tensor], rois: Tensor, roi_scale_factor: float | None = None) -> Tensor:
        """Pool each RoI from the level that fits its size (Lin et al., "FPN", 2017, equation 1).

        Args:
            feats: One map (B, C, H_l, W_l) per stride, any floating dtype.
            rois: (N, 5) image in the batch, x1, y1, x2, y2 in px of the network's input.
            roi_scale_factor: Enlarges RoIs about their centres once their levels are chosen.

        Returns:
            (N, C, *output_size), dtype of `feats`; every map is in its graph, even one without RoIs.
        """
        dtype = feats[0].dtype
        compute = torch.promote_types(dtype, torch.float32)
        feats, rois = tuple(level.to(compute) for level in feats), rois.to(compute)
        if feats[0].device.type != "cpu" or not all(map(_averages, self.roi_layers)):
            return super().forward(feats, rois, roi_scale_factor).to(dtype)
        level = self.map_roi_levels(rois, len(feats)).clamp(0, len(feats) - 1)  # of NaN it may be anything
        if roi_scale_factor is not None and len(feats) > 1:  # as mmdet, which ignores it for one level
            rois = self.roi_rescale(rois, roi_scale_factor)
        layer: Any = self.roi_layers[0]
        scales = [float(layer.spatial_scale) for layer in self.roi_layers]
        size, ratio, aligned = layer.output_size, layer.sampling_ratio, layer.aligned
        return pyramid_roi_align(feats, rois, level, size, scales, ratio, aligned).to(dtype)


def _averages(layer: nn.Module) -> bool:
    """Whether a layer is mmcv's RoIAlign over means."""
    return type(layer) is RoIAlign and layer.pool_mode == "avg"
