"""The input pipelines of training: images a second and core, stage by stage, and how long a step waits."""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS, DefaultScope

from ...config_files import configs_folder
from ...engine.config import load_config
from ...engine.libraries import load_libraries
from ...errors import UserError
from ..setting import Setting
from ..stock import shipped_model
from .case import Case, Comparison
from .pipeline_data import write_ade20k, write_coco

#: What a transform's time is booked under, by the beginning of its name or by what is in it.
_STAGES = {
    "LoadImage": "decode",
    "LoadAnnotations": "annotations",
    "Resize": "resize",
    "Crop": "crop",
    "Flip": "flip",
    "PhotoMetric": "colours",
    "Pack": "pack",
}
MASKS, COLLATE, OTHER = "masks", "collate, normalise, pad", "other"
_MASK_METHODS = ("rescale", "resize", "flip", "crop")
_WORKERS = (1, 2, 4)
_DISTINCT = 32  #: generated images; they are loaded again and again


class StageClock:
    """Seconds by stage; what runs within another stage counts for itself alone."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._within: list[float] = []  # of each stage that is open, the seconds of those within it

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, timed."""

        def call(*args: Any, **kwargs: Any) -> Any:
            self._within.append(0.0)
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                spent = time.perf_counter() - start
                self.seconds[stage] += spent - self._within.pop()
                if self._within:
                    self._within[-1] += spent

        return call


def compare_pipeline(setting: Setting) -> list[Comparison]:
    """Time the shipped COCO and ADE20K training pipelines, on generated images or on the user's."""
    comparisons = []
    for name, kind, base, write in (
        ("COCO", "mask_rcnn", "coco_instance", _write_coco),
        ("ADE20K", "upernet", "ade20k_512", _write_ade20k),
    ):
        with tempfile.TemporaryDirectory() as folder:
            cfg = load_config(configs_folder() / "_base_/datasets" / f"{base}.py")
            if setting.data is None:
                root = Path(folder) / "data"
                write(root, min(setting.number, _DISTINCT), cfg)
            elif not _is_there(root := Path(setting.data), cfg):
                continue
            cfg.train_dataloader.dataset.data_root = str(root)
            comparisons.append(_time_pipeline(name, kind, cfg, setting))
    if not comparisons:
        raise UserError(
            "no data set in the tree that the shipped COCO or ADE20K config reads",
            f"--data {setting.data}",
            "name the folder that holds annotations/instances_train2017.json, or images/training",
        )
    return comparisons


def _write_coco(root: Path, images: int, cfg: Config) -> None:
    write_coco(root, images, list(cfg.metainfo.classes))


def _write_ade20k(root: Path, images: int, cfg: Config) -> None:
    write_ade20k(root, images)


def _is_there(root: Path, cfg: Config) -> bool:
    dataset = cfg.train_dataloader.dataset
    return (root / dataset.get("ann_file", dataset.data_prefix.get("img_path", ""))).exists()


def _time_pipeline(name: str, kind: str, cfg: Config, setting: Setting) -> Comparison:
    scope = "mmseg" if kind == "upernet" else "mmdet"
    load_libraries(scope)
    batch = cfg.train_dataloader.batch_size
    clock = StageClock()
    cv2.setNumThreads(0)  # as the runtime configs set it for the workers
    np.random.seed(0)  # the libraries' transforms draw from it
    with DefaultScope.overwrite_default_scope(scope):
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
        preprocess = MODELS.build(shipped_model(kind, "tiny").data_preprocessor)
        load = clock.timed(OTHER, dataset.__getitem__)
        collate = clock.timed(COLLATE, lambda samples: preprocess(pseudo_collate(samples), training=True))
        dataset[0]  # opens files and fills caches
        _time_transforms(dataset.pipeline, clock)
        count = 0
        with _timed_masks(clock):
            while count < setting.number:
                collate([load((count + i) % len(dataset)) for i in range(batch)])
                count += batch
    stages = {
        stage: 1e3 * seconds / count
        for stage, seconds in sorted(clock.seconds.items(), key=lambda item: -item[1])
    }
    details = {
        "images": count,
        "batch": batch,
        "ms_per_image": stages,
        "images_per_s_and_core": 1e3 / sum(stages.values()),
    }
    if setting.step_s is not None:
        details["data_wait_share"] = {
            str(workers): wait_share(sum(stages.values()) / 1e3 * batch / workers, setting.step_s)
            for workers in _WORKERS
        }
    title = f"input pipeline, {name}"
    return Comparison(title, setting, [], [], details, _table(details, setting.step_s))


def wait_share(load_s: float, step_s: float) -> float:
    """Return the share of a training step's time that it waits for data.

    Args:
        load_s: Seconds in which the workers together load a batch.
        step_s: Seconds that the step takes by itself.
    """
    return max(0.0, load_s - step_s) / max(load_s, step_s)


def _time_transforms(node: Any, clock: StageClock) -> None:
    """Time the transforms of a pipeline, in place, those within others too."""
    if transforms := getattr(node, "transforms", None):
        for transform in transforms:
            _time_transforms(transform, clock)
    elif hasattr(node, "transform"):
        name = type(node).__name__
        stage = next((stage for part, stage in _STAGES.items() if part in name), OTHER)
        node.transform = clock.timed(stage, node.transform)
        if hasattr(node, "_load_masks"):
            node._load_masks = clock.timed(MASKS, node._load_masks)


@contextmanager
def _timed_masks(clock: StageClock) -> Iterator[None]:
    """Time what happens to instance masks meanwhile."""
    from mmdet.structures.mask import BitmapMasks

    used = {name: getattr(BitmapMasks, name) for name in _MASK_METHODS}
    try:
        for name, method in used.items():
            setattr(BitmapMasks, name, clock.timed(MASKS, method))
        yield
    finally:
        for name, method in used.items():
            setattr(BitmapMasks, name, method)


def _table(details: dict[str, Any], step_s: float | None) -> str:
    stages, batch = details["ms_per_image"], details["batch"]
    total = sum(stages.values())
    lines = [f"  {stage:<26}{ms:8.2f} ms an image {100 * ms / total:5.0f} %" for stage, ms in stages.items()]
    lines.append(f"  {'all':<26}{total:8.2f} ms an image, {1e3 / total:.0f} images/s and core")
    if step_s is None:
        lines.append(
            f"  one worker keeps up with steps of {total * batch / 1e3:.2f} s or more (batch {batch})"
        )
    for workers, share in details.get("data_wait_share", {}).items():
        kind = "worker" if workers == "1" else "workers"
        lines.append(f"  a step of {step_s:g} s with {workers} {kind} waits {100 * share:.0f} % of its time")
    return "\n".join(lines)


PIPELINE = Case(
    compare_pipeline, "the input pipelines of training", {"number": 100}, ("number", "data", "step_s")
)
