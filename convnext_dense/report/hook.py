"""Pictures of the first predictions of a test or a validation beside the truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..errors import UserError
from .colors import class_colors
from .objects import draw_objects
from .overlay import comparison, enlarge, panel_scale, side_by_side

#: Objects that are less certain are not drawn.
SCORE_THRESHOLD = 0.3


@HOOKS.register_module()
class OverlayHook(Hook):
    """Write the first predictions of a test as pictures: image, truth and prediction side by side.

    Args:
        out_dir: Folder of the pictures, `<image name>.png`.
        limit: Number of images to draw.
    """

    priority = "LOW"

    def __init__(self, out_dir: str | Path, limit: int = 20) -> None:
        self.out_dir, self.limit, self._drawn = Path(out_dir), limit, 0

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Sequence[Any] | None = None
    ) -> None:
        """Draw the samples of this batch, until `limit` is reached."""
        self._draw_batch(runner.test_dataloader.dataset, outputs or [])

    def _draw_batch(self, dataset: Any, outputs: Sequence[Any]) -> None:
        if not is_main_process() or self._drawn >= self.limit:
            return
        meta = dict(dataset.metainfo)
        meta["palette"] = class_colors(meta.get("palette"), len(meta["classes"]))
        for sample in outputs[: self.limit - self._drawn]:
            self._draw(sample, meta)
            self._drawn += 1

    def _draw(self, sample: Any, meta: dict[str, Any]) -> None:
        image = cv2.imread(sample.img_path)
        if image is None:
            raise UserError("the image cannot be read", sample.img_path, "replace the file")
        draw = _draw_labels if "pred_sem_seg" in sample else _draw_objects
        target = self.out_dir / f"{Path(sample.img_path).stem}.png"
        try:
            self.out_dir.mkdir(parents=True, exist_ok=True)
            written = cv2.imwrite(str(target), draw(image, sample, meta))
        except OSError as error:
            raise UserError(
                f"no folder can be made: {error.strerror}", str(self.out_dir), "name another"
            ) from error
        if not written:
            raise UserError("the picture cannot be written", str(target), "name another folder")


@HOOKS.register_module()
class ValidationPicturesHook(OverlayHook):
    """Draw the first predictions of each validation; those of the newest stand in the folder.

    A training does not end because of a picture: where none can be drawn, a warning says so once.

    Args:
        out_dir: Folder of the pictures; relative to the run's folder.
        limit: Number of images to draw.
    """

    FOLDER = "validation"

    def __init__(self, out_dir: str | Path = FOLDER, limit: int = 8) -> None:
        super().__init__(out_dir, limit)

    def before_val_epoch(self, runner: Runner) -> None:
        """Begin anew."""
        self.out_dir, self._drawn = Path(runner.work_dir) / self.out_dir, 0

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Sequence[Any] | None = None
    ) -> None:
        """Draw the samples of this batch, until `limit` is reached."""
        try:
            self._draw_batch(runner.val_dataloader.dataset, outputs or [])
        except Exception as error:  # images that no file holds, predictions of another structure
            self.limit = 0
            runner.logger.warning(f"the validation is not drawn: {type(error).__name__}: {error}")

    def after_test_iter(self, *_: Any, **__: Any) -> None:
        """Draw nothing: a test has a hook of its own."""


def _draw_labels(image: np.ndarray, sample: Any, meta: dict[str, Any]) -> np.ndarray:
    prediction = sample.pred_sem_seg.data.squeeze(0).cpu().numpy()
    panels = {"prediction": prediction}
    if "gt_sem_seg" in sample:
        panels = {"truth": sample.gt_sem_seg.data.squeeze(0).cpu().numpy(), **panels}
    image = cv2.resize(image, prediction.shape[::-1])
    return comparison(image, panels, meta["classes"], meta["palette"])


def _draw_objects(image: np.ndarray, sample: Any, meta: dict[str, Any]) -> np.ndarray:
    scale = panel_scale(image)
    pictures = {"image": enlarge(image, scale)}
    if "gt_instances" in sample:
        pictures["truth"] = draw_objects(image, sample.gt_instances, meta, scale)
    found = sample.pred_instances
    pictures["prediction"] = draw_objects(image, found[found.scores >= SCORE_THRESHOLD], meta, scale)
    return side_by_side(pictures)
