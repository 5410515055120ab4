"""Checkpoints of any kind into a model: read safely, mapped by name, verified, and only then loaded."""

from .load import load_weights
from .read import read_checkpoint
from .report import WeightReport
from .resolve import resolve_source

__all__ = ["WeightReport", "load_weights", "read_checkpoint", "resolve_source"]
