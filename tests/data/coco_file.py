"""A small COCO file with every kind of mask, and images to go with it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

WIDTH, HEIGHT = 40, 30


def rle(height=HEIGHT, width=WIDTH):
    mask = np.zeros((height, width), np.uint8, order="F")
    mask[5:20, 10:30] = 1
    code = coco_mask.encode(mask)
    return {"size": code["size"], "counts": code["counts"].decode()}


def valid():
    """Two images, three categories that are neither in order nor numbered from 1, every kind of mask."""
    polygons = [[10.0, 5.0, 30.0, 5.0, 30.0, 20.0]]
    uncompressed = {"size": [HEIGHT, WIDTH], "counts": [100, 50, HEIGHT * WIDTH - 150]}
    annotations = [
        {"id": 1, "image_id": 7, "category_id": 9, "segmentation": polygons},
        {"id": 2, "image_id": 7, "category_id": 2, "segmentation": rle()},
        {"id": 3, "image_id": 7, "category_id": 5, "segmentation": uncompressed, "iscrowd": 1},
    ]
    for annotation in annotations:
        annotation.update(bbox=[10, 5, 20, 15], area=300.0)
    return {
        "images": [
            {"id": 7, "file_name": "a.jpg", "width": WIDTH, "height": HEIGHT},
            {"id": 3, "file_name": "sub/b.png", "width": WIDTH, "height": HEIGHT},
        ],
        "categories": [{"id": 9, "name": "cat"}, {"id": 2, "name": "dog"}, {"id": 5, "name": "owl"}],
        "annotations": annotations,
    }


def writer(folder: Path):
    """Write the images; return a function that writes annotations, as an object or as text."""
    (folder / "images/sub").mkdir(parents=True)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8))
    picture.save(folder / "images/a.jpg")
    picture.save(folder / "images/sub/b.png")

    def write(data):
        path = folder / "train.json"
        path.write_text(data if isinstance(data, str) else json.dumps(data))
        return path

    return write
