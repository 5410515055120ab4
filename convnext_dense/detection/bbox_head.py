"""The box heads of Mask R-CNN and Cascade R-CNN, without work that no result needs."""

from __future__ import annotations

import torch.nn.functional as F
from mmdet.models.roi_heads.bbox_heads import ConvFCBBoxHead
from mmengine.config import ConfigDict
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ..models.conv_norm import convolve
from .suppression import best_of_groups, can_stop_early


@MODELS.register_module()
class LeanConvFCBBoxHead(ConvFCBBoxHead):
    """`ConvFCBBoxHead` with an NMS that ends with the boxes that are wanted, under the same arguments.

    Weights, losses and detections are those of `ConvFCBBoxHead`, with `num_shared_fcs=2` those of
    `Shared2FCBBoxHead`. Suppression ends after `max_per_img` boxes of all classes on a CPU and for plain NMS.
    In evaluation batch norm is part of the convolutions' weights. Features in channels_last memory enter the
    first linear layer without being rearranged, where its weight, which is rearranged instead, is the smaller
    of the two.
    """

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores (N, classes + 1) and offsets (N, 4 or 4 · classes) of RoI features (N, C, h, w)."""
        if not self._only_shares():
            return super().forward(x)
        for conv in self.shared_convs:
            x = convolve(x, conv)
        first, *others = self.shared_fcs
        x = self.relu(_linear_of_maps(x, first))
        for layer in others:
            x = self.relu(layer(x))
        return self.fc_cls(x), self.fc_reg(x)

    def _only_shares(self) -> bool:
        """Whether both outputs come straight from the shared layers, of which the last is linear."""
        own = self.num_cls_convs + self.num_cls_fcs + self.num_reg_convs + self.num_reg_fcs
        return (
            not own and self.num_shared_fcs > 0 and self.with_cls and self.with_reg and not self.with_avg_pool
        )

    def _predict_by_feat_single(
        self,
        roi: Tensor,
        cls_score: Tensor,
        bbox_pred: Tensor,
        img_meta: dict,
        rescale: bool = False,
        rcnn_test_cfg: ConfigDict | None = None,
    ) -> InstanceData:
        cfg = rcnn_test_cfg
        given = (roi, cls_score, bbox_pred, img_meta, rescale)
        if cfg is None or len(roi) == 0 or not can_stop_early(cfg.nms, roi, cfg.max_per_img - 1):
            return super()._predict_by_feat_single(*given, cfg)
        every = super()._predict_by_feat_single(*given, None)  # boxes (N, 4 or 4 · classes), scores, no NMS
        scores = every.scores[:, :-1]
        boxes = every.bboxes.view(len(roi), -1, 4).expand(*scores.shape, 4)
        likely = (scores > cfg.score_thr).nonzero(as_tuple=True)
        boxes, scores, labels = boxes[likely], scores[likely], likely[1]
        keep = best_of_groups(boxes, scores, labels, cfg.nms.iou_threshold, cfg.max_per_img)
        return InstanceData(bboxes=boxes[keep], scores=scores[keep], labels=labels[keep])


def _linear_of_maps(x: Tensor, layer: nn.Linear) -> Tensor:
    """Apply a linear layer over all of C, h and w to maps `x` (N, C, h, w)."""
    n, channels, height, width = x.shape
    if n < layer.out_features:
        return layer(x.flatten(1))
    weight = layer.weight.view(-1, channels, height, width).permute(0, 2, 3, 1).flatten(1)
    return F.linear(x.permute(0, 2, 3, 1).flatten(1), weight, layer.bias)
