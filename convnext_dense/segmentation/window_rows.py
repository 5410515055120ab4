"""An image's logits from overlapping windows, a few rows at a time.

Legend: C classes, H × W the image as the model sees it, h × w a window's logits; R rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..models.resized_rows import RowResize

Span = tuple[int, int]  #: [start, stop) in px


class Strip(NamedTuple):
    """The windows beside one another at one height."""

    rows: Span
    columns: list[Span]
    logits: list[Tensor]  #: of each window, (h, C, w)


def window_spans(size: int, crop: int, stride: int) -> list[Span]:
    """Return the windows along an axis as mmseg lays them: the last one ends with the image."""
    count = max(size - crop + stride - 1, 0) // stride + 1
    ends = [min(index * stride + crop, size) for index in range(count)]
    return [(max(end - crop, 0), end) for end in ends]


class WindowRows:
    """Rows of the logits, each window's resized to the window and averaged where windows overlap.

    The windows of a strip are computed when a row of it is first wanted, and given up when no row of it can
    be wanted any more: what is held is the small logits of the strips that overlap.

    Args:
        size: (H, W).
        spans: Heights of the strips, from top to bottom.
        compute: Returns the strip at a height.
        align_corners: Of the resizing.
    """

    def __init__(
        self, size: Span, spans: Sequence[Span], compute: Callable[[Span], Strip], align_corners: bool
    ) -> None:
        self.size, self._compute, self._align_corners = size, compute, align_corners
        self._waiting, self._active = list(spans), list[Strip]()
        self._resize: RowResize | None = None

    def __call__(self, start: int, stop: int) -> Tensor:
        """Return rows [start, stop), (R, C, W); `start` may not go back."""
        while self._waiting and self._waiting[0][0] < stop:
            self._active.append(self._compute(self._waiting.pop(0)))
        self._active = [strip for strip in self._active if strip.rows[1] > start]
        first = self._active[0].logits[0]
        if self._active[0][:2] == ((0, self.size[0]), [(0, self.size[1])]):  # one window, the whole image
            return self._rows_of(first, self.size, start, stop)
        total = first.new_zeros(
            stop - start, first.shape[1], self.size[1], dtype=torch.promote_types(first.dtype, torch.float32)
        )
        count = total.new_zeros(stop - start, 1, self.size[1])
        for (top, bottom), columns, logits in self._active:
            begin, end = max(start, top), min(stop, bottom)
            if begin >= end:
                continue
            for (left, right), rows in zip(columns, logits, strict=True):
                part = self._rows_of(rows, (bottom - top, right - left), begin - top, end - top)
                total[begin - start : end - start, :, left:right] += part
                count[begin - start : end - start, :, left:right] += 1
        return total.div_(count)

    def _rows_of(self, rows: Tensor, size: Span, start: int, stop: int) -> Tensor:
        source = (rows.shape[0], rows.shape[2])
        if self._resize is None or (self._resize.source, self._resize.target) != (source, size):
            self._resize = RowResize(source, size, self._align_corners, rows)
        first, end = self._resize.span(start, stop)
        return self._resize(rows[first:end], start, stop)
