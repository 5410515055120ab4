"""Instance detection and semantic segmentation with ConvNeXt.

Importing the package is cheap: the public names below load what they need on first use (PEP 562).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__
from .errors import UserError

if TYPE_CHECKING:
    from .models.convnext import ConvNeXt
    from .predict import Predictor
    from .weights import WeightReport, load_weights

_LAZY = {
    "ConvNeXt": ".models.convnext",
    "Predictor": ".predict",
    "load_weights": ".weights",
    "WeightReport": ".weights",
}
__all__ = ["ConvNeXt", "Predictor", "UserError", "WeightReport", "__version__", "load_weights"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import_module(".register", __name__)
    return getattr(import_module(_LAZY[name], __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
