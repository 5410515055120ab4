"""Checkpoints of any kind into a model: read safely, mapped by name, verified, and only then loaded."""

from .convert import convert_weights, rename_weights
from .describe import describe_weights
from .load import load_weights
from .published import published_weights
from .read import read_checkpoint
from .report import WeightReport
from .resolve import resolve_source

__all__ = [
    "WeightReport",
    "convert_weights",
    "describe_weights",
    "load_weights",
    "published_weights",
    "read_checkpoint",
    "rename_weights",
    "resolve_source",
]
