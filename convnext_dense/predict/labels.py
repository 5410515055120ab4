"""What a model's class indices stand for: names, colours, and ids in COCO files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..engine.config import walk_dicts
from ..errors import UserError
from ..report.colors import Color, class_colors
from .guard import known_metainfo
from .saved_config import PredictConfig

#: COCO's 80 categories have ids up to 90: these were announced and never annotated.
_UNUSED_COCO_IDS = frozenset({12, 26, 29, 30, 45, 66, 68, 69, 71, 83})


class Labels(NamedTuple):
    """Of each class its name, its RGB colour, and its id in COCO files."""

    classes: tuple[str, ...]
    palette: tuple[Color, ...]
    category_ids: tuple[int, ...]


def find_labels(meta: Mapping[str, Any], config: PredictConfig) -> Labels:
    """Return the labels that a model was trained with: the checkpoint's, or else the config's data set's.

    Category ids are the data set's where it tells them, COCO's own for its 80 classes, and 1 … K otherwise.

    Args:
        meta: The checkpoint's `meta`.
        config: The config of the model.

    Raises:
        UserError: There are no names, or not as many as a head has classes.
    """
    saved = meta.get("dataset_meta")
    # Checkpoints of OpenMMLab 2022 and before have CLASSES and PALETTE beside each other.
    found = saved if isinstance(saved, Mapping) else {str(key).lower(): meta[key] for key in meta}
    if not _names(found):
        found = {**known_metainfo(config.dataset.get("type")), **(config.dataset.get("metainfo") or {})}
    classes = _names(found)
    if not classes:
        raise UserError(
            "neither the checkpoint nor the config names the classes",
            config.where,
            "give a config with test_dataloader.dataset.metainfo=dict(classes=(...)): --config CONFIG",
        )
    _check_heads(config, len(classes))
    ids = found.get("category_ids")
    if not isinstance(ids, list | tuple) or len(ids) != len(classes):
        is_coco = classes == _names(known_metainfo("CocoDataset"))
        unused = _UNUSED_COCO_IDS if is_coco else ()
        ids = [id_ for id_ in range(1, len(classes) + len(unused) + 1) if id_ not in unused]
    return Labels(classes, class_colors(found.get("palette"), len(classes)), tuple(map(int, ids)))


def _names(dataset_meta: Mapping[str, Any]) -> tuple[str, ...]:
    names = dataset_meta.get("classes")
    return tuple(map(str, names)) if isinstance(names, list | tuple) else ()


def _check_heads(config: PredictConfig, count: int) -> None:
    for path, head in walk_dicts(config.model, "model"):
        found = head.get("num_classes") if str(head.get("type")).endswith("Head") else None
        # 1 is what binary segmentation and heads that only tell objects from background have.
        if found not in (None, 1, count):
            raise UserError(
                f"{path} has {found} classes, but the checkpoint's data {count}",
                config.where,
                "name the config that the checkpoint was trained with: --config CONFIG",
            )
