"""The region proposal network (Ren et al., "Faster R-CNN", 2015), which suppresses no more than it must."""

from __future__ import annotations

from mmdet.models.dense_heads import RPNHead
from mmengine.config import ConfigDict
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from torch import nn

from ..models.winograd import WinogradConv2d
from .suppression import best_of_groups, can_stop_early


@MODELS.register_module()
class LeanRPNHead(RPNHead):
    """`RPNHead` whose NMS ends with the proposals that are wanted, under the same arguments.

    Weights, losses and proposals are those of `RPNHead`, which finds all that are left and then takes the
    best `max_per_img`, often a third of them. It holds on a CPU and for plain NMS, whatever operators mmcv
    has; elsewhere mmdet's head does the work. The only convolution of `num_convs=1` is a
    `WinogradConv2d`.
    """

    rpn_conv: nn.Module

    def _init_layers(self) -> None:
        super()._init_layers()
        if type(self.rpn_conv) is nn.Conv2d:
            self.rpn_conv = WinogradConv2d(self.in_channels, self.feat_channels, 3, padding=1)

    def _bbox_post_process(
        self,
        results: InstanceData,
        cfg: ConfigDict,
        rescale: bool = False,
        with_nms: bool = True,
        img_meta: dict | None = None,
    ) -> InstanceData:
        if not rescale and with_nms and can_stop_early(cfg.nms, results.bboxes, cfg.max_per_img):
            min_size = cfg.get("min_bbox_size", -1)
            if min_size >= 0:
                corners = results.bboxes
                large = (corners[:, 2:] - corners[:, :2] > min_size).all(1)
                results = results if large.all() else results[large]
            if len(results):
                found = results.bboxes, results.scores, results.level_ids
                results = results[best_of_groups(*found, cfg.nms.iou_threshold, cfg.max_per_img)]
                results.labels = results.scores.new_zeros(len(results)).long()
                del results.level_ids
                return results
        return super()._bbox_post_process(results, cfg, rescale, with_nms, img_meta)
