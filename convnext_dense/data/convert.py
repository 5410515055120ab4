"""`convert-data`: other formats to the two that are read here, COCO JSON and label maps."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from ..commands import command
from ..errors import UserError, nearest
from ..files import write_whole
from .class_names import as_classes
from .coco_records import Faults
from .convert_boxes import READERS, Labelled, NotUnderstood
from .image_files import IMAGE_SUFFIXES, loaded_size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the formats as sub-commands of `parser`."""
    formats = parser.add_subparsers(dest="format", required=True, metavar="{voc,yolo,labelme,masks}")
    for name, text in (
        ("voc", "Pascal VOC XML files to COCO JSON"),
        ("yolo", "YOLO text files (boxes or polygons) to COCO JSON"),
        ("labelme", "LabelMe JSON files to COCO JSON"),
    ):
        sub = formats.add_parser(name, help=text, description=text + ".")
        sub.add_argument("--images", required=True, metavar="DIR", help="folder of the images")
        sub.add_argument("--annotations", required=True, metavar="DIR", help="folder of one file per image")
        sub.add_argument("--out", required=True, metavar="JSON", help="COCO annotation file to write")
        sub.add_argument(
            "--classes",
            nargs="+",
            required=name == "yolo",
            metavar="NAME",
            help="names in the order of their ids, or a text file of one name a line"
            + ("" if name == "yolo" else " (default: those in the files, sorted)"),
        )
        sub.add_argument(
            "--masks-from-boxes",
            action="store_true",
            help="give objects without an outline their box as mask, which Mask R-CNN can train on",
        )
    masks = formats.add_parser("masks", help="colour-coded masks to label maps")
    masks.add_argument("--masks", required=True, metavar="DIR", help="folder of the colour-coded masks")
    masks.add_argument(
        "--colors", required=True, metavar="TXT", help="colour table: a line `R G B name` for each class"
    )
    masks.add_argument("--out", required=True, metavar="DIR", help="folder of the label maps to write")


def run(args: argparse.Namespace) -> int:
    """Convert as the parsed arguments say, and say what was written; returns 0."""
    if args.format == "masks":
        from .convert_masks import convert_masks

        names = convert_masks(args.masks, args.colors, args.out)
        labels = ", ".join(f"{label} {name}" for label, name in enumerate(names))
        sys.stdout.write(f"label maps in {args.out}: {labels}; 255 does not count\n")
        return 0
    classes = None
    if args.classes:
        one_file = len(args.classes) == 1 and Path(args.classes[0]).is_file()
        classes = as_classes(args.classes[0] if one_file else args.classes)
    coco = to_coco(args.format, args.images, args.annotations, classes, args.masks_from_boxes)
    try:
        Path(args.out).parent.mkdir(parents=True, exist_ok=True)
        write_whole(Path(args.out), json.dumps(coco).encode())
    except OSError as error:
        raise UserError(f"the file cannot be written: {error.strerror}", args.out, "name another") from error
    empty = len(coco["images"]) - len({a["image_id"] for a in coco["annotations"]})
    ignored = sum("ignore" in annotation for annotation in coco["annotations"])
    sys.stdout.write(
        f"{args.out}: {len(coco['images']):,} images ({empty:,} without objects), "
        f"{len(coco['annotations']):,} objects ({ignored:,} difficult, left out of training), "
        f"classes {', '.join(c['name'] for c in coco['categories'])}\n"
        f"next: {command('check-data', '--coco', args.out, '--images', args.images)}\n"
    )
    return 0


def to_coco(
    kind: Literal["voc", "yolo", "labelme"],
    images: str | Path,
    annotations: str | Path,
    classes: Sequence[str] | None = None,
    masks_from_boxes: bool = False,
) -> dict[str, list[dict[str, Any]]]:
    """Return the content of a COCO annotation file for a folder of images and one of their annotations.

    Args:
        kind: The format.
        images: Folder of the images, and those below it.
        annotations: Folder of files with the images' names and the format's suffix.
        classes: Names in the order of their category ids, which begin at 1; None for the files' own, sorted.
        masks_from_boxes: Give objects without an outline their box as mask.

    Raises:
        UserError: A folder is absent or empty, or files are not understood: the first ten are listed.
    """
    images, annotations = Path(images), Path(annotations)
    suffix, read = READERS[kind]
    pictures = list(_pictures(images))
    faults = Faults(annotations)
    found: list[tuple[str, tuple[int, int], list[Labelled]]] = []
    seen: set[Path] = set()
    for name in pictures:
        path = (annotations / name).with_suffix(suffix)
        path = path if path.exists() else annotations / path.name
        seen.add(path)
        try:
            with Image.open(images / name) as image:
                size = loaded_size(image)
            if not path.exists() and kind != "yolo":
                raise NotUnderstood("there is no such file for an image")
            found.append((name, size, read(path, size, classes or ())))
        except NotUnderstood as error:
            faults.add("file not understood", f"{path}: {error}")
        except OSError as error:
            faults.add("image unreadable", f"{images / name}: {error}")
    for path in sorted(set(annotations.rglob(f"*{suffix}")) - seen):
        if path.name != "classes.txt":  # which labelling tools write beside YOLO's files
            faults.add("annotations without image", f"{path}: no image has this name")
    names = sorted({o.name for _, _, objects in found for o in objects}) if classes is None else list(classes)
    for name, _, objects in found:
        for unknown in sorted({o.name for o in objects} - set(names)):
            close = nearest(unknown, names)
            hint = f"; did you mean {close!r}?" if close else ""
            faults.add("class not named", f"{name}: {unknown!r} is none of --classes{hint}")
    faults.raise_if_any("correct these files; nothing was written")
    return _document(found, names, masks_from_boxes)


def _pictures(folder: Path) -> Iterator[str]:
    names = [
        p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES
    ]
    if not names:
        raise UserError("there are no images", str(folder), "correct --images")
    yield from sorted(names)


def _document(
    found: Sequence[tuple[str, tuple[int, int], list[Labelled]]], names: Sequence[str], boxes: bool
) -> dict[str, list[dict[str, Any]]]:
    ids = {name: number for number, name in enumerate(names, 1)}
    coco: dict[str, list[dict[str, Any]]] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": number, "name": name} for name, number in ids.items()],
    }
    for image_id, (name, (width, height), objects) in enumerate(found, 1):
        coco["images"].append({"id": image_id, "file_name": name, "width": width, "height": height})
        for item in objects:
            x, y, w, h = item.box
            polygons = item.polygons
            if boxes and not polygons:
                polygons = [[x, y, x + w, y, x + w, y + h, x, y + h]]
            record = {
                "id": len(coco["annotations"]) + 1,
                "image_id": image_id,
                "category_id": ids[item.name],
                "bbox": [x, y, w, h],
                "area": sum(map(_area, polygons)) if polygons else w * h,
                "iscrowd": 0,
                **({"segmentation": polygons} if polygons else {}),
                **item.extra,
            }
            coco["annotations"].append(record)
    return coco


def _area(polygon: Sequence[float]) -> float:
    """Return the area of a polygon by the shoelace formula, in square pixels."""
    xs, ys = polygon[::2], polygon[1::2]
    pairs = zip(xs, ys, [*xs[1:], xs[0]], [*ys[1:], ys[0]], strict=True)
    return abs(sum(x1 * y2 - x2 * y1 for x1, y1, x2, y2 in pairs)) / 2
