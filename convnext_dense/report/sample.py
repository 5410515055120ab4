"""Drawing a training sample: the image beside its labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .objects import draw_objects
from .overlay import comparison, enlarge, panel_scale, side_by_side


def draw_sample(sample: dict[str, Any], meta: dict[str, Any]) -> tuple[np.ndarray, str]:
    """Return a packed sample as a picture, the image beside its labels, and a line on what it shows.

    Args:
        sample: What a pipeline returns: `inputs` (3, H, W) BGR, 0 … 255, and `data_samples`.
        meta: `classes` and `palette` (RGB).

    Returns:
        (H', W', 3) uint8 BGR, and the caption.
    """
    image = sample["inputs"].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).numpy()
    image, truth = np.ascontiguousarray(image), sample["data_samples"]
    where = f"{truth.img_path}, {image.shape[1]}x{image.shape[0]} px"
    if "gt_sem_seg" in truth:
        labels = truth.gt_sem_seg.data.squeeze(0).numpy()
        values, counts = np.unique(labels, return_counts=True)
        shown = (_share(v, c / labels.size, meta["classes"]) for v, c in zip(values, counts, strict=True))
        return comparison(
            image, {"labels": labels}, meta["classes"], meta["palette"]
        ), f"{where}; {', '.join(shown)}"
    objects, ignored = truth.gt_instances, truth.get("ignored_instances", ())
    names = [meta["classes"][label] for label in objects.labels.tolist()]
    counted = [f"{names.count(name)} {name}" for name in dict.fromkeys(names)] or ["no object"]
    if len(ignored):
        counted.append(f"{len(ignored)} ignored")
    scale = panel_scale(image)
    pictures = {"image": enlarge(image, scale), "labels": draw_objects(image, objects, meta, scale)}
    return side_by_side(pictures), f"{where}; {', '.join(counted)}"


def _share(value: int, share: float, classes: Any) -> str:
    return f"{classes[value] if value < len(classes) else f'ignored ({value})'} {100 * share:.1f} %"
