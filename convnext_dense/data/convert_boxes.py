"""Pascal VOC XML, YOLO text and LabelMe JSON as COCO records, one image at a time.

Boxes become (x, y, width, height) in pixels with x from the left edge, as COCO has them; polygons are
lists x1, y1, x2, y2, … Nothing is clipped, rounded or left out: what cannot be right is for the data check.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

#: Corners of the polygon that a LabelMe circle becomes.
CIRCLE_CORNERS = 64


class NotUnderstood(Exception):
    """A file or record that is not as its format has it; the text begins with the place in the file."""


@dataclass
class Labelled:
    """One object of an image.

    Attributes:
        name: The class.
        box: x, y, width, height in pixels.
        polygons: Its outline, if the format has one.
        extra: Further keys of its COCO record.
    """

    name: str
    box: tuple[float, float, float, float]
    polygons: list[list[float]] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)


def read_voc(path: Path, size: tuple[int, int], classes: Sequence[str]) -> list[Labelled]:
    """Read an XML file of Pascal VOC; its pixels count from 1 and corners belong to the box.

    Args:
        path: The file.
        size: Width and height of the image in pixels.
        classes: Not used: the names are in the file.

    Raises:
        NotUnderstood: It is not XML, or an object lacks its name or box.

    Source: Everingham et al., the PASCAL VOC development kit, 2012. `difficult` objects get `ignore`: they
    are left out of training.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise NotUnderstood(f"not XML: {error}") from error
    objects = []
    for number, node in enumerate(root.iter("object"), 1):
        name = (node.findtext("name") or "").strip()
        corners = [node.findtext(f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")]
        try:
            x1, y1, x2, y2 = (float(text or "") for text in corners)
        except ValueError:
            raise NotUnderstood(f"object {number} has the box {corners}") from None
        if not name:
            raise NotUnderstood(f"object {number} has no name")
        difficult = (node.findtext("difficult") or "0").strip() == "1"
        box = (x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1)
        objects.append(Labelled(name, box, extra={"ignore": 1} if difficult else {}))
    return objects


def read_yolo(path: Path, size: tuple[int, int], classes: Sequence[str]) -> list[Labelled]:
    """Read a text file of YOLO: `class cx cy w h`, or `class x1 y1 x2 y2 x3 y3 …`, as fractions of the image.

    Args:
        path: The file; one that is absent stands for an image without objects.
        size: Width and height of the image in pixels.
        classes: Names by class number.

    Raises:
        NotUnderstood: A line has other content, or a number beyond the classes.
    """
    width, height = size
    objects = []
    for number, line in enumerate(path.read_text().splitlines() if path.exists() else [], 1):
        if not line.strip():
            continue
        where = f"line {number}: {line.strip()[:60]!r}"
        try:
            values = [float(word) for word in line.split()]
        except ValueError:
            raise NotUnderstood(f"{where} is not all numbers") from None
        index, coordinates = values[0], values[1:]
        if index != int(index) or not 0 <= index < len(classes):
            raise NotUnderstood(f"{where} has a class that is none of 0 … {len(classes) - 1}")
        if not all(0 <= value <= 1 for value in coordinates):
            raise NotUnderstood(f"{where} has a coordinate outside 0 … 1, which are fractions of the image")
        name = classes[int(index)]
        if len(coordinates) == 4:
            cx, cy, w, h = (v * side for v, side in zip(coordinates, (width, height) * 2, strict=True))
            objects.append(Labelled(name, (cx - w / 2, cy - h / 2, w, h)))
        elif len(coordinates) >= 6 and len(coordinates) % 2 == 0:
            polygon = [v * (width, height)[i % 2] for i, v in enumerate(coordinates)]
            objects.append(Labelled(name, _bounds([polygon]), [polygon]))
        else:
            raise NotUnderstood(f"{where} has {len(values)} numbers: a box has 5, a polygon 7, 9, 11, …")
    return objects


def read_labelme(path: Path, size: tuple[int, int], classes: Sequence[str]) -> list[Labelled]:
    """Read a JSON file of LabelMe: polygons, rectangles and circles; equal group ids are one object.

    Args:
        path: The file.
        size: Width and height of the image in pixels, which must be those in the file.
        classes: Not used: the names are in the file.

    Raises:
        NotUnderstood: It is no such file, is of another image size, or has a shape without an area.
    """
    try:
        data = json.loads(path.read_bytes())
        shapes, given = data["shapes"], (data.get("imageWidth"), data.get("imageHeight"))
    except (ValueError, KeyError, TypeError) as error:
        raise NotUnderstood(f"not a file of LabelMe: {type(error).__name__} {error}") from None
    if None not in given and given != size:
        raise NotUnderstood(
            f"it is for an image of {given[0]}x{given[1]} px, the image has {size[0]}x{size[1]}"
        )
    groups: dict[Any, Labelled] = {}
    for number, shape in enumerate(shapes):
        try:
            name, kind, points = shape["label"], shape.get("shape_type") or "polygon", shape["points"]
            polygon = _outline(kind, [(float(x), float(y)) for x, y in points])
        except (KeyError, TypeError, ValueError) as error:
            raise NotUnderstood(f"shape {number}: {error}") from None
        group = shape.get("group_id")
        known = groups.setdefault(
            (name, group) if group is not None else number, Labelled(name, (0, 0, 0, 0))
        )
        known.polygons.append(polygon)
    for known in groups.values():
        known.box = _bounds(known.polygons)
    return list(groups.values())


def _outline(kind: str, points: list[tuple[float, float]]) -> list[float]:
    if kind == "rectangle" and len(points) == 2:
        (x1, y1), (x2, y2) = points
        points = [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
    elif kind == "circle" and len(points) == 2:
        (x, y), rim = points
        radius = math.dist((x, y), rim)
        turns = [2 * math.pi * i / CIRCLE_CORNERS for i in range(CIRCLE_CORNERS)]
        points = [(x + radius * math.cos(turn), y + radius * math.sin(turn)) for turn in turns]
    elif kind not in ("polygon", "rectangle") or len(points) < 3:
        raise ValueError(f"a {kind} of {len(points)} points has no area; make it a polygon or delete it")
    return [value for point in points for value in point]


def _bounds(polygons: list[list[float]]) -> tuple[float, float, float, float]:
    xs, ys = ([v for polygon in polygons for v in polygon[i::2]] for i in (0, 1))
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


#: Format → the suffix of its files and what reads one.
READERS = {"voc": (".xml", read_voc), "yolo": (".txt", read_yolo), "labelme": (".json", read_labelme)}
