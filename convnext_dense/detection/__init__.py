"""Detection on COCO-format data: what configs name beside `convnext_dense.register`.

It imports mmdet, which takes seconds; its classes are registered at mmengine's root registries.
"""

from .. import register  # noqa: F401  (mmdet's models import mmcv.ops)
from .coco_dataset import CocoInstances
from .coco_metric import CocoDetectionMetric
from .mask_head import WindowedMaskHead
from .roi_extractor import PreciseRoIExtractor
from .visualizer import InstanceVisualizer

__all__ = [
    "CocoDetectionMetric",
    "CocoInstances",
    "InstanceVisualizer",
    "PreciseRoIExtractor",
    "WindowedMaskHead",
]
