"""Small sound data sets, COCO and label maps, for tests to plant errors in."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from convnext_dense.data.check import check_splits
from convnext_dense.data.check_coco import CocoSplit
from convnext_dense.data.check_masks import MaskSplit

from .coco_file import rle

WIDTH, HEIGHT = 64, 48
NAMES = ("cat", "dog")


def picture(seed=0, mode="RGB"):
    noise = np.random.default_rng(seed).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    return Image.fromarray(noise).convert(mode)


class Coco:
    """Two images with objects of two classes each; the second of each class has run lengths."""

    def __init__(self, folder: Path, name="train", seed=0) -> None:
        self.folder, self.name, self.images = folder, name, folder / name
        self.images.mkdir(parents=True)
        annotations = []
        for number in range(20):
            annotations.append(
                {
                    "id": number + 1,
                    "image_id": 7 + number % 2,
                    "category_id": 5 if number % 4 < 2 else 3,
                    "bbox": [10, 5, 20, 15],
                    "area": 300.0,
                    "segmentation": [[10.0, 5.0, 30.0, 5.0, 30.0, 20.0]]
                    if number % 3
                    else rle(HEIGHT, WIDTH),
                }
            )
        self.data = {
            "images": [
                {"id": 7 + i, "file_name": f"{'ab'[i]}.jpg", "width": WIDTH, "height": HEIGHT} for i in (0, 1)
            ],
            "categories": [{"id": 5, "name": "cat"}, {"id": 3, "name": "dog"}],
            "annotations": annotations,
        }
        for i in (0, 1):
            picture(seed + i).save(self.images / f"{'ab'[i]}.jpg")

    def split(self, **options) -> CocoSplit:
        path = self.folder / f"{self.name}.json"
        path.write_text(json.dumps(self.data))
        return CocoSplit(self.name, path, self.images, **options)

    def first(self, **changes) -> None:
        self.data["annotations"][0].update(changes)


class Masks:
    """Three images with label maps of two classes, 0 and 1, and 255."""

    def __init__(self, folder: Path) -> None:
        self.images, self.masks = folder / "images", folder / "masks"
        for path in (self.images, self.masks):
            path.mkdir(parents=True)
        for name in "abc":
            picture(ord(name)).save(self.images / f"{name}.jpg")
            self.put(name, 0, 1, 255)

    def put(self, name, *values, dtype=np.uint8, size=(WIDTH, HEIGHT)):
        mask = np.resize(np.array(values, dtype), size[::-1])
        Image.fromarray(mask).save(self.masks / f"{name}.png")

    def split(self, **options) -> MaskSplit:
        return MaskSplit("train", self.images, self.masks, NAMES, **options)


def findings(*splits, full=False):
    """What the check finds, by kind."""
    return {group.kind: group for group in check_splits(splits, full=full).groups}
