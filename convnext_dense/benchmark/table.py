"""What a comparison gave, as a table and as JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .cases import Comparison
from .machine import describe_machine, peak_flops
from .timing import Measured, Ratio, ratios

_FILE_WIDTH = 120  # a file has no width at which to fold
_HEADINGS = ("side", "median ms", "ratio", "peak MB", "difference", "GFLOP/s", "of peak")


def print_comparison(comparison: Comparison) -> None:
    """Print a comparison: title, a line for each side, how often as fast ours is, notes.

    `ratio` is the side's time by that of our first form; `difference` is relative to the largest value.
    """
    console = Console(width=None if sys.stdout.isatty() else _FILE_WIDTH, highlight=False)
    console.print(f"\n[bold]{escape(comparison.title)}[/bold]: {escape(_conditions(comparison))}")
    if comparison.text:
        console.print(escape(comparison.text))
    else:
        console.print(_table(comparison))
    for ratio in ratios(comparison.measured):
        console.print(f"  {escape(_sentence(ratio))}")
    for note in comparison.notes:
        console.print(f"  {escape(note)}", soft_wrap=True)


def to_json(comparisons: Sequence[Comparison], device: str) -> dict[str, Any]:
    """Return machine, versions and results as plain data."""
    return {"machine": describe_machine(device), "results": [_record(item) for item in comparisons]}


def _conditions(comparison: Comparison) -> str:
    setting, heeded = comparison.setting, comparison.heeds
    words = [
        setting.mode if "mode" in heeded else "",
        setting.dtype if "dtype" in heeded else "",
        f"{setting.size[0]}x{setting.size[1]}" if "size" in heeded else "",
        f"batch {setting.batch}" if "batch" in heeded else "",
        torch.cuda.get_device_name() if setting.device != "cpu" else f"{torch.get_num_threads()} CPU threads",
    ]
    return ", ".join(filter(None, words))


def _table(comparison: Comparison) -> Table:
    table = Table(_HEADINGS[0], box=None, pad_edge=False, padding=(0, 2))
    counted = any(side.flops for side in comparison.measured)
    for heading in _HEADINGS[1:] if counted else _HEADINGS[1:-2]:
        table.add_column(heading, justify="right")
    first = comparison.measured[0]
    for side in comparison.measured:
        name = escape(f"{side.name}, {side.form}")
        if side.failure is not None:
            table.add_row(name, "failed")
            continue
        relative = median(own / base for own, base in zip(side.seconds, first.seconds, strict=True))
        rate, share = _rate(side, comparison)
        cells = [
            name,
            f"{1e3 * side.median_s:,.1f}",
            f"{relative:.2f}",
            "" if side.peak_bytes is None else f"{side.peak_bytes / 1e6:,.0f}",
            "" if side.relative_difference is None else f"{side.relative_difference:.0e}",
            "" if rate is None else f"{rate / 1e9:,.0f}",
            "" if share is None else f"{100 * share:.0f} %",
        ]
        table.add_row(*cells[: len(table.columns)])
    return table


def _rate(side: Measured, comparison: Comparison) -> tuple[float | None, float | None]:
    """Return floating-point operations per second, and their share of what the machine reaches at best."""
    if not side.flops:
        return None, None
    rate = side.flops / side.median_s
    setting = comparison.setting
    return rate, rate / peak_flops(setting.dtype, setting.device, torch.get_num_threads())


def _sentence(ratio: Ratio) -> str:
    memory = "" if ratio.memory is None else f", {ratio.memory:.2f} x its peak memory"
    return f"ours, {ratio.ours}: {ratio.value:.2f} x as fast as {ratio.against} ({ratio.peer}){memory}"


def _failures(comparison: Comparison) -> Iterator[str]:
    for side in comparison.measured:
        if side.failure is not None:
            yield f"failed: {side.name}, {side.form}: {side.failure}"


def _record(comparison: Comparison) -> dict[str, Any]:
    sides = []
    for side in comparison.measured:
        rate, share = _rate(side, comparison)
        sides.append({**asdict(side), "flops_per_s": rate, "share_of_peak": share})
    return {
        "case": comparison.case,
        "title": comparison.title,
        "setting": {name: getattr(comparison.setting, name) for name in ("rounds", *comparison.heeds)},
        "sides": sides,
        "ratios": [asdict(ratio) for ratio in ratios(comparison.measured)],
        "notes": [*comparison.notes, *_failures(comparison)],
        "details": dict(comparison.details),
    }
