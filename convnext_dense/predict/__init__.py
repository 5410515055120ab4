"""Prediction with a trained checkpoint: `Predictor` and its typed results."""

from .predictor import Predictor
from .results import Detections, SegmentationMap

__all__ = ["Detections", "Predictor", "SegmentationMap"]
