"""The embedded data set: generated scenes, to train and evaluate on within minutes.

The same scenes are written in both forms that the models learn from, COCO instances and ADE-style label maps:

    root/
        images/{train,val}/train_0001.jpg            8-bit colour
        labels/{train,val}/train_0001.png            uint8: 0 ignored, 1 background, 2 … K+1 the classes
        annotations/instances_{train,val}.json       COCO: the visible part of every instance, as RLE
        shapes.json                                  what was asked for, and whether it is complete
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..errors import UserError
from ..files import locked, write_whole
from ..progress import track
from .scenes import CLASSES, PAIRS, PALETTE, SEMANTIC_CLASSES, SEMANTIC_PALETTE, Instance, Scene, make_scene

__all__ = [
    "CLASSES",
    "PAIRS",
    "PALETTE",
    "SEMANTIC_CLASSES",
    "SEMANTIC_PALETTE",
    "Instance",
    "Scene",
    "make_scene",
    "write_shapes",
]

VERSION = 1  #: of the scenes; a change of their bytes is a new version
SPLITS = ("train", "val")
_JPEG_QUALITY = 95


def write_shapes(
    root: str | Path = "data/shapes", n_train: int = 400, n_val: int = 80, size: int = 160, seed: int = 0
) -> Path:
    """Write the data set to the folder `root`; one that is there and complete is left alone.

    A scene depends on seed, split and number alone, so a smaller set is the beginning of a larger one.

    Args:
        root: The data set's folder; absent, empty, or written by this function with the same arguments.
        n_train: Number of training scenes.
        n_val: Number of validation scenes.
        size: Height and width of the scenes in pixels.
        seed: Seed of the whole set.

    Returns:
        The folder.

    Raises:
        UserError: The folder holds something else or cannot be written, or a number is out of range.
    """
    root = Path(root)
    counts = {"train": n_train, "val": n_val}
    if min(n_train, n_val) < 1:
        raise UserError(
            f"{n_train} training and {n_val} validation scenes", fix="ask for at least one of each"
        )
    if seed < 0:
        raise UserError(f"the seed {seed} is negative", fix="choose 0 or more")
    request = {"version": VERSION, "seed": seed, "size": size, "counts": counts}
    if _complete(root, request):
        return root

    make_scene(0, size)  # refuses a size that is too small before anything is written
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with locked(root):
            if not _complete(root, request):  # another process may have written it while this one waited
                _write(root, request)
    except OSError as error:
        raise UserError(
            f"cannot write the data set: {error.strerror or error}",
            str(error.filename or root),
            "free some space, or choose another folder with --root",
        ) from error
    return root


def _complete(root: Path, request: dict[str, Any]) -> bool:
    """Return whether the folder holds just this data set; refuse a folder of something else."""
    manifest = root / "shapes.json"
    elsewhere = "choose another folder with --root, or move this one away"
    if root.exists() and not root.is_dir():
        raise UserError("the data set's folder is a file", str(root), elsewhere)
    if not manifest.exists():
        others = {path.name for path in root.iterdir()} - {"shapes.json.part"} if root.exists() else set()
        if others:
            raise UserError("the folder holds other files, which are left alone", str(root), elsewhere)
        return False
    try:
        found = json.loads(manifest.read_text())
        complete = found.pop("complete")
        differs = _difference(found, request)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError("the manifest of the data set is damaged", str(manifest), elsewhere) from error
    if differs:
        raise UserError(f"the folder holds another set of shapes: {differs}", str(root), elsewhere)
    return complete is True and all(path.is_file() for path in _files(root, request))


def _difference(found: dict[str, Any], request: dict[str, Any]) -> str:
    """Say how two requests differ: `seed 0 instead of 7, train 20 instead of 400`."""
    before, now = ({**r, **r["counts"]} for r in (found, request))
    keys = [key for key in now if key != "counts" and before.get(key) != now[key]]
    return ", ".join(f"{key} {before.get(key)} instead of {now[key]}" for key in keys)


def _files(root: Path, request: dict[str, Any]) -> Iterator[Path]:
    for split in SPLITS:
        yield root / "annotations" / f"instances_{split}.json"
        for number in range(1, request["counts"][split] + 1):
            yield root / "images" / split / f"{split}_{number:04d}.jpg"
            yield root / "labels" / split / f"{split}_{number:04d}.png"


def _write(root: Path, request: dict[str, Any]) -> None:
    """Write everything; the manifest says first whose folder it is, and last that it is complete."""
    root.mkdir(exist_ok=True)
    write_whole(root / "shapes.json", json.dumps({**request, "complete": False}, indent=1).encode())
    (root / "annotations").mkdir(exist_ok=True)
    for split in SPLITS:
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True, exist_ok=True)
        coco = _write_split(root, split, request)
        write_whole(root / "annotations" / f"instances_{split}.json", json.dumps(coco).encode())
    write_whole(root / "shapes.json", json.dumps({**request, "complete": True}, indent=1).encode())


def _write_split(root: Path, split: str, request: dict[str, Any]) -> dict[str, Any]:
    """Write the images and label maps of a split, and return its COCO annotations."""
    numbers = range(1, request["counts"][split] + 1)

    def write_scene(number: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        scene = make_scene((request["seed"], SPLITS.index(split), number), request["size"])
        name = f"{split}_{number:04d}"
        jpeg = cv2.imencode(".jpg", scene.image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
        write_whole(root / "images" / split / f"{name}.jpg", jpeg.tobytes())
        write_whole(
            root / "labels" / split / f"{name}.png", cv2.imencode(".png", scene.label_map())[1].tobytes()
        )
        height, width = scene.image.shape[:2]
        image = {"id": number, "file_name": f"{name}.jpg", "height": height, "width": width}
        return image, [_annotation(instance, number) for instance in scene.instances]

    images, annotations = [], []
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        track(f"generating {split} scenes", len(numbers)) as advance,
    ):
        for image, instances in pool.map(write_scene, numbers):
            images.append(image)
            annotations += instances
            advance(1)
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number
    categories = [
        {"id": i, "name": name, "supercategory": "shape"} for i, name in enumerate(CLASSES, start=1)
    ]
    return {
        "info": {"description": "generated scenes of shapes", "version": str(VERSION)},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }


def _annotation(instance: Instance, image_id: int) -> dict[str, Any]:
    """Return the COCO form of an instance: box in pixels (x, y, width, height), compressed RLE."""
    from pycocotools import mask as coco_mask

    rle = coco_mask.encode(np.asfortranarray(instance.mask, np.uint8))
    return {
        "id": 0,
        "image_id": image_id,
        "category_id": instance.category + 1,
        "bbox": coco_mask.toBbox(rle).tolist(),
        "area": int(instance.mask.sum()),
        "iscrowd": 0,
        "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
    }
