"""Generated images with the sizes, the detail and the number of objects that COCO and ADE20K have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

COCO_PX, ADE_PX = (480, 640), (512, 683)
OBJECTS = 7  #: of an image on average, as COCO has
CORNERS = 24  #: of an outline; COCO's median
CROWD_EVERY = 10  #: every how many images have a crowd, as run lengths
CLASSES = 150
_JPEG_QUALITY = 90


def write_coco(root: Path, images: int, class_names: list[str]) -> None:
    """Write images and COCO JSON in the tree that the shipped COCO config reads."""
    rng = np.random.default_rng(0)
    (root / "train2017").mkdir(parents=True)
    (root / "annotations").mkdir()
    height, width = COCO_PX
    coco: dict[str, list[dict[str, Any]]] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": i, "name": name} for i, name in enumerate(class_names, start=1)],
    }
    for index in range(1, images + 1):
        cv2.imwrite(
            str(root / "train2017" / f"{index}.jpg"),
            _photo(rng, COCO_PX),
            [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY],
        )
        coco["images"].append({"id": index, "file_name": f"{index}.jpg", "height": height, "width": width})
        for _ in range(OBJECTS):
            outline = _outline(rng, COCO_PX)
            coco["annotations"].append(
                _object(len(coco["annotations"]) + 1, index, outline, class_names, rng)
            )
        if index % CROWD_EVERY == 0:
            coco["annotations"].append(_crowd(len(coco["annotations"]) + 1, index))
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps(coco))


def write_ade20k(root: Path, images: int) -> None:
    """Write images and label maps in the tree that the shipped ADE20K config reads."""
    rng = np.random.default_rng(0)
    for folder in ("images/training", "annotations/training"):
        (root / folder).mkdir(parents=True)
    for index in range(images):
        labels = np.zeros(ADE_PX, np.uint8)
        for _ in range(20):
            outline = _outline(rng, ADE_PX).round().astype(np.int32)
            cv2.fillPoly(labels, [outline], int(rng.integers(CLASSES + 1)))
        name = f"ADE_train_{index:08d}"
        cv2.imwrite(str(root / "images/training" / f"{name}.jpg"), _photo(rng, ADE_PX))
        cv2.imwrite(str(root / "annotations/training" / f"{name}.png"), labels)


def _photo(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Return a (H, W, 3) uint8 image with detail at every scale, which costs the decoder what photos cost."""
    height, width = size
    image = np.full((height, width, 3), 128, np.float32)
    for scale in (2, 4, 8, 16, 32, 64, 128):
        noise = rng.normal(0, 3 * scale**0.5, (height // scale + 1, width // scale + 1, 3)).astype(np.float32)
        image += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return image.clip(0, 255).astype(np.uint8)


def _outline(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Return the corners (CORNERS, 2) of a star-shaped object, px."""
    height, width = size
    radius = np.exp(rng.uniform(np.log(8), np.log(150)))
    centre = rng.random(2) * (width, height)
    angle = np.arange(CORNERS) * 2 * np.pi / CORNERS
    around = np.stack((np.cos(angle), np.sin(angle)), 1) * radius * rng.uniform(0.6, 1, (CORNERS, 1))
    return (centre + around).clip(0, (width - 1, height - 1))


def _object(
    number: int, image: int, outline: np.ndarray, class_names: list[str], rng: np.random.Generator
) -> dict[str, Any]:
    first, end = outline.min(0), outline.max(0)
    return {
        "id": number,
        "image_id": image,
        "category_id": int(rng.integers(1, len(class_names) + 1)),
        "bbox": [*first.tolist(), *(end - first).tolist()],
        "area": float((end - first).prod() / 2),
        "iscrowd": 0,
        "segmentation": [outline.reshape(-1).round(2).tolist()],
    }


def _crowd(number: int, image: int) -> dict[str, Any]:
    """Return a crowd in the image's right half."""
    height, width = COCO_PX
    zeros = height * width // 2
    return {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "bbox": [width // 2, 0, width // 2, height],
        "area": zeros,
        "iscrowd": 1,
        "segmentation": {"size": [height, width], "counts": [zeros, height * width - zeros]},
    }
