"""Checking image files against what an annotation file says of them, without decoding them.

An image is as large as it is *displayed*: its EXIF orientation may ask to turn it. OpenCV, which mmcv loads
images with, does so for JPEG and PNG, not for WebP and AVIF; TIFF is always turned. Boxes and masks belong
to the image that the loader returns, so that its size must be the annotation file's.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Literal

from PIL import Image, UnidentifiedImageError

#: What loads the images: mmcv with OpenCV or Pillow, or any loader that leaves images as they are stored.
Loader = Literal["cv2", "pillow", "as_stored"]

#: Names of files that count as images where a folder is searched.
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})

_ORIENTATION_TAG = 0x0112
_TURNED = (5, 6, 7, 8)  #: orientations that exchange width and height
_TURNED_BY_CV2 = ("JPEG", "MPO", "PNG")


def loaded_size(image: Image.Image, loader: Loader = "cv2") -> tuple[int, int]:
    """Return width and height of an opened image as a loader returns it, in pixels; reads the header only."""
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        width, height = int(tags[256]), int(tags[257])
        return (height, width) if tags.get(_ORIENTATION_TAG, 1) in _TURNED else (width, height)
    turns = loader == "pillow" or (loader == "cv2" and image.format in _TURNED_BY_CV2)
    # Without the test, Pillow decodes a whole PNG to look for EXIF at its end.
    if turns and "exif" in image.info and image.getexif().get(_ORIENTATION_TAG, 1) in _TURNED:
        return image.height, image.width
    return image.width, image.height


def is_turned(image: Image.Image) -> bool:
    """Return whether an opened image has an EXIF orientation other than upright; reads the header only."""
    if image.format == "TIFF":
        return bool(image.tag_v2.get(_ORIENTATION_TAG, 1) != 1)  # type: ignore[attr-defined]
    return "exif" in image.info and image.getexif().get(_ORIENTATION_TAG, 1) in range(2, 9)


def image_fault(
    path: Path, size: tuple[int, int] | None, *, loader: Loader = "cv2", full: bool = False
) -> tuple[str, str] | None:
    """Return what is wrong with an image file, or None.

    The header and the last bytes are read; an image whose end is not as its format has it is decoded to be
    sure that it is cut short.

    Args:
        path: The image.
        size: Width and height in pixels that it ought to have when loaded; None to check the file alone.
        loader: What will load it.
        full: Decode every image, which finds damage in the middle, too, as far as the format tells.

    Returns:
        The kind of fault ("image missing") and a sentence on this one.
    """
    try:
        with open(path, "rb") as file, Image.open(file) as image:
            found = loaded_size(image, loader)
            if size is not None and found != size:
                return "image of another size", _size_text(image, found, size, loader)
            if full or not _ends_whole(file, image.format):
                image.load()
    except FileNotFoundError:
        return "image missing", f"{path} does not exist"
    except Image.DecompressionBombError:
        return None  # larger than Pillow opens: no statement
    except UnidentifiedImageError:
        empty = os.path.getsize(path) == 0
        return "image unreadable", f"{path} is {'empty' if empty else 'not an image'}"
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises on damaged files
        if getattr(error, "errno", None):
            return "image unreadable", f"{path}: {error.strerror}"  # type: ignore[union-attr]
        return "image truncated", f"{path} is cut short or damaged ({error})"
    return None


def _size_text(image: Image.Image, found: tuple[int, int], size: tuple[int, int], loader: Loader) -> str:
    text = (
        f"the file is {found[0]}x{found[1]} px (width x height), the annotation file says {size[0]}x{size[1]}"
    )
    if found != size[::-1] or found[0] == found[1]:
        return text
    if image.getexif().get(_ORIENTATION_TAG, 1) not in _TURNED:
        return text
    if loader == "as_stored":
        return f"{text}: its EXIF orientation is not applied; leave out color_type and imdecode_backend"
    return (
        f"{text}: it is turned by its EXIF orientation; if the annotations belong to the image as stored, "
        "load it with dict(type='LoadImageFromFile', color_type='color_ignore_orientation')"
    )


def _ends_whole(file: IO[bytes], kind: str | None) -> bool:
    """Return whether a file's end is one of its format; formats without a mark at the end pass."""
    length = file.seek(0, os.SEEK_END)
    if kind in ("JPEG", "MPO"):
        file.seek(-2, os.SEEK_END)
        return file.read(2) == b"\xff\xd9"
    if kind == "PNG":
        file.seek(-12, os.SEEK_END)
        return file.read(8)[4:] == b"IEND"
    if kind == "WEBP":
        file.seek(4)
        return length >= int.from_bytes(file.read(4), "little") + 8
    return True
