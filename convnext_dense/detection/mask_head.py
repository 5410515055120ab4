"""The mask head of Mask R-CNN (He et al., 2017) with a bounded memory in evaluation and in training."""

from __future__ import annotations

from typing import Any

import torch
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.structures.mask import BitmapMasks, mask_target
from mmengine.config import ConfigDict
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from torch import Tensor
from torch.nn.modules.utils import _pair

from .masks import RLE, bitmap_targets, paste


@MODELS.register_module()
class WindowedMaskHead(FCNMaskHead):
    """`FCNMaskHead` whose masks leave as run-length codes, and whose targets need no mask per RoI.

    Weights, losses and predicted pixels are those of `FCNMaskHead`; arguments, too.

    `predict_by_feat` puts a list of COCO's codes into `results.masks`, a few kB for each image whatever its
    size, where mmdet has a (N, H, W) tensor. COCO metrics take both, mmdet's own visualizer and inferencer
    do not: `InstanceVisualizer` draws them, `masks.decode` gives arrays. With a negative `mask_thr_binary`
    the masks stay mmdet's tensor of grey values, which no code can express; a batch without any detection
    never reaches the head, and has mmdet's (0, H, W) tensor.
    """

    def predict_by_feat(
        self,
        mask_preds: tuple[Tensor],
        results_list: list[InstanceData],
        batch_img_metas: list[dict],
        rcnn_test_cfg: ConfigDict,
        rescale: bool = False,
        activate_map: bool = False,
    ) -> list[InstanceData]:
        """Set `masks` of every image's results, in place as mmdet does; see `FCNMaskHead`.

        Args:
            mask_preds: For each image (N, classes, m, m) logits, or probabilities if `activate_map`.
            results_list: Boxes in px of the network's input, labels and scores of each image.
            batch_img_metas: With `ori_shape` and `scale_factor` (w, h).
            rcnn_test_cfg: With `mask_thr_binary`.
            rescale: Whether masks and boxes are wanted in px of the original image.
            activate_map: Whether `mask_preds` has been through the sigmoid, as Cascade R-CNN's mean has.
        """
        results_list = super().predict_by_feat(
            mask_preds, results_list, batch_img_metas, rcnn_test_cfg, rescale, activate_map
        )
        for results in results_list:
            if len(results) == 0 and rcnn_test_cfg.mask_thr_binary >= 0:
                results.masks = []
        return results_list

    def _predict_by_feat_single(
        self,
        mask_preds: Tensor,
        bboxes: Tensor,
        labels: Tensor,
        img_meta: dict[str, Any],
        rcnn_test_cfg: ConfigDict,
        rescale: bool = False,
        activate_map: bool = False,
    ) -> list[RLE] | Tensor:
        threshold = rcnn_test_cfg.mask_thr_binary
        if threshold < 0:
            return super()._predict_by_feat_single(
                mask_preds, bboxes, labels, img_meta, rcnn_test_cfg, rescale, activate_map
            )
        height, width = img_meta["ori_shape"][:2]
        scale_factor = bboxes.new_tensor(img_meta["scale_factor"])
        if rescale:
            bboxes /= scale_factor.repeat(2)  # in place: mmdet hands the boxes back through this tensor
        else:
            w_scale, h_scale = scale_factor.tolist()
            height, width = round(height * h_scale), round(width * w_scale)
        probabilities = mask_preds if activate_map else mask_preds.sigmoid()
        rows = torch.arange(len(labels), device=labels.device)
        chosen = probabilities[rows, 0 if self.class_agnostic else labels]
        return paste(chosen.to(bboxes.dtype), bboxes, (height, width), threshold)

    def get_targets(
        self,
        sampling_results: list[SamplingResult],
        batch_gt_instances: list[InstanceData],
        rcnn_train_cfg: ConfigDict,
    ) -> Tensor:
        """Return the targets of all positive RoIs, (N, m, m) of 0 and 1; see `FCNMaskHead`.

        Args:
            sampling_results: The positive RoIs of each image and which object each belongs to.
            batch_gt_instances: With `masks`; polygons are cropped by mmdet.
            rcnn_train_cfg: With `mask_size`, and `soft_mask_target` for targets between 0 and 1.
        """
        size = _pair(rcnn_train_cfg.mask_size)
        threshold = None if rcnn_train_cfg.get("soft_mask_target", False) else 0.5
        targets = []
        for sampled, instances in zip(sampling_results, batch_gt_instances, strict=True):
            boxes, assigned, masks = sampled.pos_priors, sampled.pos_assigned_gt_inds, instances.masks
            if isinstance(masks, BitmapMasks):
                targets.append(bitmap_targets(masks.masks, boxes, assigned, size, threshold).float())
            else:
                targets.append(mask_target([boxes], [assigned], [masks], rcnn_train_cfg))
        return torch.cat(targets)
