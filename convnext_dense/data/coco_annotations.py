"""The checks of one COCO annotation: references, box, area and mask.

Sizes are in pixels, boxes are (x, y, width, height) with x to the right and y downwards.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from .coco_records import has_size

#: What is asked of masks: nothing; that each annotation has one; that they are polygons (crowds aside).
Masks = Literal["optional", "required", "polygons"]

#: A box may leave its image by less than this, which rounding and counting pixels from 0 or 1 explain.
OVERHANG_PX = 1.0
#: A box narrower than this holds no pixel; coordinates that are fractions of the image end here, too.
MIN_SIDE_PX = 1.0

#: Faults that do not hinder a score: there is only one way to count such an object.
SCORED_AS_THEY_ARE = frozenset(
    {"box of negative size", "box without area", "box outside its image", "area not positive"}
)


def check_annotation(
    annotation: Mapping[str, Any],
    images: Mapping[int, dict],
    categories: Mapping[int, dict],
    masks: Masks,
) -> tuple[str, str, bool] | None:
    """Return what is wrong with a complete annotation record, or None.

    Returns:
        The kind of fault, a phrase on this one, and whether a training could leave just this annotation out
        (a reference to nothing is no such fault: the file as a whole is then in doubt).
    """
    image = images.get(annotation["image_id"]) if type(annotation["image_id"]) is int else None
    if image is None:
        return "image id of no image", f"there is no image {annotation['image_id']!r}", False
    if type(annotation["category_id"]) is not int or annotation["category_id"] not in categories:
        return "category id of no category", f"there is no category {annotation['category_id']!r}", False
    if annotation.get("iscrowd", 0) not in (0, 1):
        return "iscrowd not 0 or 1", f"iscrowd is {annotation['iscrowd']!r}", False
    if not has_size(image):
        return None  # the image's own fault
    fault = _box_fault(annotation["bbox"], image["width"], image["height"])
    area = annotation["area"]
    if fault is None and not (_is_number(area) and math.isfinite(area)):
        fault = "area not finite", f"the area is {area!r}"
    if fault is None and area <= 0:
        fault = "area not positive", f"the area is {area}"
    if fault is None:
        fault = _mask_fault(annotation, image["width"], image["height"], masks)
    return None if fault is None else (*fault, True)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _box_fault(box: Any, width: int, height: int) -> tuple[str, str] | None:
    if not (isinstance(box, list) and len(box) == 4 and all(map(_is_number, box))):
        return "box not four numbers", f"the box {box!r:.60} is not a list of four numbers"
    if not math.isfinite(sum(box)):
        return "box not finite", f"the box {box} holds NaN or infinity"
    x, y, w, h = box
    if w < MIN_SIDE_PX or h < MIN_SIDE_PX:
        if w < 0 or h < 0:
            return (
                "box of negative size",
                f"the box {box} has a negative side; boxes are [x, y, width, height]",
            )
        hint = "; are these fractions of the image?" if max(box) <= 1 and w > 0 and h > 0 else ""
        return "box without area", f"the box {box} is less than a pixel wide or high{hint}"
    over = max(-x, -y, x + w - width, y + h - height)
    if over >= OVERHANG_PX:
        return (
            "box outside its image",
            f"the box {box} leaves the image of {width}x{height} px by {over:g} px",
        )
    return None


def _mask_fault(
    annotation: Mapping[str, Any], width: int, height: int, masks: Masks
) -> tuple[str, str] | None:
    mask = annotation.get("segmentation")
    if not mask:
        return None if masks == "optional" else ("mask missing", "it has no segmentation")
    if isinstance(mask, list):
        return _polygons_fault(mask)
    if not isinstance(mask, dict) or not {"size", "counts"} <= mask.keys():
        return "mask of unknown form", "the segmentation is neither a list of polygons nor RLE"
    if masks == "polygons" and not annotation.get("iscrowd", 0):
        return (
            "RLE where polygons are needed",
            "its mask is RLE; load it with dict(type='LoadAnnotations', with_mask=True, poly2mask=True)",
        )
    if mask["size"] != [height, width]:
        return (
            "RLE of another size",
            f"its RLE is for [height, width] {mask['size']}, the image is {[height, width]}",
        )
    pixels = rle_pixels(mask["counts"])
    if pixels is None:
        return "RLE damaged", "the counts of its RLE are damaged"
    if pixels != width * height:
        return "RLE damaged", f"its RLE counts {pixels:,} pixels, the image has {width * height:,}"
    return None


def _polygons_fault(polygons: list) -> tuple[str, str] | None:
    for polygon in polygons:
        if not isinstance(polygon, list):
            return "polygon not a list", f"a polygon is {polygon!r:.40}, not a list [x1, y1, x2, y2, …]"
        if len(polygon) < 6 or len(polygon) % 2:
            return (
                "polygon too short or odd",
                f"a polygon has {len(polygon)} numbers; three points or more are needed, two numbers each",
            )
        try:
            finite = math.isfinite(sum(polygon))
        except TypeError:
            finite = False
        if not finite:
            return "polygon not finite", "a polygon holds something other than finite numbers"
    return None


def rle_pixels(counts: Any) -> int | None:
    """Return the number of pixels that RLE counts cover, or None for counts that are none.

    Args:
        counts: Run lengths as a list, or as the string that the COCO API compresses them to: five bits to a
            character from '0' on, the sixth saying that more follow, each run from the fourth on relative to
            the one but last.
    """
    if isinstance(counts, list):
        valid = all(type(run) is int and run >= 0 for run in counts)
        return sum(counts) if valid else None
    if isinstance(counts, str):
        counts = counts.encode("ascii", "replace")
    if not isinstance(counts, bytes) or not counts:
        return None
    codes = np.frombuffer(counts, np.uint8).astype(np.int64) - 48
    last = (codes & 32) == 0  # of a run's characters
    if codes.min() < 0 or codes.max() > 63 or not last[-1]:
        return None
    ends = np.flatnonzero(last)
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts + 1
    if lengths.max() > 8:
        return None
    shifts = 5 * (np.arange(len(codes)) - np.repeat(starts, lengths))
    runs = np.add.reduceat((codes & 31) << shifts, starts)
    runs -= ((codes[ends] & 16) != 0) * (np.int64(1) << (5 * lengths))  # the highest bit is the sign
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return int(runs.sum()) if runs.min() >= 0 else None
