"""What is checked before a run loads its libraries and data: paths and weights."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..commands import command
from ..errors import UserError
from .config import walk_dicts


def check_data(cfg: Config, splits: tuple[str, ...] = ("train", "val")) -> None:
    """Raise a UserError if a data set that the run reads is not there.

    Args:
        cfg: The resolved config.
        splits: The data loaders to look at, of `train`, `val` and `test`.
    """
    for split in splits:
        loader = cfg.get(f"{split}_dataloader")
        for path, dataset in walk_dicts(loader or {}, f"{split}_dataloader"):
            if "pipeline" in dataset and ("data_root" in dataset or "data_prefix" in dataset):
                _check_dataset(dataset, path)


def check_not_empty(dataset: Any, where: str) -> None:
    """Raise a UserError for a data set without a sample, over which a sampler would loop for ever."""
    if len(dataset) > 0:
        return
    suffix = getattr(dataset, "img_suffix", None)
    folder = (getattr(dataset, "data_prefix", None) or {}).get("img_path", "")
    named = f" whose name ends in {suffix!r}" if suffix else ""
    raise UserError(
        f"the data set has no image{named}",
        f"{where}: {folder}",
        "correct data_prefix and img_suffix in the config" if suffix else "correct the data set's paths",
    )


def _check_dataset(dataset: dict[str, Any], where: str) -> None:
    root = dataset.get("data_root") or ""
    parts = dict(dataset.get("data_prefix") or {})
    parts["ann_file"] = dataset.get("ann_file") or ""
    missing = [Path(root)] if root and not Path(root).exists() else []
    for name, part in parts.items():
        path = Path(os.path.join(root, part)) if part else None
        if path and not path.exists() and not (name == "ann_file" and missing):
            missing.append(path)
    if missing:
        raise UserError(
            f"the data set is not there: {missing[0]}",
            f"{where} (looked at {missing[0].absolute()})",
            _how_to_get(dataset, root),
        )


def _how_to_get(dataset: dict[str, Any], root: str) -> str:
    from ..data import ade20k, coco2017
    from ..data.shapes import CLASSES

    if dataset.get("type") == "ADE20KDataset":
        return ade20k.missing_data_help(root)
    if str(dataset.get("ann_file", "")).rpartition("/")[2] in coco2017.ANNOTATIONS:
        return coco2017.missing_data_help(root)
    if tuple((dataset.get("metainfo") or {}).get("classes", ()))[-len(CLASSES) :] == CLASSES:
        return f"make it: {command('prepare-data', 'shapes', '--root', root)}"
    parts = [part for part in (dataset.get("data_prefix") or {}).values() if part]
    expected = ", ".join([*parts, dataset.get("ann_file") or ""]).strip(", ")
    return f"put the data there ({expected} under {root}), or name another folder with --cfg-options"


def check_weights(cfg: Config) -> None:
    """Fetch every checkpoint that the model starts from, so that an absent one stops the run now."""
    from ..weights import resolve_source

    for _, init_cfg in walk_dicts(cfg.get("model") or {}, "model"):
        if init_cfg.get("type") == "Pretrained" and "checkpoint" in init_cfg:
            resolve_source(init_cfg["checkpoint"])
    if cfg.get("load_from"):
        resolve_source(cfg.load_from)
