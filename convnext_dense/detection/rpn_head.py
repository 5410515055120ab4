"""The region proposal network (Ren et al., "Faster R-CNN", 2015), which suppresses no more than it must."""

from __future__ import annotations

from mmdet.models.dense_heads import RPNHead
from mmengine.config import ConfigDict
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from torch import Tensor

from ..ops.nms import nms


@MODELS.register_module()
class LeanRPNHead(RPNHead):
    """`RPNHead` whose NMS ends with the proposals that are wanted, under the same arguments.

    Weights, losses and proposals are those of `RPNHead`, which finds all that are left and then takes the
    best `max_per_img`, often a third of them. It holds on a CPU and for plain NMS, whatever operators mmcv
    has; elsewhere mmdet's head does the work.
    """

    def _bbox_post_process(
        self,
        results: InstanceData,
        cfg: ConfigDict,
        rescale: bool = False,
        with_nms: bool = True,
        img_meta: dict | None = None,
    ) -> InstanceData:
        if not rescale and with_nms and _is_plain(cfg) and _is_on_cpu(results.bboxes):
            min_size = cfg.get("min_bbox_size", -1)
            if min_size >= 0:
                corners = results.bboxes
                large = (corners[:, 2:] - corners[:, :2] > min_size).all(1)
                results = results if large.all() else results[large]
            if len(results):
                results = results[_keep_by_level(results, cfg)]
                results.labels = results.scores.new_zeros(len(results)).long()
                del results.level_ids
                return results
        return super()._bbox_post_process(results, cfg, rescale, with_nms, img_meta)


def _is_plain(cfg: ConfigDict) -> bool:
    """Whether NMS is hard, with nothing but a threshold, and ends in a number of boxes."""
    options = set(cfg.nms) - {"type", "iou_threshold"}
    return cfg.nms.get("type", "nms") == "nms" and not options and cfg.max_per_img >= 0


def _is_on_cpu(boxes: object) -> bool:
    """Whether boxes are a plain tensor in the main memory, and none of mmdet's box types."""
    return isinstance(boxes, Tensor) and boxes.device.type == "cpu"


def _keep_by_level(results: InstanceData, cfg: ConfigDict) -> Tensor:
    """Return the indices of the proposals, level by level suppressed and together sorted by score."""
    boxes = results.bboxes
    # shifted as mmcv's `batched_nms` does it, so that roundings, and what is suppressed, are the same
    shift = results.level_ids.to(boxes) * (boxes.max() + 1)
    return nms(boxes + shift[:, None], results.scores, cfg.nms.iou_threshold, max_num=cfg.max_per_img)
