"""`Predictor`: a checkpoint as a function from images to typed results."""

from __future__ import annotations

import copy
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmcv.transforms import Compose, LoadAnnotations, LoadImageFromFile
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import MODELS, TRANSFORMS, DefaultScope
from torch import nn

from ..data.image_files import image_fault
from ..engine.loaders import closed_loaders
from ..errors import UserError
from ..weights import load_weights, read_checkpoint, resolve_source
from .labels import find_labels
from .results import Detections, Rle, SegmentationMap, encode_mask
from .saved_config import PredictConfig, find_config

Image = str | os.PathLike[str] | np.ndarray
Result = Detections | SegmentationMap

#: Images that are decoded at a time, in batches, so that those of one size find each other.
_WINDOW_BATCHES = 4


class Predictor:
    """A trained detector or segmentor, ready to predict.

    The config's test pipeline prepares the images, so that results are those of `tools/test.py`. Only images
    that have the same size after it share a batch: padding would change what a model says about them.
    With `batch_size=1` the results are equal bit for bit; larger batches agree within rounding.

        predict = Predictor("work_dirs/mask_rcnn/latest/best.pth")
        for result in predict(["a.jpg", "b.png", array], batch_size=2):
            result.draw()

    Args:
        checkpoint: File, folder or URL with the weights of the whole model, heads included.
        config: Config or file of one; by default the checkpoint's own, or `config.json` beside it. These are
            data: nothing in them is run, see `convnext_dense.predict.guard`.
        device: As torch names it; by default `cuda` if there is one, else `cpu`.

    Attributes:
        classes: Names of the classes.
        palette: RGB colour of each class.
        category_ids: Of each class its id in COCO files.
        model: The model, in evaluation mode.

    Raises:
        UserError: Checkpoint or config are missing, damaged, unsafe or do not fit each other, or there is no
            such device.
    """

    def __init__(
        self,
        checkpoint: str | os.PathLike[str],
        config: str | Path | Config | None = None,
        device: str | torch.device | None = None,
    ) -> None:
        self.device = _device(device)
        path = resolve_source(checkpoint)
        meta = read_checkpoint(path, mmap=True).get("meta")
        meta = meta if isinstance(meta, Mapping) else {}
        found = find_config(meta, path, config)
        self._scope = found.scope
        with DefaultScope.overwrite_default_scope(found.scope), closed_loaders():
            self.classes, self.palette, self.category_ids = find_labels(meta, found)
            self._load_file, self._load_array, self._transform = _pipeline(found)
            self.model: Any = _build(found)
        load_weights(self.model, path, heads="require")
        self.model.to(self.device).eval()

    @property
    def is_detector(self) -> bool:
        """Whether results are `Detections`; `SegmentationMap`s if not."""
        return self._scope == "mmdet"

    def __call__(self, images: Image | Iterable[Image], *, batch_size: int = 1) -> list[Result]:
        """Predict images.

        Args:
            images: Files, and (H, W, 3) uint8 BGR arrays as `cv2.imread` gives; one alone is taken, too.
            batch_size: The most images of one size that the model sees at once.

        Returns:
            A `Detections` or `SegmentationMap` for each image, in their order.

        Raises:
            UserError: An image cannot be read, or an array is no such image; the message names it.
        """
        images = [images] if isinstance(images, str | os.PathLike | np.ndarray) else list(images)
        results: dict[int, Result] = {}
        for index, outcome in self.stream(images, batch_size=batch_size):
            if isinstance(outcome, UserError):
                raise outcome
            results[index] = outcome
        return [results[index] for index in range(len(images))]

    def stream(
        self, images: Iterable[Image], *, batch_size: int = 1
    ) -> Iterator[tuple[int, Result | UserError]]:
        """Yield `(index, result)` as results are there, which with batches is not the images' order.

        An image that cannot be read gives a `UserError` in its result's place, and the others go on. No more
        than a few batches of images are held at once.

        Args:
            images: As for a call.
            batch_size: As for a call.
        """
        if batch_size < 1:
            raise UserError(
                f"a batch has at least one image, not {batch_size}", "batch size", "give 1 or more"
            )
        return self._stream(images, batch_size)

    def _stream(self, images: Iterable[Image], batch_size: int) -> Iterator[tuple[int, Result | UserError]]:
        # By size after the pipeline; a full batch is run at once, the others when the window is full.
        waiting: dict[tuple[int, ...], list[tuple[int, Image, dict[str, Any]]]] = defaultdict(list)
        for index, image in enumerate(images):
            try:
                prepared = self._prepare(image, index)
            except UserError as error:
                yield index, error
                continue
            batch = waiting[tuple(prepared["inputs"].shape)]
            batch.append((index, image, prepared))
            full = sum(map(len, waiting.values())) >= _WINDOW_BATCHES * batch_size
            if len(batch) == batch_size or full:
                largest = max(waiting, key=lambda size: len(waiting[size]))
                yield from self._run(waiting.pop(largest))
        for batch in waiting.values():
            yield from self._run(batch)

    def _prepare(self, image: Image, index: int) -> dict[str, Any]:
        """Return an image as the pipeline packs it: `inputs` (3, H', W') and `data_samples`."""
        with DefaultScope.overwrite_default_scope(self._scope):
            loaded = self._load(image, index)
            return self._transform({**loaded, "img_id": index})

    def _load(self, image: Image, index: int) -> dict[str, Any]:
        if isinstance(image, np.ndarray):
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
                raise UserError(
                    f"an array is (H, W, 3) uint8 BGR, this is {image.shape} {image.dtype}",
                    f"image {index}",
                    "convert it, e.g. with cv2.cvtColor",
                )
            return self._load_array({"img": image})
        path = Path(image)
        fault = image_fault(path, None)
        if fault is None:
            try:
                return self._load_file({"img_path": str(path)})
            except Exception as error:  # what decoders raise is not one family
                fault = "image unreadable", f"{path} cannot be decoded ({error})"
        raise UserError(fault[1], str(path.absolute()), "replace the file, or leave it out")

    @torch.no_grad()
    def _run(
        self, batch: Sequence[tuple[int, Image, dict[str, Any]]]
    ) -> Iterator[tuple[int, Result | UserError]]:
        with DefaultScope.overwrite_default_scope(self._scope):
            samples = self.model.test_step(pseudo_collate([prepared for _, _, prepared in batch]))
        for (index, image, _), sample in zip(batch, samples, strict=True):
            yield index, self._detections(sample, image) if self.is_detector else self._map(sample, image)

    def _detections(self, sample: Any, image: Image) -> Detections:
        found = sample.pred_instances.cpu()
        masks = found.get("masks")
        return Detections(
            boxes=found.bboxes.numpy(),
            labels=found.labels.numpy(),
            scores=found.scores.numpy(),
            masks=None if masks is None else [_rle(mask) for mask in masks],
            classes=self.classes,
            image_size=tuple(sample.ori_shape[:2]),
            palette=self.palette,
            category_ids=self.category_ids,
            source=_source(image),
            read=partial(self._read, image),
        )

    def _map(self, sample: Any, image: Image) -> SegmentationMap:
        labels = sample.pred_sem_seg.data.squeeze(0).cpu().numpy()
        dtype = np.uint8 if len(self.classes) <= 256 else np.uint16
        return SegmentationMap(
            labels=labels.astype(dtype),
            classes=self.classes,
            palette=self.palette,
            source=_source(image),
            read=partial(self._read, image),
        )

    def _read(self, image: Image) -> np.ndarray:
        """Return an image to draw on, as the pipeline loads it."""
        if isinstance(image, np.ndarray):
            return image
        return self._load(image, 0)["img"].astype(np.uint8, copy=False)


