"""What a predictor returns: the objects or the label map of one image, in the image's own pixels."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
from faster_coco_eval.core import mask as rle_codec

from ..errors import UserError
from ..files import write_whole
from ..report.colors import Color

#: COCO's compressed run-length encoding of a mask: `{'size': [H, W], 'counts': str}`.
Rle: TypeAlias = dict[str, Any]


def encode_mask(mask: np.ndarray) -> Rle:
    """Return a (H, W) mask, zero outside, as COCO's run-length encoding, ready for JSON."""
    rle = rle_codec.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [int(side) for side in rle["size"]], "counts": _text(rle["counts"])}


def _text(counts: str | bytes) -> str:
    return counts.decode("ascii") if isinstance(counts, bytes) else counts


@dataclass(frozen=True)
class Detections:
    """The objects found in an image, the most certain first as the model orders them.

    Attributes:
        boxes: (N, 4) float32, x1 y1 x2 y2 in pixels of the image.
        labels: (N,) int64, indices into `classes`.
        scores: (N,) float32, 0 … 1.
        masks: Of each object its mask over the whole image; None from a model without masks.
        classes: Names of the classes.
        image_size: (H, W) of the image in pixels.
        palette: RGB colour of each class.
        category_ids: Of each class its id in COCO files; 1 … K unless the data set has others.
        source: The image's file; None for an array.
        read: Returns the image as it was predicted, (H, W, 3) uint8 BGR.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    masks: list[Rle] | None
    classes: tuple[str, ...]
    image_size: tuple[int, int]
    palette: tuple[Color, ...]
    category_ids: tuple[int, ...]
    source: str | None = None
    read: Callable[[], np.ndarray] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.boxes)

    def above(self, score_thr: float) -> Detections:
        """Return those with a score of at least `score_thr`."""
        kept = np.flatnonzero(self.scores >= score_thr)
        return Detections(
            **{
                **vars(self),
                "boxes": self.boxes[kept],
                "labels": self.labels[kept],
                "scores": self.scores[kept],
                "masks": None if self.masks is None else [self.masks[i] for i in kept],
            }
        )

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """Return the objects as COCO results: image_id, category_id, bbox (x y w h), score, segmentation."""
        results = []
        for index, ((x1, y1, x2, y2), label, score) in enumerate(
            zip(self.boxes.tolist(), self.labels.tolist(), self.scores.tolist(), strict=True)
        ):
            result = {
                "image_id": image_id,
                "category_id": self.category_ids[label],
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "score": score,
            }
            if self.masks is not None:
                result["segmentation"] = self.masks[index]
            results.append(result)
        return results

    def save(self, path: str | Path) -> None:
        """Write the objects as COCO JSON with `images`, `annotations` and `categories`; see `coco_file`.

        Raises:
            UserError: The file cannot be written.
        """
        write_json(Path(path), coco_file([self]))

    def draw(self, image: np.ndarray | None = None, *, score_thr: float = 0.3) -> np.ndarray:
        """Return (H, W, 3) uint8 BGR: masks, boxes, names and scores over the image.

        Args:
            image: (H, W, 3) uint8 BGR to draw on; the predicted image if None.
            score_thr: Objects with a lower score are left out.

        Raises:
            UserError: The image cannot be read, or has another size.
        """
        from ..report.instances import draw_instances

        shown = self.above(score_thr)
        canvas = _canvas(image, self.read, self.image_size)
        masks = None if shown.masks is None else [partial(rle_codec.decode, rle) for rle in shown.masks]
        return draw_instances(
            canvas, shown.boxes, shown.labels, shown.scores, masks, self.classes, self.palette
        )


@dataclass(frozen=True)
class SegmentationMap:
    """The class of every pixel of an image.

    Attributes:
        labels: (H, W) uint8 (uint16 for more than 256 classes), indices into `classes`.
        classes: Names of the classes.
        palette: RGB colour of each class.
        source: The image's file; None for an array.
        read: Returns the image as it was predicted, (H, W, 3) uint8 BGR.
    """

    labels: np.ndarray
    classes: tuple[str, ...]
    palette: tuple[Color, ...]
    source: str | None = None
    read: Callable[[], np.ndarray] | None = field(default=None, repr=False)

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """Return a COCO result for each class there is: image_id, category_id (index + 1), segmentation."""
        return [
            {
                "image_id": image_id,
                "category_id": int(label) + 1,
                "segmentation": encode_mask(self.labels == label),
            }
            for label in np.unique(self.labels)
        ]

    def save(self, path: str | Path) -> None:
        """Write the label map as a grey PNG whose values are indices into `classes`.

        The indices count from 0 whatever the data set's own files do: where its label 0 means "ignored"
        (`reduce_zero_label`, e.g. ADE20K), they are one less than in those files.

        Raises:
            UserError: The file cannot be written, or is no `.png`.
        """
        if Path(path).suffix.lower() != ".png":
            raise UserError("a label map is written as PNG", str(path), "end the name in .png")
        write_picture(Path(path), self.labels)

    def draw(self, image: np.ndarray | None = None) -> np.ndarray:
        """Return (H, W, 3) uint8 BGR: the label map in the classes' colours over the image.

        Args:
            image: (H, W, 3) uint8 BGR to draw on; the predicted image if None.

        Raises:
            UserError: The image cannot be read, or has another size.
        """
        from ..report.overlay import overlay

        return overlay(_canvas(image, self.read, self.labels.shape), self.labels, self.palette)


def _canvas(
    image: np.ndarray | None, read: Callable[[], np.ndarray] | None, size: tuple[int, ...]
) -> np.ndarray:
    picture = read() if image is None and read is not None else image
    if picture is None:
        raise UserError("there is no image to draw on", "draw()", "give it: result.draw(image)")
    if picture.shape != (*size, 3) or picture.dtype != np.uint8:
        raise UserError(
            f"an image to draw on is {(*size, 3)} uint8, as the prediction, this is {picture.shape} "
            f"{picture.dtype}",
            "draw()",
            "give the image that was predicted, BGR",
        )
    return picture


def coco_file(results: Iterable[Detections]) -> dict[str, Any]:
    """Return the objects of many images as one COCO file; ids count from 1.

    `annotations` holds what `to_coco` returns with the `id`, `area` and `iscrowd` that COCO's tools want, so
    the list can be given to `loadRes` and the whole file be opened as a data set.

    Args:
        results: Of one model; each with its image's file as `source`.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    categories: dict[int, str] = {}
    for image_id, found in enumerate(results, 1):
        height, width = found.image_size
        images.append({"id": image_id, "file_name": found.source or "", "width": width, "height": height})
        categories.update(zip(found.category_ids, found.classes, strict=True))
        for result in found.to_coco(image_id):
            area = result["bbox"][2] * result["bbox"][3]
            if "segmentation" in result:
                area = int(rle_codec.area(result["segmentation"]))
            annotations.append({"id": len(annotations) + 1, **result, "area": area, "iscrowd": 0})
    listed = [{"id": id_, "name": name} for id_, name in categories.items()]
    return {"images": images, "annotations": annotations, "categories": listed}


def write_json(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all; a UserError if that fails."""
    _write(path, json.dumps(content).encode())


def write_picture(path: Path, picture: np.ndarray) -> None:
    """Write a picture in the format of the name's suffix, whole or not at all; a UserError if that fails."""
    _write(path, cv2.imencode(path.suffix, picture)[1].tobytes())


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except OSError as error:
        raise UserError(
            f"the file cannot be written: {error.strerror}", str(path), "name another place"
        ) from error
