"""What a checkpoint holds, as a table for a reader."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..files import human_bytes
from .families import Weights, arch_name, map_convnext
from .published import find_published
from .read import read_checkpoint, unwrap
from .report import summary
from .resolve import resolve_source, shorten

#: The tensor that shows a head's number of classes, and how many of its rows are no class.
_CLASS_LAYERS = {
    "head.weight": 0,
    "decode_head.conv_seg.weight": 0,
    "roi_head.bbox_head.fc_cls.weight": 1,  # the last one is the background
    "roi_head.bbox_head.0.fc_cls.weight": 1,
}
#: What the names of a task's heads begin with.
_TASKS = (
    ("instance detection", ("roi_head.", "bbox_head.")),
    ("semantic segmentation", ("decode_head.",)),
    ("classification", ("head.",)),
    ("masked pre-training (FCMAE)", ("decoder.", "mask_token")),
)


def describe_weights(source: str | os.PathLike[str]) -> str:
    """Return a table of a checkpoint's family, size, task, shapes and classes.

    Args:
        source: File, folder, URL or short name.

    Raises:
        UserError: It cannot be read, or holds no weights.
    """
    label = os.fspath(source)
    path = resolve_source(source)
    content = read_checkpoint(path, mmap=True)
    state, around = unwrap(content, label)
    weights = map_convnext(state)
    published = find_published(label)
    rows = [("file", f"{path} ({human_bytes(_size(path))})")]
    rows += [("published as", f"{published.name} {published.score}".rstrip())] if published else []
    rows += [("licence", str(published.licence))] if published else []
    rows += [("nested in", " → ".join(around))]
    rows += _of_convnext(weights) if weights else [("family", "no ConvNeXt of a known family")]
    rows += [("tensors", f"{len(state)}: {_numbers(state.values())}")]
    if not weights:
        rows += [("names", shorten([f"{name} {tuple(t.shape)}" for name, t in state.items()]))]
    rows += [("classes", _classes(weights.heads if weights else {}, content.get("meta")))]
    rest = [str(key) for key in content if not isinstance(content[key], Tensor) and str(key) not in around]
    rows += [("beside them", shorten(rest))]
    return "\n".join(f"{name:<14}{line}" for name, text in rows for line in text.splitlines()[:1] if line)


def _of_convnext(weights: Weights) -> list[tuple[str, str]]:
    rows = [("family", weights.family)]
    if weights.arch is None:
        return [*rows, ("arch", "incomplete: a stage is missing")]
    arch = weights.arch
    scale = any(name.endswith(".gamma") and ".grn." not in name for name in weights.backbone)
    generation = f"ConvNeXt {'V2' if arch.use_grn else 'V1'}"
    rows += [("arch", f"{arch_name(arch)}: {generation}, {'with' if scale else 'without'} layer scale")]
    rows += [("task", _task(weights.heads))]
    stem = tuple(weights.backbone["downsample_layers.0.0.weight"].shape)
    rows += [("shapes", f"stem {stem}; blocks {arch.depths} of {arch.dims} channels")]
    norms = sorted({name.partition(".")[0] for name in weights.backbone if name.startswith("norm")})
    rows += [("output norms", ", ".join(norms) or "none")]
    rows += [("heads", summary(weights.heads) or "none")]
    return rows


def _task(heads: Iterable[str]) -> str:
    names = list(heads)
    return next(
        (task for task, starts in _TASKS if any(n.startswith(starts) for n in names)), "backbone only"
    )


def _classes(heads: Mapping[str, Tensor], meta: Any) -> str:
    counts = [heads[name].shape[0] - extra for name, extra in _CLASS_LAYERS.items() if name in heads]
    names = _class_names(meta)
    if not counts:
        return ", ".join(names)
    return f"{counts[0]}" + (f": {shorten(names)}" if names else "")


def _class_names(meta: Any) -> list[str]:
    """Return the names in a checkpoint's `meta`: today's place of them, or that of 2022 and before."""
    meta = meta if isinstance(meta, Mapping) else {}
    saved = meta.get("dataset_meta")
    names = saved.get("classes") if isinstance(saved, Mapping) else meta.get("CLASSES")
    return [str(name) for name in names] if isinstance(names, list | tuple) else []


def _numbers(tensors: Iterable[Tensor]) -> str:
    tensors = list(tensors)
    count = sum(tensor.numel() for tensor in tensors if tensor.is_floating_point())
    dtypes = Counter(str(tensor.dtype).removeprefix("torch.") for tensor in tensors)
    return f"{count / 1e6:.1f} M values, {', '.join(f'{n} {dtype}' for dtype, n in dtypes.items())}"


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.iterdir() if file.is_file()]
    return sum(file.stat().st_size for file in files)
