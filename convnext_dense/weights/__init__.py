"""Checkpoints of any kind into a model: read safely, mapped by name, verified, and only then loaded.

The names below load what they need on first use (PEP 562): the table of published weights needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .convert import convert_weights, rename_weights
    from .describe import describe_weights
    from .load import load_weights
    from .published import published_weights
    from .read import read_checkpoint
    from .report import WeightReport
    from .resolve import resolve_source

_LAZY = {
    "WeightReport": ".report",
    "convert_weights": ".convert",
    "describe_weights": ".describe",
    "load_weights": ".load",
    "published_weights": ".published",
    "read_checkpoint": ".read",
    "rename_weights": ".convert",
    "resolve_source": ".resolve",
}
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


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name], __name__), name)
