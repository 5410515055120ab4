"""Reading COCO annotation files: labels by category name, and every fault named before a run.

Rules
- Label i is the i-th name of `classes`, whatever the order and the ids of the file's categories.
- Nothing is mended. A file with faults is refused with a list of them, or, if the reader asks for it, read
  with the faulty annotations named in a notice and marked to be left out of training.
- A box may leave its image by less than a pixel, and is at least a pixel wide and high.
- Width and height are those of the image as it is loaded, that is, as its EXIF orientation displays it.

Source: Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014; https://cocodataset.org/#format-data.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import UserError, nearest
from .class_names import as_classes
from .coco_annotations import SCORED_AS_THEY_ARE, Masks, check_annotation
from .coco_records import KEYS, Faults, check_categories, check_ids, check_image, is_complete, load_lists
from .image_files import Loader, image_fault
from .quarantine import BAD_IMAGE_KINDS, OnBadImage

_FIX = "correct these records and files; nothing was changed or left out"
_OR_SKIP = " (faulty='skip' in the data set's config leaves faulty annotations out)"


@dataclass(frozen=True)
class CocoFile:
    """A COCO annotation file that was read and checked.

    Attributes:
        path: The file.
        classes: The names of the classes; a label is an index into them.
        category_ids: The file's category id of each label.
        images: The image records by id, in the file's order.
        annotations: The annotation records of these classes by image id, in the file's order; an image
            without any has an empty list.
        faulty: Ids of annotations to leave out of training; empty unless the reader asked for it.
        bad_images: File, kind of fault and sentence of the images that cannot be loaded, by image id; empty
            unless the reader asked for it.
        notices: What the reader ought to know, one line each.
    """

    path: Path
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    images: Mapping[int, dict[str, Any]]
    annotations: Mapping[int, list[dict[str, Any]]]
    faulty: frozenset[int]
    bad_images: Mapping[int, tuple[Path, str, str]]
    notices: tuple[str, ...]

    @property
    def labels(self) -> dict[int, int]:
        """The label of each category id."""
        return {category_id: label for label, category_id in enumerate(self.category_ids)}


def read_coco(
    path: str | Path,
    classes: Sequence[str] | None = None,
    images_dir: str | Path | None = None,
    *,
    masks: Masks = "optional",
    faulty: Literal["error", "skip", "keep"] = "error",
    full: bool = False,
    loader: Loader = "cv2",
    on_bad_image: OnBadImage = "error",
) -> CocoFile:
    """Read a COCO annotation file and check all of it.

    Args:
        path: The JSON file.
        classes: Names of the classes in the order of their labels; by default the file's own, by ascending
            category id.
        images_dir: Folder that the images' `file_name`s are relative to; without it no image is looked at.
            The headers are read (about 0.1 ms per image), not the pixels.
        masks: What is asked of masks: `optional`, `required`, or `polygons` (no RLE but for crowds).
        faulty: What to do about annotations whose box, area or mask cannot be right: `error`, or `skip`,
            which names them in a notice and leaves them out of training. Boxes that only overhang are kept
            as they are. (COCO's own train2017 has boxes without area.) `keep` is for scoring: boxes and
            areas are taken as the COCO API takes them, whatever their size and place.
        full: Decode every image, too, which takes milliseconds each: finds damage in the middle of a file, as
            far as its format tells (a JPEG with its end in place does not).
        loader: What will load the images: decides on EXIF orientation.
        on_bad_image: `skip` tells of images that cannot be loaded in `bad_images` instead of raising.

    Returns:
        The file's content by image.

    Raises:
        UserError: The file cannot be read, is not COCO, lacks a class, or has faults; it names the first ten
            with their record's id, the number of them all, and each kind.
    """
    path = Path(path)
    data = load_lists(path)
    faults = Faults(path)
    records = {key: check_ids(data[key], key, faults) for key in KEYS}
    images, annotations, categories = records["images"], records["annotations"], records["categories"]
    check_categories(categories, faults)
    for number, image in images.items():
        if is_complete(image, "images") and (fault := check_image(image)):
            faults.add(fault[0], f"image {number}: {fault[1]}")
    skipped = check_annotations(annotations.values(), images, categories, masks, faulty, faults)
    bad_images: dict[int, tuple[Path, str, str]] = {}
    if images_dir is not None:
        for number, path, fault in _check_files(images, Path(images_dir), loader, full):
            if on_bad_image == "skip" and fault[0] in BAD_IMAGE_KINDS:
                bad_images[number] = (path, *fault)
            else:
                faults.add(fault[0], f"image {number}: {fault[1]}")
    faults.raise_if_any(_FIX + (_OR_SKIP if faults.skippable else ""))
    if not images:
        raise UserError("there are no images", str(path), "name another annotation file")

    names = {category["name"]: number for number, category in categories.items()}
    classes = _match_classes(path, classes, names)
    chosen = {names[name] for name in classes}
    by_image: dict[int, list[dict[str, Any]]] = {number: [] for number in images}
    for annotation in annotations.values():
        if annotation["category_id"] in chosen:
            by_image[annotation["image_id"]].append(annotation)
    notices = [*_class_notices(path, classes, names, annotations.values()), *_skip_notices(skipped)]
    return CocoFile(
        path=path,
        classes=classes,
        category_ids=tuple(names[name] for name in classes),
        images=images,
        annotations=by_image,
        faulty=frozenset(skipped.ids),
        bad_images=bad_images,
        notices=tuple(notices),
    )


def category_names(path: str | Path) -> tuple[str, ...]:
    """Return the names of a COCO file's categories by ascending id; only the categories are checked."""
    path = Path(path)
    faults = Faults(path)
    categories = check_ids(load_lists(path)["categories"], "categories", faults)
    check_categories(categories, faults)
    faults.raise_if_any(_FIX)
    return tuple(categories[number]["name"] for number in sorted(categories))


def classes_of(dataset: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the classes of a config's data set, without building it or importing mmdet.

    Args:
        dataset: The config of a data set, or of a wrapper around one (`dataset`) or several (`datasets`).

    Returns:
        `metainfo.classes`; without them, for `CocoInstances`, the annotation file's categories by ascending
        id; None for other data sets, whose classes are in their code.

    Raises:
        UserError: The annotation file cannot be read, or the parts of a wrapper have different classes.
    """
    if "dataset" in dataset:
        return classes_of(dataset["dataset"])
    if "datasets" in dataset:
        found = [classes_of(part) for part in dataset["datasets"]]
        if len(set(found)) > 1:
            raise UserError(
                f"data sets of one {dataset.get('type', 'wrapper')} have different classes",
                "; ".join(str(classes) for classes in dict.fromkeys(found)),
                "give them the same metainfo=dict(classes=...)",
            )
        return found[0] if found else None
    if classes := (dataset.get("metainfo") or {}).get("classes"):
        return as_classes(classes)
    if dataset.get("type") != "CocoInstances" or not dataset.get("ann_file"):
        return None
    return category_names(os.path.join(dataset.get("data_root") or "", dataset["ann_file"]))


class Skipped(Faults):
    """Faults that are told instead of raised, and the annotations that they take out of training."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.ids: set[int] = set()


def check_annotations(
    annotations: Iterable[dict[str, Any]],
    images: Mapping[int, dict],
    categories: Mapping[int, dict],
    masks: Masks,
    faulty: str,
    faults: Faults,
) -> Skipped:
    """Add the faults of complete annotation records; return those that `faulty` (see `read_coco`) softens."""
    skipped = Skipped(faults.path)
    for annotation in annotations:
        if not is_complete(annotation, "annotations"):
            continue
        fault = check_annotation(annotation, images, categories, masks)
        if fault is None or (faulty == "keep" and fault[0] in SCORED_AS_THEY_ARE):
            continue
        kind, phrase, skippable = fault
        text = f"annotation {annotation['id']} (image {annotation['image_id']!r}): {phrase}"
        if not (skippable and faulty == "skip"):
            faults.add(kind, text, skippable)
            continue
        skipped.add(kind, text)
        if kind != "box outside its image" or _wholly_outside(annotation, images):
            skipped.ids.add(annotation["id"])
    return skipped


def _wholly_outside(annotation: Mapping[str, Any], images: Mapping[int, dict]) -> bool:
    image = images[annotation["image_id"]]
    x, y, w, h = annotation["bbox"]
    return x >= image["width"] or y >= image["height"] or x + w <= 0 or y + h <= 0


def _check_files(
    images: Mapping[int, dict], folder: Path, loader: Loader, full: bool
) -> Iterator[tuple[int, Path, tuple[str, str]]]:
    """Yield id, file and fault of each image file that has one."""
    if not folder.is_dir():
        raise UserError(
            "the folder of the images does not exist",
            str(folder.absolute()),
            "check data_root and data_prefix=dict(img=...)",
        )
    named = [(n, i) for n, i in images.items() if isinstance(i.get("file_name"), str) and i["file_name"]]

    def look(item: tuple[int, dict]) -> tuple[str, str] | None:
        image = item[1]
        size = (image.get("width"), image.get("height")) if check_image(image) is None else None
        return image_fault(folder / image["file_name"], size, loader=loader, full=full)  # type: ignore[arg-type]

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for (number, image), fault in zip(named, pool.map(look, named, chunksize=64), strict=True):
            if fault:
                yield number, folder / image["file_name"], fault


def _match_classes(path: Path, classes: Sequence[str] | None, names: Mapping[str, int]) -> tuple[str, ...]:
    """Return the class names in the order of their labels; every one is in the file."""
    if classes is None:
        return tuple(sorted(names, key=names.__getitem__))
    wanted = as_classes(classes)
    absent = [name for name in wanted if name not in names]
    if not absent:
        return wanted
    free = [name for name in names if name not in wanted]
    hints = [f"{name!r}: did you mean {close!r}?" for name in absent if (close := nearest(name, free))]
    raise UserError(
        f"the annotation file has no category {', '.join(map(repr, absent))}",
        f"{path} (metainfo.classes of the data set)",
        "\n".join([*hints, f"its categories are: {', '.join(names)}"]),
    )


def _class_notices(
    path: Path, classes: Sequence[str], names: Mapping[str, int], annotations: Iterable[dict]
) -> list[str]:
    counts: dict[int, int] = {}
    for annotation in annotations:
        counts[annotation["category_id"]] = counts.get(annotation["category_id"], 0) + 1
    left_out = [name for name in names if name not in set(classes)]
    empty = [name for name in classes if not counts.get(names[name])]
    notices = []
    if left_out:
        number = sum(counts.get(names[name], 0) for name in left_out)
        notices.append(
            f"{path.name}: {_listed(left_out)} not among the classes ({number:,} annotations left out)"
        )
    if empty and counts:
        notices.append(f"{path.name}: no annotation of {_listed(empty)}")
    return notices


def _skip_notices(skipped: Skipped) -> list[str]:
    if not skipped:
        return []
    left_out = f"{len(skipped.ids):,} annotations are left out of training"
    return [
        f"{skipped.path.name} has {skipped.summary()}; {left_out}",
        *(f"  {line}" for line in skipped.lines()),
    ]


def _listed(names: Sequence[str], shown: int = 5) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
