"""Groups of parameters with their own learning rate and weight decay, and the table that shows them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from textwrap import shorten
from typing import Any

from mmengine.dist import master_only
from mmengine.logging import print_log
from torch import nn

_WIDTH = 100
_COLUMNS = "{lr:>10}{mult:>8}{decay:>8}{tensors:>9}{params:>12}  {names}"
_NAMES_WIDTH = _WIDTH - 49
_BACKBONE_PART = re.compile(r".*?(stages\.\d+\.\d+|downsample_layers\.\d+)(?=\.)")


@dataclass
class Group:
    """Parameters that share a learning rate and a weight decay.

    Attributes:
        lr_mult: Learning rate relative to the optimizer's.
        decay_mult: Weight decay relative to the optimizer's.
        names: Names of the parameters in the model.
        params: The parameters.
    """

    lr_mult: float
    decay_mult: float
    names: list[str] = field(default_factory=list)
    params: list[nn.Parameter] = field(default_factory=list)

    def settings(self, lr: float, weight_decay: float) -> dict[str, Any]:
        """Return the optimizer's form of the group, given the optimizer's learning rate and weight decay."""
        return {
            "params": self.params,
            "name": summarise(self.names) + ("" if self.decay_mult else " (no decay)"),
            "lr": lr * self.lr_mult,
            "lr_mult": self.lr_mult,
            "weight_decay": weight_decay * self.decay_mult,
        }


@master_only
def log_group_table(
    groups: Iterable[Group], frozen: Sequence[nn.Parameter], lr: float, weight_decay: float, title: str
) -> None:
    """Log one row per group: learning rate, weight decay, number of tensors and parameters, and names."""
    header = _COLUMNS.format(
        lr="lr", mult="x base", decay="decay", tensors="tensors", params="parameters", names="of"
    )
    rows = [
        _COLUMNS.format(
            lr=f"{lr * group.lr_mult:.2e}",
            mult=f"{group.lr_mult:.3f}",
            decay=f"{weight_decay * group.decay_mult:.3g}",
            tensors=len(group.params),
            params=f"{_count(group.params):,}",
            names=shorten(summarise(group.names), _NAMES_WIDTH, placeholder=" …"),
        )
        for group in groups
    ]
    if frozen:
        rows.append(
            _COLUMNS.format(
                lr="frozen", mult="", decay="", tensors=len(frozen), params=f"{_count(frozen):,}", names=""
            ).rstrip()
        )
    print_log("\n".join([f"{title} (lr {lr:g}, weight decay {weight_decay:g}):", header, *rows]), "current")


def summarise(names: Iterable[str]) -> str:
    """Return the parts of the model that parameter names belong to, runs of numbers joined.

    For example 'downsample_layers.2, stages.2.0-2' or 'norm0-3, decode_head'.
    """
    parts = list(dict.fromkeys(_part(name) for name in names))
    runs: list[tuple[str, str, str]] = []  # what stands before the number, first number, last number
    for part in parts:
        stem = part.rstrip("0123456789")
        number = part[len(stem) :]
        if runs and number and runs[-1][0] == stem and runs[-1][2] and int(number) == int(runs[-1][2]) + 1:
            runs[-1] = (stem, runs[-1][1], number)
        else:
            runs.append((stem, number, number))
    return ", ".join(f"{stem}{first}" + (f"-{last}" if last != first else "") for stem, first, last in runs)


def _part(name: str) -> str:
    """Return the block or downsampling of a backbone that `name` belongs to, else its first component."""
    name = name.removeprefix("backbone.")
    part = _BACKBONE_PART.match(name)
    return part[0] if part else name.split(".")[0]


def _count(params: Iterable[nn.Parameter]) -> int:
    return sum(param.numel() for param in params)
