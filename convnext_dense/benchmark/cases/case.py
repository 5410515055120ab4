"""What a case is and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..forms import in_forms
from ..peers import MissingPeerError
from ..setting import Setting
from ..timing import Compare, Measured, Side, measure

#: How far outputs may lie apart, relative to the largest, by dtype; gradients in half precision further.
TOLERANCES = {"fp32": 1e-3, "fp16": 3e-2, "bf16": 1e-1}
_REDUCED_GRADIENT = 3.0


@dataclass(frozen=True)
class Comparison:
    """The sides of one piece of work.

    Attributes:
        title: What was done, in a few words.
        setting: How; only what the case heeds counts.
        measured: All sides, ours first.
        notes: One line each about peers that are missing and the like.
        details: More numbers, for the JSON.
        text: A table of its own, instead of that of the sides.
        case: Name of the case, and settings that it heeds; whoever runs it sets both.
        heeds: The latter.
    """

    title: str
    setting: Setting
    measured: list[Measured]
    notes: list[str] = field(default_factory=list)
    details: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""
    case: str = ""
    heeds: Sequence[str] = ()


@dataclass(frozen=True)
class Case:
    """One thing to compare.

    Attributes:
        run: Compares it.
        about: One line for `--help`.
        defaults: Settings that differ from `Setting`'s own.
        heeds: Settings that it depends on, beside `rounds`, `peers` and `device`.
    """

    run: Callable[[Setting], list[Comparison]]
    about: str
    defaults: Mapping[str, Any]
    heeds: Sequence[str]


def compare_sides(
    title: str,
    setting: Setting,
    sides: Sequence[Side],
    notes: Sequence[str] = (),
    compare: Compare | None = None,
    tolerance: float | None = None,
    flops: bool = True,
) -> Comparison:
    """Measure the sides; see `measure`."""
    if tolerance is None:
        tolerance = TOLERANCES[setting.dtype]
        if setting.trains and setting.dtype != "fp32":
            tolerance *= _REDUCED_GRADIENT
    measured = measure(sides, setting.rounds, setting.device, tolerance, compare, flops)
    return Comparison(title, setting, measured, list(notes))


def missing(name: str, setting: Setting, build: Callable[[], Any], notes: list[str]) -> Any:
    """Build a peer; None if it is not asked for, and None with a note that says why if it cannot run here."""
    if not setting.wants(name):
        return None
    try:
        return build()
    except MissingPeerError as error:
        notes.append(f"missing: {error}")
        return None


__all__ = ["TOLERANCES", "Case", "Comparison", "Tensor", "compare_sides", "in_forms", "missing"]
