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
from faster_coco_eval.core import mask as mask_api
from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask
from torch import Tensor

#: A compressed run-length code of COCO: {'size': [H, W], 'counts': bytes}.
RLE = dict[str, Any]


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
    masks, boxes = masks.detach().cpu(), boxes.detach().float().cpu()
    height, width = image_size
    codes = []
    for mask, box, visible in zip(masks, boxes, _have_pixels(boxes, image_size), strict=True):
        if visible:
            pasted, (rows, columns) = _do_paste_mask(mask[None, None], box[None], height, width)
            window = (pasted[0] >= threshold).numpy()
            codes.append(encode_window(window, int(rows.start), int(columns.start), image_size))
        else:
            codes.append(encode_window(np.zeros((0, 0), dtype=bool), 0, 0, image_size))
    return codes


def _have_pixels(boxes: Tensor, image_size: Sequence[int]) -> list[bool]:
    """Tell which boxes have a window within the image."""
    height, width = image_size
    first = (boxes[:, :2].floor() - 1).clamp(min=0)
    end = (boxes[:, 2:].ceil() + 1).minimum(boxes.new_tensor([width, height]))
    return ((first < end).all(1) & boxes.isfinite().all(1)).tolist()


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
    framed = np.zeros((columns, rows + 2), dtype=np.int8)  # an edge above and below ends every run
    framed[:, 1:-1] = window.T
    edges = np.diff(framed, axis=1)

    def position(value: int) -> np.ndarray:
        column, row = np.nonzero(edges == value)
        return (left + column) * height + top + row

    start, end = position(1), position(-1)
    # a run that reaches the bottom goes on where the next column starts with one
    apart = start[1:] != end[:-1]
    bounds = np.stack((start[np.r_[True, apart][: len(start)]], end[np.r_[apart, True][: len(end)]]), axis=1)
    lengths = np.diff(bounds.flatten(), prepend=0, append=height * width)
    return lengths if lengths[-1] else lengths[:-1]


def decode(rles: Sequence[RLE], image_size: Sequence[int]) -> np.ndarray:
    """Return the masks of codes, (N, H, W) bool; `image_size` (H, W) is for when there is none."""
    if not rles:
        return np.zeros((0, *image_size), dtype=bool)
    return mask_api.decode(list(rles)).transpose(2, 0, 1).astype(bool)


def bitmap_targets(
    masks: np.ndarray,
    boxes: Tensor,
    assigned: Tensor,
    size: Sequence[int],
    threshold: float | None = 0.5,
) -> Tensor:
    """Crop the assigned mask to each box and resize it, as `BitmapMasks.crop_and_resize` does.

    The RoIs of one object share its mask, which is held in floating point for one object at a time;
    mmdet copies a whole mask for every RoI (546 MB for 128 RoIs on 800×1333). The numbers are the same.

    Args:
        masks: (G, H, W) uint8, the objects of an image.
        boxes: (N, 4) x1, y1, x2, y2, px; only what lies in the image is cropped.
        assigned: (N,) which object each box belongs to.
        size: (height, width) of the targets.
        threshold: Mean coverage from which a target is 1; None leaves the coverage as it is.

    Returns:
        (N, *size), dtype and device of `boxes`.
    """
    from mmcv.ops import roi_align

    height, width = masks.shape[1:]
    inside = boxes.detach().clamp(min=0).minimum(boxes.new_tensor([width, height, width, height]))
    rois = torch.cat((torch.zeros_like(inside[:, :1]), inside), dim=1)
    targets = boxes.new_zeros(len(boxes), *size)
    for index in assigned.unique().tolist():
        chosen = (assigned == index).nonzero().flatten()
        mask = torch.from_numpy(masks[index]).to(boxes.device).to(boxes.dtype)
        targets[chosen] = roi_align(mask[None, None], rois[chosen], size, 1.0, 0, "avg", True)[:, 0]
    return targets if threshold is None else (targets >= threshold).to(boxes.dtype)
