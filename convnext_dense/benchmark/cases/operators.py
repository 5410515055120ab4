"""RoIAlign over a pyramid and NMS against mmcv's compiled operators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import ModuleType

import torch
from torch import Tensor

from ...engine.libraries import load_libraries
from ..peers import COMPILED_MMCV
from ..setting import Setting
from ..stock import compiled_operators, how_to_compile, operators
from ..timing import CHANNELS_LAST, EAGER, OURS, Side
from .boxes import random_boxes
from .case import Case, Comparison, compare_sides

STRIDES = (4, 8, 16, 32)
ROIS, CHANNELS, BOXES = 1000, 256, 2000
_LAYER = dict(type="RoIAlign", output_size=7, sampling_ratio=0)


def compare_roi_align(setting: Setting) -> list[Comparison]:
    """1,000 RoIs of 7×7 from a pyramid of 256 channels: `PreciseRoIExtractor` against mmdet's extractor."""
    load_libraries("mmdet")
    from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor

    from ...detection import PreciseRoIExtractor

    boxes = random_boxes(ROIS, setting.size)
    rois = torch.cat((torch.zeros(ROIS, 1), boxes), 1).to(setting.device)
    generator = setting.generator()
    height, width = setting.size
    maps = [
        torch.randn(1, CHANNELS, height // stride, width // stride, generator=generator).to(setting.device)
        for stride in STRIDES
    ]
    last = [map_.to(memory_format=torch.channels_last) for map_ in maps]
    ours, theirs = (
        kind(roi_layer=_LAYER, out_channels=CHANNELS, featmap_strides=list(STRIDES))
        for kind in (PreciseRoIExtractor, SingleRoIExtractor)
    )

    def pool(extractor: Callable, given: Sequence[Tensor], extension: ModuleType | None) -> list[Tensor]:
        with torch.no_grad(), operators(extension):
            return [extractor(given, rois)]

    notes: list[str] = []
    sides = [Side(OURS, CHANNELS_LAST, partial(pool, ours, last, None))]
    sides.append(Side(OURS, EAGER, partial(pool, ours, maps, None)))
    if compiled := _compiled(setting, notes):
        sides.append(Side(COMPILED_MMCV, EAGER, partial(pool, theirs, maps, compiled)))
        sides.append(Side(COMPILED_MMCV, CHANNELS_LAST, partial(pool, theirs, last, compiled)))
    return [compare_sides("RoIAlign, 1,000 RoIs", setting, sides, notes, flops=False)]


def compare_nms(setting: Setting) -> list[Comparison]:
    """NMS of 2,000 boxes, scattered and in clusters as an RPN's are."""
    from ...ops.stand_in import make_stand_in

    notes: list[str] = []
    compiled = _compiled(setting, notes)
    generator = setting.generator()
    centres = random_boxes(100)[torch.randint(100, (BOXES,), generator=generator)]
    scores = torch.rand(BOXES, generator=generator).to(setting.device)
    kinds = {
        "scattered": random_boxes(BOXES),
        "in clusters": centres + 4 * torch.randn(BOXES, 4, generator=generator),
    }

    def keep(extension: ModuleType, boxes: Tensor) -> list[Tensor]:
        return [extension.nms(boxes, scores, iou_threshold=0.7, offset=0)]

    comparisons = []
    for kind, boxes in kinds.items():
        given = boxes.to(setting.device)
        sides = [Side(OURS, EAGER, partial(keep, make_stand_in(), given))]
        if compiled:
            sides.append(Side(COMPILED_MMCV, EAGER, partial(keep, compiled, given)))
        title = f"NMS, 2,000 boxes {kind}"
        comparisons.append(compare_sides(title, setting, sides, notes, tolerance=0.0, flops=False))
    return comparisons


def _compiled(setting: Setting, notes: list[str]) -> ModuleType | None:
    if not setting.wants(COMPILED_MMCV):
        return None
    compiled = compiled_operators()
    if compiled is None:
        notes.append(f"missing: {COMPILED_MMCV}: {how_to_compile()}")
    return compiled


_SIZE = {"size": (800, 1216)}
ROI_ALIGN = Case(compare_roi_align, "RoIAlign, 1,000 RoIs of 7x7 from a pyramid", _SIZE, ("size",))
NMS = Case(compare_nms, "NMS, 2,000 boxes", _SIZE, ())
