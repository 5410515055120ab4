"""Masks whose colours are the classes, as label maps: one 8-bit channel, one class per value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import UserError
from ..progress import track
from .coco_records import Faults

#: The value of pixels that do not count, and the name that stands for them in a colour table.
IGNORED, IGNORED_NAME = 255, "ignore"

Color = tuple[int, int, int]


def read_color_table(path: str | Path) -> tuple[list[str], dict[Color, int]]:
    """Read a colour table: a line `R G B name` for each class, in the order of their labels.

    Args:
        path: A text file; numbers are 0 … 255, separated by spaces, commas or semicolons. Several colours
            may have one name; the name `ignore` is for pixels that do not count. `#` begins a comment.

    Returns:
        The names of the classes, and the label of each colour (255 for `ignore`).

    Raises:
        UserError: The file cannot be read, a line is of another form, or a colour is repeated.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"the colour table cannot be read: {error.strerror}", str(path)) from error
    names: list[str] = []
    table: dict[Color, int] = {}
    for number, line in enumerate(lines, 1):
        text = line.split("#")[0].strip()
        if not text:
            continue
        match = re.fullmatch(r"(\d+)[\s,;]+(\d+)[\s,;]+(\d+)[\s,;]+(.+)", text)
        color = tuple(int(match[i]) for i in (1, 2, 3)) if match else ()
        if not match or max(color) > 255 or color in table:
            what = "repeats a colour" if color in table else "is not `R G B name` with 0 … 255"
            raise UserError(
                f"a line of the colour table {what}: {text!r}", f"{path}, line {number}", "correct it"
            )
        name = match[4].strip()
        if name != IGNORED_NAME and name not in names:
            names.append(name)
        table[color] = IGNORED if name == IGNORED_NAME else names.index(name)  # type: ignore[index]
    if not names or len(names) > IGNORED:
        raise UserError(
            f"the colour table has {len(names)} classes", str(path), f"name 1 to {IGNORED} of them"
        )
    return names, table


def label_map(mask: np.ndarray, table: Mapping[Color, int]) -> tuple[np.ndarray, dict[Color, int]]:
    """Return the label map of a colour-coded mask.

    Args:
        mask: (H, W, 3) uint8 RGB.
        table: Label of each colour.

    Returns:
        (H, W) uint8 labels, and the number of pixels of each colour that is not in the table.
    """
    codes = mask.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    found, places, counts = np.unique(codes, return_inverse=True, return_counts=True)
    colors = [(int(code) >> 16, int(code) >> 8 & 255, int(code) & 255) for code in found]
    labels = np.array([table.get(color, IGNORED) for color in colors], np.uint8)
    unknown = {color: int(n) for color, n in zip(colors, counts, strict=True) if color not in table}
    return labels[places.reshape(codes.shape)], unknown


def convert_masks(masks: str | Path, colors: str | Path, out: str | Path) -> list[str]:
    """Write the label map of every mask in a folder (and those below it), as PNG under the same name.

    Args:
        masks: Folder of pictures: RGB, RGBA, or with a palette, whose colours count.
        colors: The colour table.
        out: Folder to write to.

    Returns:
        The names of the classes.

    Raises:
        UserError: A mask cannot be read or has a colour that the table lacks. No mask is written then.
    """
    masks, out = Path(masks), Path(out)
    names, table = read_color_table(colors)
    files = sorted(
        p for p in masks.rglob("*") if p.suffix.lower() in (".png", ".bmp", ".tif", ".tiff", ".gif")
    )
    if not files:
        raise UserError("there are no masks", str(masks), "name the folder of PNG, BMP or TIFF masks")
    if out.resolve() == masks.resolve():
        raise UserError("the masks would be overwritten", str(out), "name another folder with --out")
    faults = Faults(masks)
    # Twice over the files: all faults are known before anything is written.
    for write in (False, True):
        with track("writing label maps" if write else "reading masks", len(files)) as advance:
            for path in files:
                labels = _read(path, table, faults)
                if write and labels is not None:
                    target = (out / path.relative_to(masks)).with_suffix(".png")
                    target.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(labels).save(target)
                advance(1)
        faults.raise_if_any("add the colours to the table (`R G B ignore` for pixels that do not count)")
    return names


def _read(path: Path, table: Mapping[Color, int], faults: Faults) -> np.ndarray | None:
    try:
        with Image.open(path) as image:
            labels, unknown = label_map(np.asarray(image.convert("RGB")), table)
    except (OSError, SyntaxError, ValueError) as error:
        faults.add("mask unreadable", f"{path}: {error}")
        return None
    for color, count in unknown.items():
        faults.add("colour not in the table", f"{path}: {count:,} pixels of {' '.join(map(str, color))}")
    return labels
