"""What is compared, by name. A case's module is imported when it runs, as it loads libraries."""

from __future__ import annotations

from importlib import import_module

from ...errors import UserError, did_you_mean
from .case import Case, Comparison

_WHERE = {
    "backbone": ("backbone", "BACKBONE"),
    "upernet": ("segmentation", "UPERNET"),
    "upernet_head": ("segmentation", "UPERNET_HEAD"),
    "mask_rcnn": ("detection", "MASK_RCNN"),
    "cascade": ("detection", "CASCADE"),
    "roi_align": ("operators", "ROI_ALIGN"),
    "nms": ("operators", "NMS"),
    "masks": ("masks", "MASKS"),
    "eval": ("evaluation", "EVAL"),
    "pipeline": ("pipeline", "PIPELINE"),
}
NAMES = tuple(_WHERE)
OVERVIEW = "overview"  #: all that docs/benchmarks.md has

__all__ = ["NAMES", "OVERVIEW", "Case", "Comparison", "load_case"]


def load_case(name: str) -> Case:
    """Return a case.

    Raises:
        UserError: There is none of that name.
    """
    if name not in _WHERE:
        raise UserError(f"unknown case {name!r}", "benchmark", did_you_mean(name, (*NAMES, OVERVIEW)))
    module, attribute = _WHERE[name]
    return getattr(import_module(f"{__name__}.{module}"), attribute)
