"""Segmentation in mmseg's terms: what configs name beside `convnext_dense.register`.

It imports mmseg, which takes seconds; its classes are registered at mmengine's root registries.
"""

from ..engine.libraries import load_libraries

load_libraries("mmseg")  # first, as it does so without mmseg's messages about optional parts of its own

# ruff: noqa: E402
from .banded_loss import BandedFCNHead, BandedLoss
from .iou_metric import ConfusionIoUMetric
from .label_maps import LabelMaps
from .segmentor import BandedEncoderDecoder, LogitsTTAModel
from .upernet import FusedUPerHead

__all__ = [
    "BandedEncoderDecoder",
    "BandedFCNHead",
    "BandedLoss",
    "ConfusionIoUMetric",
    "FusedUPerHead",
    "LabelMaps",
    "LogitsTTAModel",
]
