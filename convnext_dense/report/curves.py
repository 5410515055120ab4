"""A run's numbers as a table and as curves: `metrics.csv` and `curves.png` from `metrics.jsonl`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files import write_whole

#: Scores that tell most, in the order of preference; others are drawn only where there is none of these.
_SCORES = ("mIoU", "mAcc", "aAcc", "coco/bbox_mAP", "coco/segm_mAP", "coco/bbox_mAP_50", "coco/segm_mAP_50")
_MAX_LINES = 8
#: Share of the curve that its running mean spans.
_SMOOTHING = 0.03


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read a run's `metrics.jsonl`: one record for each logged iteration and each validation, in order.

    What a run had logged beyond the checkpoint that it was resumed from is left out, as it was repeated. So
    is a line that an abrupt end has cut short.
    """
    records: list[dict[str, Any]] = []
    for line in path.read_text("utf-8").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if "resumed" in record:
            records = [old for old in records if (old["iter"] or 0) <= record["resumed"]]
        else:
            records.append(record)
    return records


def write_csv(records: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Write records as a table: one row an iteration, a column for each loss, rate and score."""
    rows: dict[Any, dict[str, Any]] = {}
    for record in records:
        rows.setdefault(record["iter"], {}).update(record)
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    text = io.StringIO()
    table = csv.DictWriter(text, columns)
    table.writeheader()
    table.writerows(rows.values())
    write_whole(path, text.getvalue().encode())


def draw_curves(records: Sequence[Mapping[str, Any]], path: Path, title: str) -> bool:
    """Draw losses, learning rate and scores over the iterations, as PNG.

    Args:
        records: What `read_metrics` returns.
        path: The picture, 1000×900 px.
        title: Its headline.

    Returns:
        Whether there was anything to draw.
    """
    # Not pyplot, which keeps figures and may look for a display.
    from matplotlib.figure import Figure

    steps = [record for record in records if "lr" in record]
    scores = [record for record in records if "lr" not in record and record["iter"] is not None]
    panels: list[tuple[str, Callable[[Any], None]]] = []
    if steps:
        panels = [
            ("loss", lambda axes: _draw_losses(axes, steps)),
            ("learning rate", lambda axes: _draw_lines(axes, steps, ["lr"], "-")),
        ]
    if shown := _shown_scores(scores):
        panels.append(("validation", lambda axes: _draw_lines(axes, scores, shown, "o-")))
    if not panels:
        return False
    figure = Figure(figsize=(10, 3 * len(panels)), dpi=100, layout="constrained")
    figure.suptitle(title)
    all_axes = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    for axes, (label, draw) in zip(all_axes, panels, strict=True):
        draw(axes)
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    all_axes[-1].set_xlabel("iteration")
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    write_whole(path, picture.getvalue())
    return True


def _draw_losses(axes: Any, steps: Sequence[Mapping[str, Any]]) -> None:
    """Draw the whole loss thinly with its running mean over it, and the running mean of each part."""
    names = list(dict.fromkeys(name for step in steps for name in step if "loss" in name))
    parts = [name for name in names if name != "loss"]
    parts = parts if 1 < len(parts) < _MAX_LINES else []
    for number, name in enumerate([*(["loss"] if "loss" in names else []), *parts]):
        at, values = _series(steps, name)
        color = "black" if name == "loss" else f"C{number - 1}"
        if name == "loss":
            axes.plot(at, values, color=color, alpha=0.25, linewidth=0.8)
        axes.plot(at, _running_mean(values), color=color, label=name, linewidth=2 if name == "loss" else 1)
    if max((value for _, value in zip(*_series(steps, "loss"), strict=True)), default=0.0) > 0:
        axes.set_ylim(bottom=0)
    axes.legend(fontsize="small")


def _draw_lines(axes: Any, records: Sequence[Mapping[str, Any]], names: Sequence[str], style: str) -> None:
    for name in names:
        axes.plot(*_series(records, name), style, markersize=4, label=name)
    if len(names) > 1 or "lr" not in names:
        axes.legend(fontsize="small")


def _series(records: Iterable[Mapping[str, Any]], name: str) -> tuple[list[int], list[float]]:
    """Return the iterations and values of a name where it has any; COCO's -1 is an undefined score."""
    undefined = (None, -1.0) if name.startswith("coco/") else (None,)
    pairs = [(record["iter"], record[name]) for record in records if record.get(name) not in undefined]
    return [at for at, _ in pairs], [value for _, value in pairs]


def _shown_scores(scores: Sequence[Mapping[str, Any]]) -> list[str]:
    names = dict.fromkeys(name for record in scores for name in record if name != "iter")
    numbers = [
        name for name in names if all(isinstance(value, (int, float)) for value in _series(scores, name)[1])
    ]
    return [name for name in _SCORES if name in numbers] or numbers[:_MAX_LINES]


def _running_mean(values: Sequence[float]) -> list[float]:
    """Return the mean of each value with those shortly before it."""
    window = max(1, round(len(values) * _SMOOTHING))
    parts = (values[max(0, end - window) : end] for end in range(1, len(values) + 1))
    return [sum(part) / len(part) for part in parts]
