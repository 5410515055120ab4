"""The number of classes of every head, taken from the data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config
from mmengine.fileio import list_from_file
from mmengine.registry import DATASETS

from ..errors import UserError
from .config import walk_dicts

#: Parts of a segmentor or detector whose `num_classes` is the data set's. The RPN, which tells objects from
#: background, is none of them.
_HEADS = ("decode_head", "auxiliary_head", "roi_head", "bbox_head", "mask_head")


def set_num_classes(cfg: Config) -> list[str]:
    """Set `num_classes` of every head to the number of the training set's classes, in place.

    Args:
        cfg: A resolved config; without a training set, the test set's classes count.

    Returns:
        One notice if that changed a value of the config, else none.
    """
    classes = _classes(cfg)
    if not classes:
        return []
    changed = {}
    for path, head in _heads(cfg.model.get("module") or cfg.model):
        if "num_classes" in head and head["num_classes"] != len(classes):
            changed[path] = head["num_classes"]
            head["num_classes"] = len(classes)
    if not changed:
        return []
    before = ", ".join(sorted({str(number) for number in changed.values()}))
    return [f"num_classes set to the data set's {len(classes)} (was {before}) in {', '.join(changed)}"]


def _heads(model: Mapping[str, Any]) -> Iterator[tuple[str, dict]]:
    for name in _HEADS:
        yield from walk_dicts(model.get(name) or {}, name)


def _classes(cfg: Config) -> Sequence[str]:
    for split in ("train", "val", "test"):
        loader = cfg.get(f"{split}_dataloader") or {}
        for _, dataset in walk_dicts(loader.get("dataset") or {}):
            if "pipeline" in dataset and "type" in dataset:
                return classes_of_dataset(dataset, cfg.get("default_scope", "mmengine"))
    return ()


def classes_of_dataset(dataset: Mapping[str, Any], scope: str) -> Sequence[str]:
    """Return the classes of a data set's config: given, its type's, or its annotation file's."""
    given = (dataset.get("metainfo") or {}).get("classes")
    if isinstance(given, str):  # a file with one name a line, as mmengine reads it
        try:
            return list_from_file(given)
        except OSError as error:
            raise UserError(
                f"classes is the text {given!r}, not a list of names",
                "metainfo.classes",
                f"write classes=({given!r},), with the comma, or name a file of one name a line",
            ) from error
    if given is not None:
        return given
    with DATASETS.switch_scope_and_registry(scope) as registry:
        kind = registry.get(dataset["type"])
    own = (getattr(kind, "METAINFO", None) or {}).get("classes")
    if own:
        return own
    if str(dataset.get("ann_file", "")).endswith(".json"):
        from ..data.coco import classes_of

        return classes_of(dict(dataset)) or ()
    return ()
