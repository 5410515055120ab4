"""Pictures of predictions: label maps in colour over the image, truth beside prediction.

Shapes: image (H, W, 3) uint8 BGR, label map (H, W) with class indices, 255 where there is no label.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

IGNORED = 255
_MIN_PANEL_PX = 320
_LEGEND_ROW_PX, _LEGEND_COLUMN_PX = 22, 150
_GAP_PX = 8
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def colorize(labels: np.ndarray, palette: Sequence[Sequence[int]]) -> np.ndarray:
    """Return a label map as a BGR picture.

    Args:
        labels: (H, W) class indices; those without a colour in the palette, 255 above all, become black.
        palette: RGB colour of each class.
    """
    table = np.zeros((256, 3), np.uint8)
    table[: len(palette)] = np.asarray(palette, np.uint8)[:, ::-1]
    return table[np.clip(labels, 0, IGNORED).astype(np.uint8)]


def overlay(
    image: np.ndarray, labels: np.ndarray, palette: Sequence[Sequence[int]], opacity: float = 0.6
) -> np.ndarray:
    """Return the image with the label map laid over it; what is not labelled stays as it is."""
    mixed = cv2.addWeighted(image, 1 - opacity, colorize(labels, palette), opacity, 0)
    return np.where((labels < len(palette))[..., None], mixed, image)


def comparison(
    image: np.ndarray,
    panels: dict[str, np.ndarray],
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
) -> np.ndarray:
    """Return one picture: the image, then each label map over it, and below the classes that they show.

    Args:
        image: (H, W, 3) BGR.
        panels: Title → label map (H, W), e.g. `{'truth': ..., 'prediction': ...}`.
        classes: Class names.
        palette: RGB colour of each class.
    """
    pictures = {title: overlay(image, labels, palette) for title, labels in panels.items()}
    row = side_by_side({"image": image, **pictures})
    shown = sorted({int(i) for labels in panels.values() for i in np.unique(labels) if i < len(classes)})
    return np.vstack([row, _legend([(classes[i], palette[i]) for i in shown], row.shape[1])])


def panel_scale(image: np.ndarray) -> int:
    """Return by how much a small image (H, W, 3) is enlarged to be looked at."""
    return max(1, -(-_MIN_PANEL_PX // min(image.shape[:2])))


def enlarge(picture: np.ndarray, scale: int) -> np.ndarray:
    """Return a picture or a mask (H, W, …), each pixel as a square of `scale` × `scale`."""
    return cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)


def side_by_side(pictures: dict[str, np.ndarray]) -> np.ndarray:
    """Return pictures (H, W, 3) of one size in a row, each under its title, small ones enlarged."""
    first = next(iter(pictures.values()))
    scale = panel_scale(first)
    tiles = [_titled(picture, title, scale) for title, picture in pictures.items()]
    gap = np.full((tiles[0].shape[0], _GAP_PX, 3), 255, np.uint8)
    return np.hstack([part for tile in tiles for part in (tile, gap)][:-1])


def _titled(picture: np.ndarray, title: str, scale: int) -> np.ndarray:
    large = enlarge(picture, scale)
    bar = np.full((26, large.shape[1], 3), 255, np.uint8)
    cv2.putText(bar, title, (4, 18), _FONT, 0.55, (40, 40, 40), 1, cv2.LINE_AA)
    return np.vstack([bar, large])


def _legend(entries: Sequence[tuple[str, Sequence[int]]], width: int) -> np.ndarray:
    columns = max(1, width // _LEGEND_COLUMN_PX)
    rows = -(-len(entries) // columns)
    strip = np.full((rows * _LEGEND_ROW_PX + _GAP_PX, width, 3), 255, np.uint8)
    for index, (name, color) in enumerate(entries):
        x, y = index % columns * _LEGEND_COLUMN_PX, index // columns * _LEGEND_ROW_PX + _GAP_PX
        cv2.rectangle(strip, (x + 2, y), (x + 16, y + 14), [int(c) for c in color[::-1]], cv2.FILLED)
        cv2.putText(strip, name, (x + 22, y + 12), _FONT, 0.45, (40, 40, 40), 1, cv2.LINE_AA)
    return strip
