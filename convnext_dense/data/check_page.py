"""The data check's results as a reader sees them: a table on the terminal and one self-contained page."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import cv2
import numpy as np
from jinja2 import Environment

from .check_coco import MEDIUM_AREA_PX, SMALL_AREA_PX, CocoSplit
from .check_masks import MaskSplit
from .check_splits import Split

if TYPE_CHECKING:
    from .check import DataReport

#: From an image's path and content to the image with its labels.
Drawer: TypeAlias = Callable[[Path, np.ndarray], np.ndarray]
#: Sample pictures for each split, and their longer side in pixels.
SAMPLES, SAMPLE_PX = 6, 480
_COLORS = {"error": "red", "warning": "yellow", "note": "cyan"}
#: Classes that a plot shows at most; the table has them all.
_PLOTTED = 40
#: Ratio of the largest class to the smallest from which a plot is logarithmic.
_UNEVEN = 50

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Data check</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#222}
h1{margin-bottom:0}h2{margin-top:2em;border-bottom:1px solid #ddd}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.35em .6em;
border-bottom:1px solid #eee;vertical-align:top}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
.error{background:#c62828}.warning{background:#e09500}.note{background:#4a7a9c}
.tag{color:#fff;border-radius:3px;padding:.1em .5em;font-size:.85em}
code{font-size:.85em;word-break:break-all;color:#555}img{max-width:100%}
.samples{display:grid;grid-template-columns:repeat(auto-fill,minmax(320px,1fr));gap:10px}
figure{margin:0}figcaption{font-size:.8em;color:#666;word-break:break-all}.scroll{max-height:24em;overflow:auto}
</style><h1>Data check</h1>
<p>{{ summary }}</p>
<h2>Findings</h2>
{% if groups %}<table><tr><th>severity<th>split<th>finding<th class="n">count<th>examples<th>what to do
{% for g in groups %}<tr><td><span class="tag {{ g.severity }}">{{ g.severity }}</span><td>{{ g.split }}
<td>{{ g.kind }}<td class="n">{{ "{:,}".format(g.count) }}
<td>{% for e in g.examples %}<code>{{ e }}</code><br>{% endfor %}<td>{{ g.fix }}
{% endfor %}</table>{% else %}<p>None.</p>{% endif %}
{% for s in splits %}<h2>{{ s.name }}</h2><p>{{ s.text }}</p>
<img alt="statistics of {{ s.name }}" src="data:image/png;base64,{{ s.plot }}">
<div class="scroll"><table><tr><th>class<th class="n">{{ s.unit }}<th class="n">share<th class="n">images
{% for name, c in s.classes %}<tr><td>{{ name }}<td class="n">{{ "{:,}".format(c.amount) }}
<td class="n">{{ "%.2f" | format(c.share) }} %<td class="n">{{ "{:,}".format(c.images) }}
{% endfor %}</table></div>
<h3>Samples</h3><div class="samples">{% for path, picture in s.samples %}<figure>
<img alt="{{ path }}" src="data:image/jpeg;base64,{{ picture }}"><figcaption>{{ path }}</figcaption></figure>
{% endfor %}</div>{% endfor %}</html>
"""


