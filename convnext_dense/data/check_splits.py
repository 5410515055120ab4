"""Which splits of data a config or the command line names, for the data check."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from ..errors import UserError
from .check_coco import CocoSplit
from .check_masks import MaskSplit
from .class_names import as_classes
from .coco_annotations import SCORED_AS_THEY_ARE
from .quarantine import BAD_IMAGE_KINDS

Split: TypeAlias = CocoSplit | MaskSplit

#: What `faulty='skip'` leaves out of training.
_SKIPPED = SCORED_AS_THEY_ARE | {"box not finite", "RLE damaged", "RLE of another size", "mask missing"}


def splits_of_config(cfg: Any, names: Sequence[str] = ("train", "val")) -> tuple[list[Split], list[str]]:
    """Return the splits that a config reads, and the types of data sets that the check does not know.

    Args:
        cfg: A resolved config, its libraries loaded.
        names: The data loaders to look at, of `train`, `val` and `test`.
    """
    from ..engine.config import walk_dicts

    splits: list[Split] = []
    unknown: list[str] = []
    for name in names:
        loader = cfg.get(f"{name}_dataloader") or {}
        found = [d for _, d in walk_dicts(loader.get("dataset") or {}) if "pipeline" in d and "type" in d]
        found = [d for d in found if "data_root" in d or "data_prefix" in d]
        for number, dataset in enumerate(found, 1):
            split = _split_of(dataset, name if len(found) == 1 else f"{name} {number}", cfg)
            if split is None:
                unknown.append(dataset["type"])
            elif not any(_same_data(split, other) for other in splits):
                splits.append(split)
    return splits, unknown


def splits_of_arguments(
    coco: Sequence[str], images: Sequence[str], masks: Sequence[str], classes: Sequence[str], **options: Any
) -> list[Split]:
    """Return the splits that `--coco`, `--images`, `--masks` and `--classes` name, in pairs.

    Args:
        coco: COCO annotation files; one folder of images may serve them all.
        images: Folders of images.
        masks: Folders of label maps, if there are no annotation files.
        classes: Names, or one text file of them; for COCO none are needed.
        options: Further fields of `MaskSplit`.
    """
    sources, flag = (coco, "--coco") if coco else (masks, "--masks")
    folders = list(images) * len(sources) if len(images) == 1 and coco else list(images)
    if not sources or len(folders) != len(sources):
        raise UserError(
            f"{len(images)} folders of images for {len(sources)} of {flag}",
            "the command line",
            "give one --images DIR for each --coco JSON or --masks DIR",
        )
    named = (
        as_classes(classes[0] if len(classes) == 1 and Path(classes[0]).is_file() else classes)
        if classes
        else None
    )
    names = [Path(source).stem if coco else Path(source).name for source in sources]
    pairs = list(zip(names, map(Path, sources), map(Path, folders), strict=True))
    if coco:
        return [CocoSplit(name, source, folder, named) for name, source, folder in pairs]
    if named is None:
        raise UserError(
            "--masks needs --classes", "the command line", "name them in the order of their values"
        )
    return [MaskSplit(name, folder, source, named, **options) for name, source, folder in pairs]


def _same_data(one: Split, other: Split) -> bool:
    return type(one) is type(other) and (one.place, one.images) == (other.place, other.images)


def _split_of(dataset: Mapping[str, Any], name: str, cfg: Any) -> Split | None:
    from mmengine.registry import DATASETS

    with DATASETS.switch_scope_and_registry(cfg.get("default_scope", "mmengine")) as registry:
        kind = registry.get(dataset["type"])
    kinds = {base.__name__ for base in getattr(kind, "__mro__", ())}
    root, prefix = dataset.get("data_root") or "", dataset.get("data_prefix") or {}

    def place(part: str | None) -> Path:
        return Path(os.path.join(root, part or ""))

    skips = dataset.get("on_bad_image") == "skip" and not dataset.get("test_mode")
    softened = BAD_IMAGE_KINDS if skips else frozenset()
    if "CocoInstances" in kinds:
        from ..detection.coco_dataset import loader_of, masks_of, walk_steps

        steps = list(walk_steps(dataset["pipeline"]))
        given = (dataset.get("metainfo") or {}).get("classes")
        return CocoSplit(
            name,
            place(dataset["ann_file"]),
            place(prefix.get("img") or prefix.get("img_path")),
            as_classes(given) if given is not None else None,
            masks_of(steps),
            loader_of(steps),
            softened | (_SKIPPED if dataset.get("faulty") == "skip" else frozenset()),
        )
    if "BaseSegDataset" not in kinds:
        return None
    from ..engine.classes import classes_of_dataset

    classes = tuple(classes_of_dataset(dataset, cfg.get("default_scope", "mmengine")))
    if not classes:
        return None
    head = (cfg.get("model") or {}).get("decode_head") or {}
    listed = place(dataset["ann_file"]) if dataset.get("ann_file") else None
    return MaskSplit(
        name,
        place(prefix.get("img_path")),
        place(prefix.get("seg_map_path")),
        classes,
        _setting(dataset, kind, "img_suffix"),
        _setting(dataset, kind, "seg_map_suffix"),
        _setting(dataset, kind, "reduce_zero_label"),
        head.get("ignore_index", 255) if isinstance(head, Mapping) else 255,
        softened,
        tuple(listed.read_text().split()) if listed else None,
    )


def _setting(dataset: Mapping[str, Any], kind: Any, name: str) -> Any:
    """Return a setting of a data set, or what its class has by default."""
    if name in dataset:
        return dataset[name]
    for base in kind.__mro__:
        parameter = inspect.signature(base.__init__).parameters.get(name)
        if parameter is not None and parameter.default is not parameter.empty:
            return parameter.default
    raise KeyError(name)
