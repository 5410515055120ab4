"""The data check of one split in COCO's format."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import nearest
from .check_images import ImageFacts, image_facts, in_parallel
from .check_table import Findings
from .coco import check_annotations
from .coco_annotations import Masks
from .coco_records import KEYS, check_categories, check_ids, check_image, has_size, is_complete, load_lists
from .image_files import Loader

#: COCO's bounds of small and medium objects, px².
SMALL_AREA_PX, MEDIUM_AREA_PX = 32**2, 96**2
FEW = 10


@dataclass(frozen=True)
class CocoSplit:
    """An annotation file and the folder of its images; `classes` of None are the file's own."""

    name: str
    annotations: Path
    images: Path
    classes: tuple[str, ...] | None = None
    masks: Masks = "optional"
    loader: Loader = "cv2"
    softened: frozenset[str] = frozenset()

    @property
    def place(self) -> Path:
        """What findings are about."""
        return self.annotations

    def files(self) -> list[Path]:
        """Return the images that the annotations name."""
        images = load_lists(self.annotations)["images"]
        names = [i.get("file_name") for i in images if isinstance(i, dict)]
        return [self.images / name for name in names if isinstance(name, str) and name]

    def check(self, findings: Findings, full: bool) -> dict[str, Any]:
        """Add what is wrong to `findings`; return the statistics, as JSON can hold them."""
        data = load_lists(self.annotations)
        records = {key: check_ids(data[key], key, findings) for key in KEYS}
        images, annotations, categories = records["images"], records["annotations"], records["categories"]
        check_categories(categories, findings)
        check_annotations(annotations.values(), images, categories, self.masks, "error", findings)
        counts = Counter(
            a["category_id"] for a in annotations.values() if isinstance(a.get("category_id"), int)
        )
        by_name = {str(c.get("name")): number for number, c in categories.items()}
        self._check_classes(by_name, counts, findings)
        if not annotations:
            findings.add("no annotations", f"{self.annotations} has none")
        annotated = {a.get("image_id") for a in annotations.values() if isinstance(a.get("image_id"), int)}
        facts = self._look(images, findings, full)
        for number, image in images.items():
            if number not in annotated:
                findings.add("image without annotations", f"image {number}: {image.get('file_name')}")
        return {
            "kind": "instances",
            "images": len(images),
            "image_sizes": sorted([*f.size] for f in facts if f.size),
            "classes": {
                name: {
                    "instances": counts[number],
                    "images": len(
                        {a["image_id"] for a in annotations.values() if a.get("category_id") == number}
                    ),
                }
                for name, number in by_name.items()
            },
            "object_sides": sorted(_sides(annotations)),
        }

    def _check_classes(
        self, by_name: Mapping[str, int], counts: Mapping[int, int], findings: Findings
    ) -> None:
        own = tuple(sorted(by_name, key=by_name.__getitem__))
        classes = self.classes or own
        for name in classes:
            number = counts.get(by_name.get(name, -1), 0)
            if name not in by_name:
                close = nearest(name, [n for n in own if n not in classes])
                hint = f": did you mean {close!r}?" if close else f"; it has {', '.join(own)}"
                findings.add("class not in the file", f"{name!r} is no category of {self.annotations}{hint}")
            elif number == 0:
                findings.add("class without annotations", f"{name!r} has none")
            elif number < FEW:
                findings.add("class with few annotations", f"{name!r} has {number}")
        for name in own:
            if name not in classes:
                findings.add("category not among the classes", f"{name!r} ({counts.get(by_name[name], 0):,})")
        if set(own) == set(classes) and own != tuple(classes):
            findings.add("classes in another order", f"the file has {', '.join(own)}")

    def _look(self, images: Mapping[int, dict], findings: Findings, full: bool) -> Sequence[ImageFacts]:
        named = []
        for number, image in images.items():
            if not is_complete(image, "images"):
                continue
            if fault := check_image(image):
                findings.add(fault[0], f"image {number}: {fault[1]}")
            else:
                named.append((number, image))

        def look(item: tuple[int, dict]) -> ImageFacts:
            size = (item[1]["width"], item[1]["height"]) if has_size(item[1]) else None
            return image_facts(self.images / item[1]["file_name"], size, self.loader, full)

        facts = in_parallel(f"{self.name}: looking at images", look, named)
        for (number, _), fact in zip(named, facts, strict=True):
            for kind, text in fact.found:
                findings.add(kind, f"image {number}: {text}")
        return facts


def _sides(annotations: Mapping[int, dict]) -> list[float]:
    """Return √area of the objects' boxes in pixels, of those that have one."""
    sides = []
    for annotation in annotations.values():
        box = annotation.get("bbox")
        if isinstance(box, list) and len(box) == 4:
            try:
                area = box[2] * box[3]
            except TypeError:
                continue
            if isinstance(area, (int, float)) and math.isfinite(area) and area > 0:
                sides.append(round(math.sqrt(area), 1))
    return sides
