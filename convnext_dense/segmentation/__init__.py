"""Segmentation in mmseg's terms; its classes are registered at mmengine's root registries."""

from .label_maps import LabelMaps

__all__ = ["LabelMaps"]
