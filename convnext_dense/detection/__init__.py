"""Detection on COCO-format data: what configs name beside `convnext_dense.register`.

It imports mmdet, which takes seconds; its classes are registered at mmengine's root registries.
"""

from ..engine.libraries import load_libraries

load_libraries("mmdet")  # first, as it does so without mmdet's messages about optional parts of its own

# ruff: noqa: E402
from .bbox_head import LeanConvFCBBoxHead
from .coco_dataset import CocoInstances
from .coco_metric import CocoDetectionMetric
from .mask_head import WindowedMaskHead
from .roi_extractor import PreciseRoIExtractor
from .rpn_head import LeanRPNHead
from .visualizer import InstanceVisualizer

__all__ = [
    "CocoDetectionMetric",
    "CocoInstances",
    "InstanceVisualizer",
    "LeanConvFCBBoxHead",
    "LeanRPNHead",
    "PreciseRoIExtractor",
    "WindowedMaskHead",
]
