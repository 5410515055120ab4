"""The first training batch as a picture: what the network really sees, with its labels drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn

from .colors import class_colors
from .sample import draw_sample

TRAIN_BATCH = "train_batch.jpg"


@HOOKS.register_module()
class TrainBatchHook(Hook):
    """Draw the first batch of a training as the network gets it: augmented, scaled, padded.

    The batch is taken behind the data preprocessor, whose normalisation is undone, so that random steps on
    the whole batch are in it, too, and no random number is drawn for it. The picture is `train_batch.jpg` in
    the run's folder, an image a row; a resumed run keeps the one that it has.

    A training does not end because of a picture: where none can be drawn, a warning says so.

    Args:
        limit: Images to draw.
    """

    priority = "LOW"

    def __init__(self, limit: int = 4) -> None:
        self.limit, self._begun = limit, False

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Wait for the first batch to pass through the model's data preprocessor."""
        if self._begun or not is_main_process():
            return
        self._begun = True
        path = Path(runner.work_dir) / TRAIN_BATCH
        if runner.iter > 0 and path.exists():
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        meta = dict(runner.train_dataloader.dataset.metainfo)

        def draw(preprocessor: nn.Module, _: Any, batch: dict[str, Any]) -> None:
            handle.remove()
            try:
                picture = draw_batch(preprocessor, batch, meta, self.limit)
                written = cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, 90])
            except Exception as error:  # batches of another structure, above all
                runner.logger.warning(f"the first batch is not drawn: {type(error).__name__}: {error}")
            else:
                if not written:
                    runner.logger.warning(f"the first batch is not drawn: {path} cannot be written")

        handle = model.data_preprocessor.register_forward_hook(draw)


def draw_batch(
    preprocessor: nn.Module, batch: dict[str, Any], meta: dict[str, Any], limit: int = 4
) -> np.ndarray:
    """Return a batch as one picture, each image beside its labels.

    Args:
        preprocessor: The data preprocessor that made the batch.
        batch: `inputs` (B, 3, H, W), normalised, and B `data_samples`.
        meta: `classes` and perhaps `palette` (RGB) of the data set.
        limit: Images to draw.

    Returns:
        (H', W', 3) uint8 BGR.
    """
    meta = {**meta, "palette": class_colors(meta.get("palette"), len(meta["classes"]))}
    rows = []
    for image, truth in list(zip(batch["inputs"], batch["data_samples"], strict=True))[:limit]:
        sample = {"inputs": denormalised(preprocessor, image), "data_samples": truth.cpu()}
        rows.append(draw_sample(sample, meta)[0])
    width = max(row.shape[1] for row in rows)
    white = (255, 255, 255)
    return np.vstack(
        [
            cv2.copyMakeBorder(row, 0, 8, 0, width - row.shape[1], cv2.BORDER_CONSTANT, value=white)
            for row in rows
        ]
    )


def denormalised(preprocessor: Any, image: Tensor) -> Tensor:
    """Return a preprocessed image (3, H, W) as BGR in 0 … 255, on the CPU."""
    image = image.detach().float()
    if preprocessor._enable_normalize:
        image = image * preprocessor.std + preprocessor.mean
    return (image.flip(0) if preprocessor._channel_conversion else image).cpu()
