"""What the data check looks for: one table of kinds with how grave each is and how it is mended."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from .coco_records import Faults

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
EXAMPLES = 5


class Check(NamedTuple):
    """How grave a kind of finding is, and what to do about it."""

    severity: Severity
    fix: str


_RECORDS = "correct the records, or export the annotations again"
_BOXES = "correct the boxes: [x, y, width, height] in pixels; faulty='skip' leaves these out of training"
_MASKS = "draw or export these masks again; faulty='skip' leaves the annotations out of training"
_FILES = "get the files again; on_bad_image='skip' in the data set's config leaves them out of training"

#: Kind → severity and fix. Kinds that are not here (of COCO's records) are errors.
CHECKS: Mapping[str, Check] = {
    "image missing": Check("error", _FILES + "; or correct file_name and data_prefix"),
    "image unreadable": Check("error", _FILES),
    "image truncated": Check("error", _FILES),
    "image of another size": Check(
        "error", "correct width and height, or restore the image that was annotated"
    ),
    "image turned by EXIF": Check("note", "nothing: boxes and masks belong to the image as it is displayed"),
    "image of 16 bits": Check(
        "warning", "the upper 8 bits are used; rescale the images if their range is smaller"
    ),
    "image with transparency": Check("note", "nothing: transparency is dropped when the image is loaded"),
    "image in gray": Check("note", "nothing: it is loaded as three equal channels"),
    "image in CMYK": Check("warning", "convert to RGB: loaders differ in the colours that they make of CMYK"),
    "image of odd shape": Check("warning", "crop or tile it, or leave it out by filter_cfg=dict(min_size=…)"),
    "image suffix of another format": Check("note", "rename it: a .png that is a JPEG loads, but misleads"),
    "image of another suffix": Check("warning", "set img_suffix, or convert: these are not in the data set"),
    "image not used": Check("warning", "annotate or remove: no annotation file lists these"),
    "image in two splits": Check("warning", "remove it from one: the scores would be too good"),
    "image without annotations": Check(
        "note", "filter_cfg=dict(filter_empty_gt=False) trains on it as background"
    ),
    "no annotations": Check("error", "name the file with the ground truth"),
    "class not in the file": Check("error", "correct metainfo.classes"),
    "classes in another order": Check("note", "nothing: labels follow the names of metainfo.classes"),
    "category not among the classes": Check(
        "warning", "add it to metainfo.classes, or leave it out on purpose"
    ),
    "class without annotations": Check("warning", "annotate some, or take the class out"),
    "class with few annotations": Check("note", "annotate more, or repeat its images: ClassBalancedDataset"),
    "box of negative size": Check("error", _BOXES),
    "box without area": Check("error", _BOXES),
    "box not finite": Check("error", _BOXES),
    "box outside its image": Check("error", _BOXES),
    "area not positive": Check("error", _BOXES),
    "mask missing": Check("error", "draw it, or leave its image out"),
    "RLE damaged": Check("error", _MASKS),
    "RLE of another size": Check("error", _MASKS),
    "mask without image": Check("warning", "remove it, or restore the image"),
    "mask unreadable": Check("error", "get or draw the mask again"),
    "mask of another size": Check("error", "export the mask at the size of the image as it is displayed"),
    "mask in colours": Check("error", "convnext-dense convert-data masks --colors TABLE makes label maps"),
    "mask of 16 bits": Check("error", "write 8 bits: above 255 values wrap around when they are loaded"),
    "label beyond the classes": Check("error", "name all classes, or give what does not count the value 255"),
    "labels begin at 1": Check(
        "error", "set reduce_zero_label=True, which ignores 0 and makes 1 the first class"
    ),
    "labels begin at 0": Check("warning", "set reduce_zero_label=False, if 0 is a class"),
    "labels 0 and 255 only": Check(
        "warning", "write 0 and 1: the value 255 does not count, so one class is left"
    ),
    "mask without a label": Check("warning", "label it or leave it out: all of its pixels are ignored"),
}
_RECORD = Check("error", _RECORDS)


@dataclass(frozen=True)
class Group:
    """All findings of one kind in one split."""

    split: str
    kind: str
    severity: Severity
    count: int
    examples: tuple[str, ...]
    fix: str


class Findings(Faults):
    """What was found in one split; faults of COCO's records are added like all others.

    Args:
        path: The annotation file or folder of masks.
        split: The split's name.
        softened: Kinds that the run is told to live with: warnings instead of errors.
    """

    def __init__(self, path: Path, split: str, softened: Collection[str] = ()) -> None:
        super().__init__(path)
        self.split, self.softened = split, frozenset(softened)

    def groups(self) -> list[Group]:
        """Return the findings by kind, the gravest first."""
        by_kind: dict[str, list[str]] = {}
        for kind, text in self._found:
            by_kind.setdefault(kind, []).append(text)
        groups = []
        for kind, texts in by_kind.items():
            severity, fix = CHECKS.get(kind, _RECORD)
            severity = "warning" if severity == "error" and kind in self.softened else severity
            groups.append(Group(self.split, kind, severity, len(texts), tuple(texts[:EXAMPLES]), fix))
        return sorted(groups, key=lambda group: SEVERITIES.index(group.severity))