def _source(image: Image) -> str | None:
    return None if isinstance(image, np.ndarray) else os.fspath(image)


def _device(device: str | torch.device | None) -> torch.device:
    name = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(name)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"no such device: {name} ({reason})", "device", "give cpu, cuda or cuda:0") from error
    return chosen


def _pipeline(config: PredictConfig) -> tuple[Any, Any, Compose]:
    """Return what loads a file, what loads an array, and the steps after, without annotations."""
    loader, *steps = config.pipeline
    if not _is_a(loader, LoadImageFromFile):
        raise UserError(
            f"the test pipeline begins with {loader.get('type')!r}, which loads no image file",
            config.where,
            "begin it with dict(type='LoadImageFromFile')",
        )
    load_file = TRANSFORMS.build(copy.deepcopy(loader))
    load_array = TRANSFORMS.build(
        dict(type="LoadImageFromNDArray", to_float32=loader.get("to_float32", False))
    )
    kept = [step for step in steps if not _is_a(step, LoadAnnotations)]
    return load_file, load_array, Compose([TRANSFORMS.build(copy.deepcopy(step)) for step in kept])


def _is_a(step: Mapping[str, Any], kind: type) -> bool:
    cls = TRANSFORMS.get(step["type"]) if isinstance(step.get("type"), str) else step.get("type")
    return isinstance(cls, type) and issubclass(cls, kind)


def _build(config: PredictConfig) -> nn.Module:
    try:
        return MODELS.build(copy.deepcopy(config.model))
    except (TypeError, KeyError, AssertionError, AttributeError, ValueError) as error:
        raise UserError(
            f"the model cannot be built: {str(error).strip().splitlines()[-1] if str(error) else error!r}",
            config.where,
            "name the config that the checkpoint was trained with: --config CONFIG",
        ) from error


def _rle(mask: Any) -> Rle:
    if isinstance(mask, dict):
        counts = mask["counts"]
        return {
            "size": list(mask["size"]),
            "counts": counts.decode() if isinstance(counts, bytes) else counts,
        }
    return encode_mask(mask.numpy())
