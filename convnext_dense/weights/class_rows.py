"""Rows of a classifier kept by class name, when a model with other classes starts from a checkpoint.

`load_weights` leaves a head's last layer as initialised where the number of classes differs, and cannot know
of names where it does not. This fills the rows of the classes that both have.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError, nearest
from .read import read_checkpoint, read_state_dict


@dataclass(frozen=True)
class _Layout:
    """How a layer's rows belong to classes: so many each, then so many of none; and their initial spread."""

    per_class: int
    std: float
    extra: int = 0

    def rows(self, label: int) -> slice:
        return slice(label * self.per_class, (label + 1) * self.per_class)

    def count(self, classes: int) -> int:
        return classes * self.per_class + self.extra


#: The last layers of mmdet's and mmseg's heads. Background is the last row of a box classifier.
_LAYERS: Mapping[str, _Layout] = {
    "conv_seg": _Layout(1, 0.01),
    "fc_cls": _Layout(1, 0.01, extra=1),
    "fc_reg": _Layout(4, 0.001),
    "conv_logits": _Layout(1, 0.01),
}


def keep_class_rows(
    model: nn.Module, source: str | os.PathLike[str], classes: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Fill the rows of the classes that the checkpoint has, too, in each last layer of the heads.

    Where the numbers of classes are equal, `load_weights` has filled the rows of the other classes with those
    of whatever class had the same number: they are initialised anew.

    Args:
        model: A detector or segmentor; the rest of it was filled by `load_weights`.
        source: The checkpoint, with its class names, as tools/train.py and OpenMMLab's tools write it.
        classes: The model's class names in the order of their labels.

    Returns:
        The classes whose rows were kept, and those that begin from initialisation.

    Raises:
        UserError: The checkpoint does not name its classes, shares none of them or none of the layers, or a
            layer has another number of rows than they need.
    """
    content = read_checkpoint(source)
    old = _class_names(content, os.fspath(source))
    shared = [name for name in classes if name in old]
    if not shared:
        close = {name: match for name in classes if (match := nearest(name, old))}
        hint = "; ".join(f"{name!r}: the checkpoint has {match!r}" for name, match in close.items())
        raise UserError(
            "no class of the data has the name of one of the checkpoint's",
            f"{source}: {', '.join(old[:10])}{' …' if len(old) > 10 else ''}",
            f"leave out --keep-class-rows, or rename{': ' + hint if hint else ' the classes'}",
        )
    state = read_state_dict(content)
    plan = list(_pairs(model, state, len(classes), len(old), os.fspath(source)))
    if not plan:
        raise UserError("the checkpoint has no last layer of this model's heads", os.fspath(source))
    labels = [(classes.index(name), old.index(name)) for name in shared]
    with torch.no_grad():
        for own, given, layout in plan:
            if len(own) == len(given):
                own.normal_(std=layout.std) if own.dim() > 1 else own.zero_()
            for new_label, old_label in labels:
                own[layout.rows(new_label)] = given[layout.rows(old_label)].to(own)
            if layout.extra:
                own[-layout.extra :] = given[-layout.extra :].to(own)
    return tuple(shared), tuple(name for name in classes if name not in old)


def _class_names(content: Mapping[str, Any], source: str) -> list[str]:
    meta = content.get("meta")
    meta = meta if isinstance(meta, Mapping) else {}
    data = meta.get("dataset_meta")
    data = data if isinstance(data, Mapping) else {}
    for names in (data.get("classes"), data.get("CLASSES"), meta.get("CLASSES")):
        if isinstance(names, (list, tuple)) and names and all(isinstance(name, str) for name in names):
            return list(names)
    raise UserError(
        "the checkpoint does not name its classes, so that no row can be kept",
        f"{source} (meta.dataset_meta.classes)",
        "leave out --keep-class-rows, or take a checkpoint of a training",
    )


def _pairs(
    model: nn.Module, state: Mapping[str, Tensor], new: int, old: int, source: str
) -> Iterator[tuple[Tensor, Tensor, _Layout]]:
    """Yield the model's and the file's tensor of each last layer that both have."""
    for name, own in model.state_dict().items():
        layer = name.split(".")[-2] if "." in name else ""
        layout, given = _LAYERS.get(layer), state.get(name)
        if layout is None or given is None or len(own) != layout.count(new):
            continue  # not per class, as a box regression that is the same for all of them
        if len(given) == len(own) == layout.per_class and new > 1:
            continue
        if len(given) != layout.count(old) or given.shape[1:] != own.shape[1:]:
            raise UserError(
                f"{name} is {tuple(given.shape)} in the file, which has {old} classes; "
                f"the model's is {tuple(own.shape)}",
                source,
                "leave out --keep-class-rows",
            )
        yield own, given, layout