def print_report(report: DataReport, splits: Sequence[Split], unknown: Sequence[str]) -> None:
    """Print the table of findings and a line for each split to standard output."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    for split in splits:
        console.print(Text(f"{split.name}: {_describe(report.statistics[split.name])}"), soft_wrap=True)
    for name in unknown:
        console.print(Text(f"not checked: the data set type {name}", "yellow"))
    if report.groups:
        table = Table("", "split", "finding", "count", "examples, and what to do", show_lines=True)
        for g in report.groups:
            details = Text("\n".join(g.examples[:3]))
            details.append(f"\nfix: {g.fix}", "bold")
            table.add_row(Text(g.severity, _COLORS[g.severity]), g.split, g.kind, f"{g.count:,}", details)
        console.print(table)
    console.print(Text(_summary(report)))


def write_page(report: DataReport, splits: Sequence[Split], path: Path) -> None:
    """Write the page: findings, statistics with plots, samples with their labels; nothing outside it."""
    shown = []
    for split in splits:
        facts = report.statistics[split.name]
        unit = "instances" if facts["kind"] == "instances" else "pixels"
        total = sum(c[unit] for c in facts["classes"].values()) or 1
        classes = [
            (name, {"amount": c[unit], "share": 100 * c[unit] / total, "images": c["images"]})
            for name, c in facts["classes"].items()
        ]
        shown.append(
            {
                "name": split.name,
                "text": _describe(facts),
                "unit": unit,
                "classes": classes,
                "plot": _plot(facts, unit),
                "samples": _samples(split),
            }
        )
    template = Environment(autoescape=True).from_string(_PAGE)
    path.write_text(template.render(summary=_summary(report), groups=report.groups, splits=shown), "utf-8")


def _summary(report: DataReport) -> str:
    counts = {s: sum(g.count for g in report.groups if g.severity == s) for s in _COLORS}
    return ", ".join(f"{count:,} {name}{'' if count == 1 else 's'}" for name, count in counts.items())


def _describe(facts: dict[str, Any]) -> str:
    sizes = np.array(facts["image_sizes"] or [[0, 0]])
    width, height = np.median(sizes, 0).astype(int)
    text = f"{facts['images']:,} images, {len(facts['classes'])} classes, median size {width}x{height} px"
    if facts["kind"] == "instances":
        sides = np.array(facts["object_sides"])
        small, large = (sides**2 < SMALL_AREA_PX).sum(), (sides**2 >= MEDIUM_AREA_PX).sum()
        number = len(sides)
        return (
            f"{text}; {number:,} objects: {small:,} small, {number - small - large:,} medium, {large:,} large"
        )
    counted = sum(c["pixels"] for c in facts["classes"].values())
    share = 100 * facts["ignored_pixels"] / ((counted + facts["ignored_pixels"]) or 1)
    return f"{text}; {share:.1f} % of the pixels do not count"


def _plot(facts: dict[str, Any], unit: str) -> str:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    with_sides = bool(facts.get("object_sides"))
    axes = figure.subplots(1, 3 if with_sides else 2, squeeze=False)[0]
    amounts = sorted(((c[unit], name) for name, c in facts["classes"].items()), reverse=True)[:_PLOTTED]
    axes[0].bar(range(len(amounts)), [amount for amount, _ in amounts], color="#3b76a8")
    axes[0].set_xticks(range(len(amounts)), [name for _, name in amounts], rotation=90, fontsize=7)
    uneven = bool(amounts) and amounts[0][0] > _UNEVEN * max(1, amounts[-1][0])
    axes[0].set(title=f"{unit} by class", yscale="log" if uneven else "linear")
    sizes = np.array(facts["image_sizes"] or [[0, 0]])
    axes[1].scatter(*sizes.T, s=8, alpha=0.4, color="#3b76a8")
    axes[1].set(title="image sizes", xlabel="width, px", ylabel="height, px", xlim=(0, None), ylim=(0, None))
    if with_sides:
        axes[2].hist(facts["object_sides"], bins=40, color="#3b76a8")
        for area in (SMALL_AREA_PX, MEDIUM_AREA_PX):
            axes[2].axvline(area**0.5, color="#888", linewidth=0.8, linestyle="--")
        axes[2].set(title="objects", xlabel="√(box area), px (dashed: 32 and 96)")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return base64.b64encode(buffer.getvalue()).decode()


def _samples(split: Split) -> list[tuple[str, str]]:
    """Return pictures of some images with their labels, evenly spread over the split, as JPEG in base64."""
    draw = _coco_drawer(split) if isinstance(split, CocoSplit) else _mask_drawer(split)
    files = split.files()
    chosen = files[:: max(1, len(files) // SAMPLES)][:SAMPLES]
    pictures = []
    for path in chosen:
        image = cv2.imread(str(path))
        if image is None:
            continue
        picture = draw(path, image)
        scale = min(1.0, SAMPLE_PX / max(picture.shape[:2]))
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        code = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
        pictures.append((str(path), base64.b64encode(code.tobytes()).decode()))
    return pictures


def _coco_drawer(split: CocoSplit) -> Drawer:
    from ..report.colors import spread_colors
    from ..report.instances import draw_coco

    data = json.loads(split.annotations.read_bytes())
    categories = [c for c in data["categories"] if isinstance(c, dict) and isinstance(c.get("id"), int)]
    names: dict[int, str] = {c["id"]: str(c.get("name")) for c in categories}
    colors = dict(zip(names, spread_colors(len(names)), strict=True))
    ids = {i.get("file_name"): i.get("id") for i in data["images"] if isinstance(i, dict)}

    def draw(path: Path, image: np.ndarray) -> np.ndarray:
        number = ids.get(path.relative_to(split.images).as_posix())
        own = [a for a in data["annotations"] if isinstance(a, dict) and a.get("image_id") == number]
        return draw_coco(image, own, names, colors)

    return draw


def _mask_drawer(split: MaskSplit) -> Drawer:
    from PIL import Image

    from ..report.colors import spread_colors
    from ..report.overlay import overlay

    colors = spread_colors(len(split.classes))

    def draw(path: Path, image: np.ndarray) -> np.ndarray:
        name = path.relative_to(split.images).as_posix().removesuffix(split.img_suffix)
        try:
            with Image.open(split.masks / f"{name}{split.mask_suffix}") as mask:
                labels = np.asarray(mask).astype(int) - int(split.reduce_zero_label)
        except (OSError, SyntaxError, ValueError):
            return image
        if labels.shape != image.shape[:2]:
            return image
        return overlay(image, np.where((labels < 0) | (labels > 255), 255, labels), colors)

    return draw
