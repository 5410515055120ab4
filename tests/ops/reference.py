"""Slow scalar references, written from the formulas: one Python loop per sample or pair, float64."""

from __future__ import annotations

import math

import numpy as np


def bilinear(image, y, x):
    """Value of a map (H, W) at (y, x) px; 0 beyond (−1, size), the nearest border pixel in between."""
    height, width = image.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0.0
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = math.floor(y), math.floor(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    v, u = y - top, x - left
    above = (1 - u) * image[top, left] + u * image[top, right]
    below = (1 - u) * image[bottom, left] + u * image[bottom, right]
    return (1 - v) * above + v * below


def roi_align(maps, rois, output_size, scale, sampling_ratio, aligned):
    """Mean of bilinear samples in each bin; maps (B, C, H, W), rois (N, 5) → (N, C, *output_size).

    A sample counts or not by whether it lies beyond −1 px: positions are rounded in mmcv's order.
    """
    bins_y, bins_x = output_size
    out = np.zeros((len(rois), maps.shape[1], bins_y, bins_x))
    for n, (image, *corners) in enumerate(rois.tolist()):
        x1, y1, x2, y2 = (corner * scale - (0.5 if aligned else 0.0) for corner in corners)
        width, height = x2 - x1, y2 - y1
        if not aligned:
            width, height = max(width, 1.0), max(height, 1.0)
        bin_y, bin_x = height / bins_y, width / bins_x
        grid_y, grid_x = sampling_ratio or math.ceil(bin_y), sampling_ratio or math.ceil(bin_x)
        for c, i, j in np.ndindex(maps.shape[1], bins_y, bins_x):
            total = 0.0
            for a in range(grid_y):
                for b in range(grid_x):
                    y = y1 + i * bin_y + (a + 0.5) * bin_y / grid_y
                    x = x1 + j * bin_x + (b + 0.5) * bin_x / grid_x
                    total += bilinear(maps[int(image), c], y, x)
            out[n, c, i, j] = total / max(grid_y * grid_x, 1)
    return out


def iou(a, b, offset):
    """IoU of two boxes; NaN if neither has an area. In the arrays' own precision."""
    zero = a.dtype.type(0)
    width = max(min(a[2], b[2]) - max(a[0], b[0]) + offset, zero)
    height = max(min(a[3], b[3]) - max(a[1], b[1]) + offset, zero)
    area = [(box[2] - box[0] + offset) * (box[3] - box[1] + offset) for box in (a, b)]
    union = area[0] + area[1] - width * height
    return width * height / union if union else math.nan


def nms(boxes, scores, threshold, offset=0):
    """Greedy NMS, one pair at a time; equal scores in their given order."""
    threshold = boxes.dtype.type(threshold)
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        if not any(iou(boxes[k], boxes[i], offset) > threshold for k in kept):
            kept.append(i)
    return kept


def soft_nms(boxes, scores, threshold, sigma, min_score, method, offset=0):
    """Soft-NMS with mmcv's bookkeeping: a picked box trades places, a dropped one is replaced by the last."""
    left = [[index, box, score] for index, (box, score) in enumerate(zip(boxes, scores, strict=True))]
    first = 0
    while first < len(left):
        best = max(range(first, len(left)), key=lambda i: left[i][2])
        left[first], left[best] = left[best], left[first]
        position = first + 1
        while position < len(left):
            overlap = iou(left[first][1], left[position][1], offset)
            if method == "gaussian":
                left[position][2] *= math.exp(-overlap * overlap / sigma)
            elif overlap >= threshold:
                left[position][2] *= 0.0 if method == "naive" else 1 - overlap
            if left[position][2] < min_score:
                left[position] = left[-1]
                left.pop()
            else:
                position += 1
        first += 1
    return [index for index, _, _ in left], [score for _, _, score in left]
