"""Colours of classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import cv2
import numpy as np

#: RGB, 0 … 255
Color: TypeAlias = tuple[int, int, int]


def spread_colors(count: int) -> tuple[Color, ...]:
    """Return RGB colours that differ well, for classes without any of their own."""
    golden = 0.618034  # the golden ratio leaves the widest gaps between hues, whatever the count
    hsv = np.array([[(index * golden % 1 * 179, 200, 230) for index in range(count)]], np.uint8)
    return tuple(tuple(map(int, color)) for color in cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0])  # type: ignore[misc]


def class_colors(palette: Any, count: int) -> tuple[Color, ...]:
    """Return a data set's palette if it has a colour for each class, and other colours if not."""
    if isinstance(palette, Sequence) and len(palette) >= count:
        return tuple(tuple(map(int, color)) for color in palette[:count])  # type: ignore[misc]
    return spread_colors(count)
