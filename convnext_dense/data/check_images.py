"""Image files as the data check sees them: what their headers say, in parallel."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from PIL import Image

from ..progress import track
from .image_files import Loader, image_fault, is_turned, loaded_size

T = TypeVar("T")
R = TypeVar("R")

#: Shorter sides and ratios of sides that the networks' strides make nothing of.
MIN_SIDE_PX, MAX_RATIO = 16, 20.0
_FORMATS = {
    ".jpg": ("JPEG", "MPO"),
    ".jpeg": ("JPEG", "MPO"),
    ".png": ("PNG",),
    ".bmp": ("BMP",),
    ".webp": ("WEBP",),
    ".tif": ("TIFF",),
    ".tiff": ("TIFF",),
}


@dataclass(frozen=True)
class ImageFacts:
    """Width and height in pixels as loaded (None if unreadable), and (kind, text) of what was found."""

    size: tuple[int, int] | None
    found: tuple[tuple[str, str], ...]


def image_facts(
    path: Path, size: tuple[int, int] | None, loader: Loader = "cv2", full: bool = False
) -> ImageFacts:
    """Look at one image's header, or with `full` decode it.

    Args:
        path: The file.
        size: Width and height that its annotations are for; None if they do not say.
        loader: What will load it.
        full: Decode it, which finds damage in the middle.
    """
    fault = image_fault(path, size, loader=loader, full=full)
    if fault and fault[0] != "image of another size":
        return ImageFacts(None, (fault,))
    try:
        with Image.open(path) as image:
            loaded = loaded_size(image, loader)
            found = [(kind, f"{path} {text}") for kind, text in _oddities(image, path, loaded)]
    except Image.DecompressionBombError:
        found, loaded = [("image of odd shape", f"{path} is larger than Pillow opens")], size or (0, 0)
    return ImageFacts(loaded, tuple(([fault] if fault else []) + found))


def _oddities(image: Image.Image, path: Path, size: tuple[int, int]) -> Iterator[tuple[str, str]]:
    if is_turned(image):
        yield "image turned by EXIF", "has an EXIF orientation"
    if image.mode.startswith("I") or image.mode == "F":
        yield "image of 16 bits", f"has the mode {image.mode}"
    elif image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        yield "image with transparency", f"has the mode {image.mode}"
    elif image.mode in ("L", "1"):
        yield "image in gray", f"has the mode {image.mode}"
    elif image.mode == "CMYK":
        yield "image in CMYK", "has the mode CMYK"
    if min(size) < MIN_SIDE_PX or max(size) > MAX_RATIO * min(size):
        yield "image of odd shape", f"is {size[0]}x{size[1]} px"
    formats = _FORMATS.get(path.suffix.lower())
    if formats and image.format not in formats:
        yield "image suffix of another format", f"is {image.format}"


def in_parallel(label: str, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Return `work` of each item in order, by a thread for each core, with progress."""
    # Reading and decoding release Python's lock, so that threads are enough.
    with ThreadPoolExecutor(min(32, os.cpu_count() or 1)) as pool, track(label, len(items)) as advance:
        results: list[R] = []
        for result in pool.map(work, items, chunksize=16):
            results.append(result)
            advance(1)
    return results
