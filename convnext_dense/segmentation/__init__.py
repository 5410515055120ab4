"""Segmentation in mmseg's terms: what configs name beside `convnext_dense.register`.

It imports mmseg, which takes seconds; its classes are registered at mmengine's root registries.
"""

from .label_maps import LabelMaps
from .upernet import FusedUPerHead

__all__ = ["FusedUPerHead", "LabelMaps"]
