"""mmdet's pictures of detections whose masks are run-length codes."""

from __future__ import annotations

import numpy as np
from mmdet.visualization import DetLocalVisualizer
from mmengine.registry import VISUALIZERS
from mmengine.structures import InstanceData

from .masks import decode


@VISUALIZERS.register_module()
class InstanceVisualizer(DetLocalVisualizer):
    """`DetLocalVisualizer` that also draws masks which are run-length codes, with the same arguments.

    Only the instances that are drawn are decoded, one picture at a time.
    """

    def _draw_instances(
        self,
        image: np.ndarray,
        instances: InstanceData,
        classes: list[str] | None,
        palette: list[tuple] | None,
    ) -> np.ndarray:
        if isinstance(instances.get("masks"), list):
            instances = instances.new()
            masks = decode(instances.pop("masks"), image.shape[:2])
            instances.masks = masks
        return super()._draw_instances(image, instances, classes, palette)
