"""The mask head of Mask R-CNN (He et al., 2017) with a bounded memory in evaluation and in training."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.structures.mask import BitmapMasks, mask_target
from mmengine.config import ConfigDict
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from torch import Tensor, nn
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

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (N, classes, 2h, 2w) of RoI features `x` (N, C, h, w).

        The transposed convolution turns every position into a patch that overlaps no other, so it is a 1×1
        convolution to C channels for each of the patch's pixels, and the logits are another one of these. The
        pixels are put in their places last, when their channels are the few classes.
        """
        if not self._upsamples_by_patches():
            return super().forward(x)
        for conv in self.convs:
            x = conv(x)
        weight, bias, patch = self.upsample.weight, self.upsample.bias, self.upsample.kernel_size
        kernel = weight.permute(2, 3, 1, 0).reshape(-1, weight.shape[0], 1, 1)
        pixels = F.conv2d(x, kernel, bias if bias is None else bias.repeat(patch[0] * patch[1]))
        pixels = self.relu(pixels).permute(0, 2, 3, 1)  # (N, h, w, patch · C)
        n, h, w, _ = pixels.shape
        by_pixel = pixels.reshape(n, h, w * patch[0] * patch[1], weight.shape[1])
        logits = self.conv_logits(by_pixel.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        placed = logits.reshape(n, h, w, *patch, logits.shape[3]).transpose(2, 3)
        return placed.reshape(n, h * patch[0], w * patch[1], logits.shape[3]).permute(0, 3, 1, 2)

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
        rows = torch.arange(len(labels), device=labels.device)
        chosen = mask_preds[rows, 0 if self.class_agnostic else labels]
        probabilities = chosen if activate_map else chosen.sigmoid()
        return paste(probabilities.to(bboxes.dtype), bboxes, (height, width), threshold)

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
        boxes = [sampled.pos_priors for sampled in sampling_results]
        assigned = [sampled.pos_assigned_gt_inds for sampled in sampling_results]
        masks = [instances.masks for instances in batch_gt_instances]
        if not all(isinstance(of_image, BitmapMasks) for of_image in masks):
            return mask_target(boxes, assigned, masks, rcnn_train_cfg)
        if len({(of_image.height, of_image.width) for of_image in masks}) > 1:
            of_images = zip(masks, boxes, assigned, strict=True)
            return torch.cat(
                [bitmap_targets(m.masks, b, a, size, threshold).float() for m, b, a in of_images]
            )
        # images of a batch are padded to one size: their objects are handled together
        first = np.cumsum([0, *map(len, masks)]).tolist()
        objects = [mask for of_image in masks for mask in of_image.masks]
        index = torch.cat([a + n for a, n in zip(assigned, first, strict=False)])
        return bitmap_targets(objects, torch.cat(boxes), index, size, threshold).float()

    def _upsamples_by_patches(self) -> bool:
        """Whether each position becomes a patch of its own, of which the logits are a linear function."""
        up, logits = self.upsample, self.conv_logits
        return (
            isinstance(up, nn.ConvTranspose2d)
            and up.kernel_size == up.stride
            and (up.padding, up.output_padding, up.dilation, up.groups) == ((0, 0), (0, 0), (1, 1), 1)
            and isinstance(logits, nn.Conv2d)
            and (logits.kernel_size, logits.stride, logits.padding) == ((1, 1), (1, 1), (0, 0))
            and logits.groups == 1
        )
