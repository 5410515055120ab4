"""The data check of one split of images and label maps."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..errors import UserError
from .check_images import image_facts, in_parallel
from .check_table import Findings
from .image_files import IMAGE_SUFFIXES

_GRAY = ("L", "P", "1")
_DEEP = ("I", "I;16", "I;16B", "I;16L")


@dataclass(frozen=True)
class MaskSplit:
    """A folder of images and one of label maps with the same names but for the suffix."""

    name: str
    images: Path
    masks: Path
    classes: tuple[str, ...]
    img_suffix: str = ".jpg"
    mask_suffix: str = ".png"
    reduce_zero_label: bool = False
    ignore_index: int = 255
    softened: frozenset[str] = frozenset()
    listed: tuple[str, ...] | None = None  #: names without suffix, where a file lists them

    @property
    def place(self) -> Path:
        """What findings are about."""
        return self.masks

    def names(self) -> list[str]:
        """Return the images' names without suffix, relative to their folder."""
        if self.listed is not None:
            return list(self.listed)
        return [
            name.removesuffix(self.img_suffix)
            for name in _below(self.images)
            if name.endswith(self.img_suffix)
        ]

    def files(self) -> list[Path]:
        """Return the images."""
        return [self.images / f"{name}{self.img_suffix}" for name in self.names()]

    def check(self, findings: Findings, full: bool) -> dict[str, Any]:
        """Add what is wrong to `findings`; return the statistics, as JSON can hold them.

        Every mask is decoded, also without `full`: a value beyond the classes would stop a run on a GPU with
        a device-side assert, hours later.
        """
        names = self.names()
        if not names:
            raise UserError(
                f"there are no images whose name ends in {self.img_suffix!r}",
                str(self.images),
                "correct the folder and img_suffix",
            )
        self._check_names(names, findings)

        def look(name: str) -> _Pair:
            return self._look(name, full)

        pairs = in_parallel(f"{self.name}: looking at images and masks", look, names)
        for pair in pairs:
            for kind, text in pair.found:
                findings.add(kind, text)
        by_image = np.array([pair.counts for pair in pairs])  # (images, 256)
        counts, images_with = by_image.sum(0), (by_image > 0).sum(0)
        self._check_labels(counts, findings)
        first = int(self.reduce_zero_label)
        return {
            "kind": "label maps",
            "images": len(names),
            "image_sizes": sorted([*pair.size] for pair in pairs if pair.size),
            "classes": {
                name: {"pixels": int(counts[first + i]), "images": int(images_with[first + i])}
                for i, name in enumerate(self.classes)
            },
            "ignored_pixels": int(counts[[value in self._ignored for value in range(256)]].sum()),
        }

    @property
    def _ignored(self) -> set[int]:
        return {0, 255} if self.reduce_zero_label else {self.ignore_index}

    @property
    def _labels(self) -> range:
        first = int(self.reduce_zero_label)
        return range(first, first + len(self.classes))

    def _check_names(self, names: list[str], findings: Findings) -> None:
        wanted = {f"{name}{self.mask_suffix}" for name in names}
        if self.listed is None:
            together = self.mask_suffix if self.images == self.masks else None
            for name in _below(self.images):
                known = name.endswith(self.img_suffix) or (together and name.endswith(together))
                if not known and Path(name).suffix.lower() in IMAGE_SUFFIXES:
                    findings.add("image of another suffix", f"{self.images / name}, not {self.img_suffix}")
            for name in sorted(set(_below(self.masks)) - wanted):
                if self.images != self.masks:
                    findings.add("mask without image", f"{self.masks / name}")

    def _look(self, name: str, full: bool) -> _Pair:
        facts = image_facts(self.images / f"{name}{self.img_suffix}", None, "cv2", full)
        pair = _Pair(facts.size, list(facts.found))
        path = self.masks / f"{name}{self.mask_suffix}"
        try:
            with Image.open(path) as image:
                mode, size, values = image.mode, image.size, np.asarray(image)
        except FileNotFoundError:
            pair.found.append(("mask missing", f"{path} does not exist"))
            return pair
        except (OSError, SyntaxError, ValueError) as error:
            pair.found.append(("mask unreadable", f"{path}: {error}"))
            return pair
        if facts.size and size != facts.size:
            text = f"{path} is {size[0]}x{size[1]} px, the image {facts.size[0]}x{facts.size[1]}"
            pair.found.append(("mask of another size", text))
        if mode in _DEEP and values.max(initial=0) > 255:
            pair.found.append(("mask of 16 bits", f"{path} has values up to {values.max()}"))
        elif mode not in (*_GRAY, *_DEEP):
            pair.found.append(("mask in colours", f"{path} has the mode {mode}"))
        else:
            self._count(path, values, pair)
        return pair

    def _count(self, path: Path, values: np.ndarray, pair: _Pair) -> None:
        pair.counts = np.bincount(values.ravel().astype(np.int64), minlength=256)
        present = np.flatnonzero(pair.counts).tolist()
        beyond = [value for value in present if value not in self._labels and value not in self._ignored]
        if beyond:
            pixels = int(pair.counts[beyond].sum())
            shown = ", ".join(map(str, beyond[:8])) + (" …" if len(beyond) > 8 else "")
            classes = f"the classes are {self._labels[0]} … {self._labels[-1]}"
            text = f"{path} has {shown} ({pixels:,} pixels); {classes}"
            pair.found.append(("label beyond the classes", text))
        elif not any(value in self._labels for value in present):
            pair.found.append(
                ("mask without a label", f"{path} has the values {', '.join(map(str, present))}")
            )

    def _check_labels(self, counts: np.ndarray, findings: Findings) -> None:
        """Add what the values of all masks together say about the classes."""
        present, n = set(np.flatnonzero(counts).tolist()), len(self.classes)
        if not self.reduce_zero_label and present - self._ignored - set(self._labels) == {n}:
            findings.add(
                "labels begin at 1", f"the highest value is {n} for {n} classes, reduce_zero_label is off"
            )
        if self.reduce_zero_label and n not in present and {0, n - 1} <= present:
            share = 100 * counts[0] / counts.sum()
            text = f"value 0 is ignored ({share:.0f} % of the pixels) and the highest label is {n - 1} of {n}"
            findings.add("labels begin at 0", text)
        if present == {0, 255} and n > 1:
            findings.add("labels 0 and 255 only", f"{self.masks}: no other value in any mask")
        for label, name in zip(self._labels, self.classes, strict=True):
            if not counts[label]:
                findings.add("class without annotations", f"{name!r} (value {label}) has no pixel")


@dataclass
class _Pair:
    """What was found in one image and its mask; pixels of each value."""

    size: tuple[int, int] | None
    found: list[tuple[str, str]]
    counts: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))


def _below(folder: Path) -> list[str]:
    """Return the files of a folder and those below it, by relative name."""
    if not folder.is_dir():
        raise UserError("the folder does not exist", str(folder.absolute()), "correct the path")
    found = []
    for parent, _, files in os.walk(folder):
        base = os.path.relpath(parent, folder)
        found += [name if base == "." else f"{base}/{name}" for name in files if not name.startswith(".")]
    return sorted(found)
