"""Mask pasting and run-length coding, from a mask head's logits to what a COCO metric takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from ...engine.libraries import load_libraries
from ..peers import STOCK
from ..setting import Setting
from ..timing import EAGER, OURS, Side
from .boxes import random_boxes
from .case import Case, Comparison, compare_sides

DETECTIONS, CLASSES, MASK_PX = 100, 80, 28
_CFG = ConfigDict(mask_thr_binary=0.5)


def compare_masks(setting: Setting) -> list[Comparison]:
    """100 detections: `WindowedMaskHead` against mmdet's head and pycocotools' encoder, mask by mask."""
    load_libraries("mmdet")
    from mmdet.models.roi_heads.mask_heads import FCNMaskHead
    from pycocotools import mask as coco_mask

    from ...detection import WindowedMaskHead
    from ...detection.masks import decode

    ours, theirs = (
        kind(num_convs=0, in_channels=2, num_classes=CLASSES) for kind in (WindowedMaskHead, FCNMaskHead)
    )
    logits = _smooth_logits(setting)
    boxes = random_boxes(DETECTIONS, setting.size).to(setting.device)
    labels = torch.arange(DETECTIONS, device=setting.device) % CLASSES
    scores = torch.linspace(1, 0, DETECTIONS, device=setting.device)
    meta = dict(ori_shape=setting.size, scale_factor=(1.0, 1.0))

    def predict(head: Any) -> Any:
        results = InstanceData(bboxes=boxes.clone(), labels=labels, scores=scores)
        return head.predict_by_feat((logits,), [results], [meta], _CFG, True)[0].masks

    def encode(masks: Tensor) -> list[dict]:
        return [coco_mask.encode(np.asfortranarray(mask)) for mask in masks.cpu().numpy().astype(np.uint8)]

    def pixels(codes: Callable[[], list[dict]]) -> list[Tensor]:
        return [torch.from_numpy(decode(codes(), setting.size))]

    sides = [Side(OURS, EAGER, lambda: predict(ours), lambda: pixels(lambda: predict(ours)))]
    if setting.wants(STOCK):
        sides.append(
            Side(
                STOCK,
                EAGER,
                lambda: encode(predict(theirs)),
                lambda: pixels(lambda: encode(predict(theirs))),
            )
        )
    title = f"mask pasting and RLE, {DETECTIONS} detections"
    return [compare_sides(title, setting, sides, tolerance=0.0, flops=False)]


def _smooth_logits(setting: Setting) -> Tensor:
    """Return logits (N, classes, m, m) with few blobs each, as a trained head's; noise has many runs."""
    coarse = torch.randn(DETECTIONS, CLASSES, 5, 5, generator=setting.generator())
    return torch.nn.functional.interpolate(coarse, (MASK_PX, MASK_PX), mode="bicubic").to(setting.device)


MASKS = Case(compare_masks, "mask pasting and run lengths, 100 detections", {"size": (800, 1216)}, ("size",))
