"""`convnext-dense list`: what is shipped and published, as tables for a terminal of 80 columns."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence

from ..config_files import ConfigCard, config_card, shipped_configs
from .verb import Verb, say

_HEADINGS = {
    "segmentation": "Semantic segmentation",
    "detection": "Instance detection",
    "": "Of no known task",
}


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what",
        nargs="?",
        choices=tuple(_LISTS),
        default="configs",
        help="configs (the default), models: sizes of ConvNeXt, or weights: published checkpoints",
    )
    parser.add_argument("--names", action="store_true", help="the names alone, one a line")


def run(args: argparse.Namespace) -> None:
    """Print the list that is asked for."""
    names, table = _LISTS[args.what]
    lines = names() if args.names else table()
    say("".join(f"{line}\n" for line in lines))


def _configs() -> Iterable[str]:
    cards = [config_card(name, path) for name, path in shipped_configs().items()]
    cards.sort(key=lambda card: (card.name.partition("_convnext")[0], card.params_M or 0, card.name))
    for task, heading in _HEADINGS.items():
        of_task = [card for card in cards if card.task == task]
        if rows := [_row(card, card.published) for card in of_task if card.published]:
            yield from _table([heading, "params", "published"], rows)
            yield ""
        if rows := [_row(card, card.measured or "no") for card in of_task if not card.published]:
            yield from _table([f"{heading}, small", "params", "measured here"], rows)
            yield ""
    yield "train one: convnext-dense train NAME    read one: convnext-dense config NAME"


def _row(card: ConfigCard, score: str) -> list[str]:
    score = score.replace(" single-scale", "").replace(" multi-scale with flip", " ms+flip")
    return [card.name, f"{card.params_M:g} M" if card.params_M else "", score]


def _models() -> Iterable[str]:
    from ..models.arch import ARCHS, count_backbone_params
    from ..weights.published import top1_of

    rows = []
    for name, arch in ARCHS.items():
        scores = [f"{score:.1f}" if score else "" for score in top1_of(name)]
        depths, dims = ("-".join(map(str, numbers)) for numbers in (arch.depths, arch.dims))
        rows.append([name, depths, dims, f"{count_backbone_params(arch) / 1e6:.1f} M", *scores])
    yield from _table(["ConvNeXt", "blocks", "channels", "params", "top-1", "after 22k"], rows)
    yield ""
    yield "params without a classifier. top-1: published, on ImageNet-1k at 224 px, in %;"
    yield "after 22k: fine-tuned from ImageNet-22k (v2_huge: at 384 px)"
    yield 'in a config: model = dict(backbone=dict(type="ConvNeXt", arch="tiny", ...))'


def _weights() -> Iterable[str]:
    from ..weights.published import published_weights

    entries = published_weights().values()
    for licence in dict.fromkeys(entry.licence for entry in entries):
        rows = [[entry.name, entry.score] for entry in entries if entry.licence == licence]
        yield from _table([licence.name, "published"], rows)
        yield ""
    yield "a name stands for a checkpoint's path in test, predict, --load-from and init_cfg"


def _config_names() -> Iterable[str]:
    return shipped_configs()


def _model_names() -> Iterable[str]:
    from ..models.arch import ARCHS

    return ARCHS


def _weight_names() -> Iterable[str]:
    from ..weights.published import published_weights

    return published_weights()


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """Return the lines of a table whose first column is indented below its head."""
    cells = [list(heads), *(["  " + row[0], *row[1:]] for row in rows)]
    widths = [max(len(row[k]) for row in cells) for k in range(len(heads))]
    for row in cells:
        yield "  ".join(
            cell.rjust(width) if cell.endswith(" M") else cell.ljust(width)
            for cell, width in zip(row, widths, strict=True)
        ).rstrip()


#: what → (its names, its table)
_LISTS = {
    "configs": (_config_names, _configs),
    "models": (_model_names, _models),
    "weights": (_weight_names, _weights),
}

VERB = Verb(
    "list",
    "list configs, models or published weights",
    "convnext_dense.cli.listing:run",
    ("", "models", "weights --names"),
    _add_arguments,
)
