"""Models; `convnext_dense.register` registers them at mmengine's root `MODELS`.

The names below load what they need on first use (PEP 562): the table of sizes needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .arch import ARCHS, Arch
    from .convnext import Block, ConvNeXt
    from .layers import GRN, DropPath, LayerNorm2d

_LAZY = {
    "ARCHS": ".arch",
    "Arch": ".arch",
    "Block": ".convnext",
    "ConvNeXt": ".convnext",
    "DropPath": ".layers",
    "GRN": ".layers",
    "LayerNorm2d": ".layers",
}
__all__ = ["ARCHS", "GRN", "Arch", "Block", "ConvNeXt", "DropPath", "LayerNorm2d"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name], __name__), name)
