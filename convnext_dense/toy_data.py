"""A few generated images in the format that a data set reads, for `convnext_dense.testing.shrink`.

Each image is a grid of blocks; a block shows one class by its colour, under noise. The first class and
the last are in every image, so that a head with too few classes fails.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.config import ConfigDict

IMAGE_PX = (90, 120)  #: (H, W): larger than the toy crop, not square, no multiple of the strides
IMAGES = {"train": 4, "val": 2, "test": 2}  #: number of images of each split
_GRID = (3, 4)
_BLOCK_PX = IMAGE_PX[0] // _GRID[0]
_NOTHING, _CROWD = (2, 2), (2, 3)  # blocks without a label, and with a crowd of the first class
_OBJECTS = ((0, 0), (1, 1), (0, 2), (2, 0), (1, 3))


def write_label_maps(dataset: ConfigDict, model: Mapping[str, Any], root: Path, split: str) -> None:
    """Write the images and label maps of a split for a data set of mmseg, and point it at them."""
    from mmseg.registry import DATASETS

    folders = {"img_path": f"images/{split}", "seg_map_path": f"labels/{split}"}
    dataset.update(data_root=str(root), data_prefix=folders)
    dataset.pop("ann_file", None)
    for folder in folders.values():
        (root / folder).mkdir(parents=True, exist_ok=True)
    built = DATASETS.build({**dataset, "pipeline": [], "lazy_init": True})
    ignored = 0 if built.reduce_zero_label else model["decode_head"].get("ignore_index", 255)
    rng = _rng(split)
    for index in range(IMAGES[split]):
        labels = _magnify(_draw_blocks(rng, len(built.metainfo["classes"])))
        image = _draw_image(rng, labels)
        values = np.where(labels < 0, ignored, labels + int(built.reduce_zero_label)).astype(np.uint8)
        cv2.imwrite(str(root / folders["img_path"] / f"{index}{built.img_suffix}"), image)
        cv2.imwrite(str(root / folders["seg_map_path"] / f"{index}{built.seg_map_suffix}"), values)


def write_coco(dataset: ConfigDict, model: Mapping[str, Any], root: Path, split: str) -> None:
    """Write the images of a split and their COCO JSON for a data set of mmdet, and point it at them.

    Masks are polygons and run lengths in turn; every image has a crowd; category ids have gaps, as COCO's.
    """
    folder, ann_file = f"images/{split}", f"annotations/{split}.json"
    dataset.update(data_root=str(root), data_prefix={"img": folder}, ann_file=ann_file)
    for path in (root / folder, (root / ann_file).parent):
        path.mkdir(parents=True, exist_ok=True)
    classes = _class_names(dataset, model)
    rng = _rng(split)
    coco: dict[str, list[dict[str, Any]]] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 2 * label + 1, "name": name} for label, name in enumerate(classes)],
    }
    for index in range(IMAGES[split]):
        blocks = _draw_blocks(rng, len(classes))
        cv2.imwrite(str(root / folder / f"{index}.jpg"), _draw_image(rng, _magnify(blocks)))
        height, width = IMAGE_PX
        coco["images"].append({"id": index, "file_name": f"{index}.jpg", "height": height, "width": width})
        for place in (*_OBJECTS, _CROWD):
            number = len(coco["annotations"])
            annotation = _annotation(place, int(blocks[place]), as_polygon=number % 2 == 0)
            coco["annotations"].append({"id": number + 1, "image_id": index, **annotation})
    (root / ann_file).write_text(json.dumps(coco))


def _class_names(dataset: Mapping[str, Any], model: Mapping[str, Any]) -> list[str]:
    """Return the classes that the config or the data set's type states, or as many as the heads have."""
    from mmdet.registry import DATASETS

    kind = DATASETS.get(dataset["type"])
    stated = {**getattr(kind, "METAINFO", {}), **(dataset.get("metainfo") or {})}
    head = model["roi_head"]["bbox_head"]
    head = head[0] if isinstance(head, list) else head
    return list(stated.get("classes") or (f"class {label}" for label in range(head["num_classes"])))


def _annotation(place: tuple[int, int], label: int, as_polygon: bool) -> dict[str, Any]:
    """Return the COCO annotation of a block, which is a crowd if it is the crowd's block."""
    (y, x), size = (_BLOCK_PX * np.array(place)).tolist(), _BLOCK_PX
    height, width = IMAGE_PX
    is_crowd = place == _CROWD
    segmentation: Any = [[x, y, x + size, y, x + size, y + size, x, y + size]]
    if is_crowd or not as_polygon:
        # Down the columns: zeros and ones in turn.
        counts = [x * height + y, *([size, height - size] * size)[:-1]]
        segmentation = {"size": [height, width], "counts": [*counts, height * width - sum(counts)]}
    return {
        "category_id": 1 if is_crowd else 2 * label + 1,
        "bbox": [x, y, size, size],
        "area": size * size,
        "iscrowd": int(is_crowd),
        "segmentation": segmentation,
    }


def _rng(split: str) -> np.random.Generator:
    return np.random.default_rng(list(IMAGES).index(split))


def _draw_blocks(rng: np.random.Generator, num_classes: int) -> np.ndarray:
    """Return the class of each block, `_GRID`; −1 is unlabelled."""
    blocks = rng.integers(num_classes, size=_GRID)
    blocks[0, 0], blocks[1, 1], blocks[_NOTHING] = 0, num_classes - 1, -1
    return blocks


def _magnify(blocks: np.ndarray) -> np.ndarray:
    """Return the (H, W) map of the blocks."""
    return np.kron(blocks, np.ones((_BLOCK_PX, _BLOCK_PX), int))


def _draw_image(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    """Return a (H, W, 3) uint8 image in which each class has its own colour, under noise."""
    colours = (labels[..., None] + 1) * np.array([37, 91, 53]) % 200
    return (colours + rng.integers(56, size=colours.shape)).astype(np.uint8)
