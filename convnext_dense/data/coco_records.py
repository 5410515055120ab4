"""The records of a COCO annotation file: read, with what each needs to be one.

Nothing is mended; every fault is collected with the record that it is in.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError

#: The lists of an annotation file, and the keys that each of their records needs besides `id`.
KEYS: Mapping[str, tuple[str, ...]] = {
    "images": ("file_name", "width", "height"),
    "annotations": ("image_id", "category_id", "bbox", "area"),
    "categories": ("name",),
}
_SHOWN = 10


class Faults:
    """The faults of one annotation file, collected so that its owner sees them all at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.skippable = False  #: whether leaving annotations out of training would mend some
        self._found: list[tuple[str, str]] = []

    def __len__(self) -> int:
        return len(self._found)

    def add(self, kind: str, text: str, skippable: bool = False) -> None:
        """Add a fault: its kind in a few words, and a sentence that begins with the record."""
        self.skippable |= skippable
        self._found.append((kind, text))

    def summary(self) -> str:
        """Return the number of faults of each kind: `3 faults: box without area (2), image missing (1)`."""
        kinds = Counter(kind for kind, _ in self._found)
        noun = "fault" if len(self) == 1 else "faults"
        return f"{len(self):,} {noun}: " + ", ".join(f"{kind} ({n:,})" for kind, n in kinds.most_common())

    def lines(self) -> list[str]:
        """Return the first faults, one line each."""
        lines = [text for _, text in self._found[:_SHOWN]]
        return lines + ([f"… and {len(self) - _SHOWN:,} more"] if len(self) > _SHOWN else [])

    def raise_if_any(self, fix: str) -> None:
        """Raise a UserError that lists the faults, if there are any."""
        if self._found:
            raise UserError(
                f"{self.path.name} has {self.summary()}", "\n".join([str(self.path), *self.lines()]), fix
            )


def check_ids(records: Iterable[Any], key: str, faults: Faults) -> dict[int, dict]:
    """Return records by id; a record that is no object, lacks a key or repeats an id is a fault.

    Args:
        records: The entries of the file's list `key`.
        key: `images`, `annotations` or `categories`.
        faults: Where faults are added.
    """
    noun = {"images": "image", "annotations": "annotation", "categories": "category"}[key]
    by_id: dict[int, dict] = {}
    for position, record in enumerate(records):
        if not isinstance(record, dict):
            faults.add(f"{noun} not an object", f"{noun} number {position} is not an object: {record!r:.60}")
            continue
        number = record.get("id")
        if type(number) is not int:
            faults.add(
                f"{noun} without id", f"{noun} number {position} has the id {number!r}, not an integer"
            )
        elif number in by_id:
            faults.add(f"{noun} id repeated", f"{noun} {number}: another {noun} has the same id")
        elif missing := [name for name in KEYS[key] if name not in record]:
            faults.add(f"{noun} incomplete", f"{noun} {number} has no {', '.join(map(repr, missing))}")
            by_id[number] = record  # so that what refers to it is no fault
        else:
            by_id[number] = record
    return by_id


def load_lists(path: Path) -> dict[str, list]:
    """Return the content of an annotation file, which has the lists of `KEYS`.

    Raises:
        UserError: The file is absent, unreadable, not JSON (with line and column) or not COCO.
    """
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(
            "the annotation file does not exist", str(path.absolute()), "check data_root and ann_file"
        ) from None
    except OSError as error:
        raise UserError(f"the annotation file cannot be read: {error.strerror}", str(path)) from error
    except json.JSONDecodeError as error:
        where = f"{path}, line {error.lineno}, column {error.colno}"
        raise UserError(f"the file is not JSON: {error.msg}", where, "export or download it again") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"the file is not JSON: {error}", str(path), "export or download it again") from error
    if isinstance(data, list):
        raise UserError(
            "the file is a list, not a COCO annotation file",
            str(path),
            "name the file with images, annotations and categories; this may be one of predictions",
        )
    missing = [key for key in KEYS if not isinstance(data, dict) or not isinstance(data.get(key), list)]
    if missing:
        raise UserError(
            f"the file has no list of {' and no list of '.join(missing)}",
            str(path),
            "a COCO annotation file is an object with the lists images, annotations and categories; "
            'for images without ground truth write "annotations": []',
        )
    return data


def is_complete(record: Mapping[str, Any], key: str) -> bool:
    """Return whether a record of the list `key` has the keys that it needs."""
    return all(name in record for name in KEYS[key])


def check_categories(categories: Mapping[int, dict[str, Any]], faults: Faults) -> None:
    """Add the faults of the categories: names that are absent, empty or repeated, or no category at all."""
    seen: dict[Any, int] = {}
    for number, category in categories.items():
        name = category.get("name")
        if not isinstance(name, str) or not name:
            if "name" in category:
                faults.add("category without name", f"category {number} has the name {name!r}")
        elif name in seen:
            faults.add(
                "category name repeated", f"category {number} and category {seen[name]} are both {name!r}"
            )
        else:
            seen[name] = number
    if not categories and not faults:
        faults.add("no categories", "the list of categories is empty")


def has_size(image: Mapping[str, Any]) -> bool:
    """Return whether an image record has a width and a height that can be right."""
    return all(type(image.get(side)) is int and image[side] > 0 for side in ("width", "height"))


def check_image(image: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return what is wrong with a complete image record, or None."""
    if not has_size(image):
        return (
            "image size not positive",
            f"width {image['width']!r} and height {image['height']!r} must be integers above 0",
        )
    if not isinstance(image["file_name"], str) or not image["file_name"]:
        return "image without file name", f"file_name is {image['file_name']!r}"
    return None
