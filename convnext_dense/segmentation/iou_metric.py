"""Mean IoU from one confusion matrix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.dist import broadcast_object_list, gather_object, is_main_process
from mmengine.logging import print_log
from mmengine.registry import METRICS
from mmseg.evaluation import IoUMetric
from torch import Tensor

from ..errors import UserError
from ..files import write_whole

#: Pixels that are counted at once: their indices into the matrix take 8 bytes each.
_PIXELS = 2**22


@METRICS.register_module()
class ConfusionIoUMetric(IoUMetric):
    """mmseg's `IoUMetric` with the same names and numbers, from a (C, C) matrix of counts.

    The matrix grows where the predictions are, in integers; nothing is kept of an image, and processes
    exchange matrices, not files. Every image counts once: what a sampler repeats at the end of a process's
    share, to make shares equal, is left out.

    With `output_dir` the label maps are written, too: `<image name>.png` with the data set's own values
    (one more than the class where its label 0 is ignored), 16 bits if a value is above 255.

    Args:
        **kwargs: As of `IoUMetric`.

    Raises:
        UserError: A label map has a value that is neither a class nor ignored, a prediction is none of the
            classes, the two differ in size, or there is nothing to evaluate.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if self.format_only and not self.output_dir:
            raise UserError("format_only without output_dir", "the evaluator", "name a folder as output_dir")
        self._clear()

    def _clear(self) -> None:
        self._counts: Tensor | None = None  #: (C, C) of all images but the last, truth × prediction
        self._last: Tensor | None = None  #: (C, C) of the last one, which may be a repeated one
        self._names: list[str | None] = []

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Count a batch: per image `pred_sem_seg`, `gt_sem_seg` and `img_path`."""
        for sample in data_samples:
            predicted = sample["pred_sem_seg"]["data"].squeeze()
            if not self.format_only:
                self._count(predicted, sample)
            if self.output_dir is not None:
                self._write(predicted.cpu().numpy(), sample)

    def _count(self, predicted: Tensor, sample: Mapping[str, Any]) -> None:
        truth = sample["gt_sem_seg"]["data"].squeeze().to(predicted.device)
        name = sample.get("seg_map_path") or sample.get("img_path")
        classes = len(self.dataset_meta["classes"])
        if predicted.shape != truth.shape:
            raise UserError(
                f"the prediction is {tuple(predicted.shape)}, the label map {tuple(truth.shape)}", name
            )
        counts = predicted.new_zeros(classes * classes, dtype=torch.int64)
        for guess, label in zip(
            predicted.flatten().split(_PIXELS), truth.flatten().split(_PIXELS), strict=True
        ):
            used = label != self.ignore_index
            guess, label = guess[used].long(), label[used].long()
            if not len(label):
                continue
            self._check(guess, label, classes, name)
            counts += torch.bincount(label * classes + guess, minlength=classes * classes)
        if self._last is not None:
            self._counts = self._last if self._counts is None else self._counts.add_(self._last)
        self._last = counts.view(classes, classes)
        self._names.append(name)

    def _check(self, guess: Tensor, label: Tensor, classes: int, name: str | None) -> None:
        low, high = label.aminmax()
        if low < 0 or high >= classes:
            wrong = int(high if high >= classes else low)
            raise UserError(
                f"a label map has the value {wrong}, the data set has {classes} classes "
                f"(0 … {classes - 1}) and ignores {self.ignore_index}",
                name,
                "correct the label map (check-data finds all such), the classes or ignore_index",
            )
        if (highest := int(guess.max())) >= classes:
            raise UserError(
                f"the model predicts label {highest}, the data set has {classes} classes",
                name,
                f"set num_classes={classes} in every head of the model",
            )

    def _write(self, labels: np.ndarray, sample: Mapping[str, Any]) -> None:
        values = labels.astype(np.int64) + bool(sample.get("reduce_zero_label", False))
        values = values.astype(np.uint8 if values.max(initial=0) <= 255 else np.uint16)
        path = Path(self.output_dir) / f"{Path(sample['img_path']).stem}.png"
        try:
            write_whole(path, cv2.imencode(".png", values)[1].tobytes())
        except OSError as error:
            raise UserError(f"the label map cannot be written: {error.strerror}", str(path)) from error

    def evaluate(self, size: int) -> dict[str, float]:
        """Gather the matrices of all processes and score them on the main one.

        Args:
            size: Number of images of the data set.

        Returns:
            `aAcc`, `mIoU`, `mAcc`, … in percent, on every process.
        """
        on_cpu = [None if part is None else part.cpu() for part in (self._counts, self._last)]
        gathered = gather_object((*on_cpu, self._names))
        metrics: list[Any] = [None]
        if is_main_process():
            results = [] if self.format_only else [_areas(_once_each(gathered, size))]
            metrics = [self.compute_metrics(results)]
            if self.prefix:
                metrics = [{f"{self.prefix}/{name}": value for name, value in metrics[0].items()}]
        broadcast_object_list(metrics)
        self._clear()
        return metrics[0]


def _once_each(parts: Sequence[tuple[Tensor | None, Tensor | None, list[str | None]]], size: int) -> Tensor:
    """Return the sum (C, C) of the processes' matrices, without the images that a sampler repeated.

    mmengine's sampler repeats images at the end of the last processes' shares, one each.
    """
    surplus = sum(len(names) for *_, names in parts) - size
    times = Counter(name for *_, names in parts for name in names)
    total = None
    for counts, last, names in reversed(parts):
        kept = [counts, last]
        if surplus > 0 and names and names[-1] is not None and times[names[-1]] > 1:
            surplus, kept = surplus - 1, [counts]
            times[names[-1]] -= 1
        for part in kept:
            if part is not None:
                total = part.clone() if total is None else total.add_(part)
    if total is None:
        raise UserError("there is nothing to evaluate", "the evaluator", "check the data set's folders")
    if surplus > 0:
        print_log(f"{surplus} images were evaluated, and count, more than once", logger="current")
    return total


def _areas(counts: Tensor) -> tuple[Tensor, ...]:
    """Return intersection, union, predicted and true area of each class, (C,), as mmseg's results."""
    exact = counts.double()
    both, predicted, true = exact.diagonal(), exact.sum(0), exact.sum(1)
    return both, predicted + true - both, predicted, true
