"""Instance masks as run-length codes, made inside each box's own window.

A window's mask becomes the code of the whole image without that image being made: COCO's run lengths
count down the columns, so a run of the window starts at `column · H + row` of the image.

Legend: N instances, H × W the image and h × w a window, px.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from faster_coco_eval.core import mask as mask_api
from torch import Tensor

#: A compressed run-length code of COCO: {'size': [H, W], 'counts': bytes}.
RLE = dict[str, Any]
#: Pixels of masks that are held in floating point at a time, unless one mask has more.
MASK_PX = 1 << 22


def paste(masks: Tensor, boxes: Tensor, image_size: Sequence[int], threshold: float) -> list[RLE]:
    """Resize every mask to its box, threshold it and place it in the image.

    One window is held at a time: the box widened to whole pixels and by one more, within the image, as
    mmdet does on a CPU. Pixels outside of it are background. Pasting over the whole image, which is what
    mmdet does on a GPU, finds none there either if `threshold` is 0.5 or more and the box has an area.

    Args:
        masks: (N, m, m) probabilities, on any device; pasted on the CPU.
        boxes: (N, 4) x1, y1, x2, y2 in px of the image.
        image_size: (H, W), px.
        threshold: Probability from which a pixel is foreground, at least 0.

    Returns:
        One code per mask; empty masks for boxes off the image and for those that are not finite.
    """
    masks, boxes = masks.detach().float().cpu(), boxes.detach().float().cpu()
    centres = [torch.arange(side).to(torch.float32) + 0.5 for side in image_size]
    windows, visible = _windows(boxes, image_size)
    codes = []
    for mask, box, (left, top, right, bottom), seen in zip(masks, boxes, windows, visible, strict=True):
        if seen:
            x0, y0, x1, y1 = box
            grid = torch.empty(1, bottom - top, right - left, 2)
            grid[..., 0] = _relative(centres[1][left:right], x0, x1)
            grid[..., 1] = _relative(centres[0][top:bottom], y0, y1)[:, None]
            window = F.grid_sample(mask[None, None], grid, align_corners=False)[0, 0] >= threshold
            codes.append(encode_window(window.numpy(), top, left, image_size))
        else:
            codes.append(encode_window(np.zeros((0, 0), dtype=bool), 0, 0, image_size))
    return codes


def _windows(boxes: Tensor, image_size: Sequence[int]) -> tuple[list[list[int]], list[bool]]:
    """Return the window of each box, left, top, right, bottom px, and whether it has a pixel of the image."""
    height, width = image_size
    first = (boxes[:, :2].floor() - 1).clamp(min=0)
    end = (boxes[:, 2:].ceil() + 1).minimum(boxes.new_tensor([width, height]))
    visible = (first < end).all(1) & boxes.isfinite().all(1)
    windows = torch.where(visible[:, None], torch.cat((first, end), 1), 0)
    return windows.int().tolist(), visible.tolist()


def _relative(at: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Map coordinates to [-1, 1] within the box's side, in mmdet's order of operations, so to the same bits.

    A box without extent has its pixels at infinity, which mmdet takes to the middle.
    """
    relative = (at - low) / (high - low) * 2 - 1
    return relative if high > low else relative.masked_fill_(relative.isinf(), 0)


def encode_window(window: np.ndarray, top: int, left: int, image_size: Sequence[int]) -> RLE:
    """Encode a mask that is given inside a window as a mask of the whole image.

    Args:
        window: (h, w) bool.
        top: Row of the image at which the window starts; the window lies wholly in the image.
        left: Column at which it starts.
        image_size: (H, W), px.

    Returns:
        The code that encoding the (H, W) mask would give, byte for byte.
    """
    height, width = (int(side) for side in image_size)
    lengths = _run_lengths(window, top, left, height, width).tolist()
    return mask_api.frPyObjects({"size": [height, width], "counts": lengths}, height, width)


def _run_lengths(window: np.ndarray, top: int, left: int, height: int, width: int) -> np.ndarray:
    """Return the lengths of the alternating runs of 0 and 1 in column order, zeros first."""
    rows, columns = window.shape
    framed = np.zeros((columns, rows + 2), dtype=bool)  # an edge above and below ends every run
    framed[:, 1:-1] = window.T
    column, row = np.divmod(np.flatnonzero(framed[:, 1:] != framed[:, :-1]), rows + 1)
    bounds = (left + column) * height + top + row  # start and end of each run, in turns
    # a run that reaches the bottom goes on where the next column starts with one
    joined = np.flatnonzero(bounds[1:-1:2] == bounds[2::2])
    bounds = np.delete(bounds, np.concatenate((2 * joined + 1, 2 * joined + 2)))
    lengths = np.diff(bounds, prepend=0, append=height * width)
    return lengths if lengths[-1] else lengths[:-1]


def decode(rles: Sequence[RLE], image_size: Sequence[int]) -> np.ndarray:
    """Return the masks of codes, (N, H, W) bool; `image_size` (H, W) is for when there is none."""
    if not rles:
        return np.zeros((0, *image_size), dtype=bool)
    return mask_api.decode(list(rles)).transpose(2, 0, 1).astype(bool)


def bitmap_targets(
    masks: Sequence[np.ndarray],
    boxes: Tensor,
    assigned: Tensor,
    size: Sequence[int],
    threshold: float | None = 0.5,
) -> Tensor:
    """Crop the assigned mask to each box and resize it, as `BitmapMasks.crop_and_resize` does.

    The RoIs of one object share its mask, and a few objects at a time are held in floating point; mmdet
    copies a whole mask for every RoI (546 MB for 128 RoIs on 800×1333). The numbers are the same.

    Args:
        masks: G masks (H, W) uint8 of one size, of one image or of several.
        boxes: (N, 4) x1, y1, x2, y2, px; only what lies in the image is cropped.
        assigned: (N,) which object each box belongs to.
        size: (height, width) of the targets.
        threshold: Mean coverage from which a target is 1; None leaves the coverage as it is.

    Returns:
        (N, *size), dtype and device of `boxes`.
    """
    from mmcv.ops import roi_align

    targets = boxes.new_zeros(len(boxes), *size)
    if len(boxes) == 0:
        return targets
    height, width = masks[0].shape
    inside = boxes.detach().clamp(min=0).minimum(boxes.new_tensor([width, height, width, height]))
    objects, rank = assigned.unique(return_inverse=True)
    at_a_time = max(MASK_PX // (height * width), 1)
    for first, some in zip(range(0, len(objects), at_a_time), objects.split(at_a_time), strict=True):
        chosen = ((rank >= first) & (rank < first + at_a_time)).nonzero().flatten()
        maps = torch.from_numpy(np.stack([masks[index] for index in some.tolist()]))[:, None]
        rois = torch.cat(((rank[chosen] - first)[:, None].to(inside), inside[chosen]), dim=1)
        pooled = roi_align(maps.to(boxes.device).to(boxes.dtype), rois, size, 1.0, 0, "avg", True)
        targets[chosen] = pooled[:, 0]
    return targets if threshold is None else (targets >= threshold).to(boxes.dtype)
