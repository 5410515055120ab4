"""Bilinear resizing of maps of many channels, a block of rows at a time.

Resizing is separable: first along x, where a block needs a few rows of the small map only, then along y as
one narrow matrix product. The weights are what the library itself makes of a unit matrix, so that borders,
odd sizes and `align_corners` are its own. A map is held as rows of channels, (h, C, w), which makes a block
of rows a slice and keeps W contiguous for what is done per pixel.

Legend: C channels, h × w a small map, H × W the resized one; r rows of the small map, R of the resized one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

#: Numbers in a block of rows: on a CPU it stays in the cache, elsewhere it keeps the device busy.
CPU_BLOCK, DEVICE_BLOCK = 2**20, 2**25
MIN_ROWS = 8  #: below it, rows of the small map would be resized along x for too many blocks


class RowResize:
    """`F.interpolate(map, size, mode='bilinear')` for blocks of rows, equal but for rounding.

    Args:
        source: (h, w).
        target: (H, W).
        align_corners: As of `F.interpolate`.
        like: A tensor with the device; half precision is resized in single.
    """

    def __init__(
        self, source: Sequence[int], target: Sequence[int], align_corners: bool, like: Tensor
    ) -> None:
        self.source, self.target, self.align_corners = tuple(source), tuple(target), align_corners
        self.dtype = torch.promote_types(like.dtype, torch.float32)
        self._weights: Tensor | None = None
        self._first, self._last = list(range(target[0])), list(range(target[0]))
        if source[0] != target[0]:
            unit = torch.eye(source[0], dtype=self.dtype, device=like.device)[None]
            resized = F.interpolate(unit, target[0], mode="linear", align_corners=align_corners)
            self._weights = resized[0].T.contiguous()  # (H, h)
            used = self._weights.ne(0).byte()
            self._first = used.argmax(1).tolist()
            self._last = (source[0] - 1 - used.flip(1).argmax(1)).tolist()

    def blocks(self, channels: int) -> Iterator[tuple[int, int]]:
        """Yield (start, stop) of blocks of rows, from top to bottom."""
        (height, width), (rows, columns) = self.target, self.source
        on_cpu = self._weights is None or self._weights.device.type == "cpu"
        budget = CPU_BLOCK if on_cpu else DEVICE_BLOCK
        size = channels * max(width, columns) * max(1, rows // height)
        step = max(MIN_ROWS, budget // size)
        for start in range(0, height, step):
            yield start, min(start + step, height)

    def span(self, start: int, stop: int) -> tuple[int, int]:
        """Return which rows of the small map the rows [start, stop) are made of: [first, end)."""
        return self._first[start], self._last[stop - 1] + 1

    def __call__(self, rows: Tensor, start: int, stop: int) -> Tensor:
        """Return rows [start, stop) of the resized map, (R, C, W).

        Args:
            rows: (r, C, w), those of `span(start, stop)`.
            start: First row.
            stop: Row after the last.
        """
        wide = rows.to(self.dtype)
        if self.source[1] != self.target[1]:
            wide = F.interpolate(wide, self.target[1], mode="linear", align_corners=self.align_corners)
        if self._weights is None:
            return wide
        return _product(self._part(start, stop), wide)

    def adjoint(self, gradient: Tensor, start: int, stop: int) -> Tensor:
        """Return the gradient (r, C, w) of the rows that a block with this gradient (R, C, W) was made of."""
        if self._weights is not None:
            gradient = _product(self._part(start, stop).T, gradient)
        if self.source[1] == self.target[1]:
            return gradient
        shape = [*gradient.shape[:2], self.source[1]]
        return torch.ops.aten.upsample_linear1d_backward(
            gradient, [self.target[1]], shape, self.align_corners
        )

    def _part(self, start: int, stop: int) -> Tensor:
        first, end = self.span(start, stop)
        return self._weights[start:stop, first:end]  # type: ignore[index]


def _product(weights: Tensor, rows: Tensor) -> Tensor:
    """Return (R, r) @ (r, C, W), under autocast in single precision, too."""
    with torch.autocast(rows.device.type, enabled=False):
        return (weights @ rows.flatten(1)).unflatten(1, rows.shape[1:])


def as_rows(map_: Tensor) -> Tensor:
    """Return a map (C, h, w) as rows of channels, (h, C, w)."""
    return map_.transpose(0, 1).contiguous()


def argmax_of_rows(block: Tensor) -> Tensor:
    """Return the first channel that is largest, (R, W) int64, of a block (R, C, W).

    On a CPU `argmax` compares number by number; the largest value and a comparison with it use the vector
    unit, and are three times as fast.
    """
    channels = block.shape[1]
    if block.device.type != "cpu" or channels > 255:
        return block.argmax(1)
    rank = torch.arange(channels, 0, -1, dtype=torch.uint8)[:, None]
    found = (block.eq(block.amax(1, keepdim=True)) * rank).amax(1)
    if not found.all():  # NaN equals nothing
        return block.argmax(1)
    return channels - found.long()
