"""The fine-tuning options of `train`: each adds to the config what could as well be written there."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import DATASETS, HOOKS
from mmengine.runner import Runner

from ..errors import UserError
from ..progress import track
from ..weights.class_rows import keep_class_rows
from .config import walk_dicts
from .libraries import load_libraries

#: What a score has to gain to count as better, by the metric's unit: percent, or a fraction of 1.
_MIN_GAIN = {"mIoU": 0.1}
_MIN_GAIN_OTHERWISE = 0.001


def add_fine_tuning(cfg: Config, args: argparse.Namespace) -> list[str]:
    """Change the config as the arguments ask, in place; returns a line for each change.

    Raises:
        UserError: An option does not fit the config.
    """
    options = (
        (args.frozen_stages, _freeze),
        (args.keep_class_rows, _keep_rows),
        (args.ema, _add_ema),
        (args.early_stopping, _add_early_stopping),
        (args.repeat_rare, _repeat_rare),
        (args.class_weights, _weigh_classes),
    )
    return [apply(cfg, value) for value, apply in options if value is not None and value is not False]


def _freeze(cfg: Config, stages: int) -> str:
    if cfg.model.backbone.type != "ConvNeXt":
        raise UserError("--frozen-stages is ConvNeXt's", "model.backbone.type", "freeze it in the config")
    cfg.model.backbone.frozen_stages = stages
    return f"frozen: the backbone's first {stages} of 4 stages (model.backbone.frozen_stages={stages})"


def _keep_rows(cfg: Config, _: bool) -> str:
    if cfg.get("resume"):
        return "--keep-class-rows: the resumed run has its rows"
    if not cfg.get("load_from"):
        raise UserError(
            "--keep-class-rows needs a checkpoint to start from", fix="name it with --load-from PATH"
        )
    cfg.custom_hooks.append(dict(type="KeepClassRowsHook"))
    return "the heads' rows of classes that the checkpoint has, too, are kept (KeepClassRowsHook)"


def _add_ema(cfg: Config, momentum: float) -> str:
    if not 0 < momentum < 1:
        raise UserError(
            f"an EMA momentum of {momentum:g}", "--ema", "give a share between 0 and 1, e.g. 0.001"
        )
    cfg.custom_hooks.append(dict(type="EMAHook", momentum=momentum, update_buffers=True))
    return f"the averaged weights are evaluated and saved (EMAHook, about {1 / momentum:,.0f} steps)"


def _add_early_stopping(cfg: Config, patience: int) -> str:
    monitor = (cfg.default_hooks.get("checkpoint") or {}).get("save_best")
    if patience < 1 or not isinstance(monitor, str) or monitor == "auto":
        raise UserError(
            f"--early-stopping {patience} needs a number of evaluations above 0, and a score to watch",
            "default_hooks.checkpoint.save_best",
            "name the score there: mIoU, coco/bbox_mAP",
        )
    gain = _MIN_GAIN.get(monitor, _MIN_GAIN_OTHERWISE)
    cfg.custom_hooks.append(
        dict(type="EarlyStoppingHook", monitor=monitor, rule="greater", min_delta=gain, patience=patience)
    )
    return f"stops when {monitor} has not gained {gain:g} in {patience} evaluations (EarlyStoppingHook)"


def _repeat_rare(cfg: Config, threshold: float) -> str:
    if not 0 < threshold <= 1:
        raise UserError(f"--repeat-rare {threshold:g}", fix="give a share of the images, e.g. 0.1")
    if cfg.get("default_scope") != "mmdet":
        raise UserError(
            "--repeat-rare is for detection, whose data sets know which classes an image shows",
            fix="for segmentation give --class-weights",
        )
    dataset = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(
        type="ClassBalancedDataset", oversample_thr=threshold, dataset=dataset
    )
    return (
        f"images with classes that less than {threshold:.3g} of the images show are repeated, "
        "as LVIS (arXiv 1908.03195) does (ClassBalancedDataset)"
    )


def _weigh_classes(cfg: Config, _: bool) -> str:
    losses = [
        loss
        for name in ("decode_head", "auxiliary_head")
        for _, part in walk_dicts(cfg.model.get(name) or {}, name)
        for _, loss in walk_dicts(part.get("loss_decode") or {})
        if loss.get("type") == "CrossEntropyLoss"
    ]
    if not losses:
        raise UserError("--class-weights is for heads with CrossEntropyLoss", "model.*.loss_decode")
    load_libraries(cfg.default_scope)
    classes, pixels = count_pixels(cfg.train_dataloader.dataset, cfg.default_scope)
    weights = class_weights(pixels)
    for loss in losses:
        loss["class_weight"] = weights
    listed = ", ".join(f"{name} {weight:.2f}" for name, weight in zip(classes, weights, strict=True))
    return f"classes are weighted in the loss (class_weight): {listed}"


def count_pixels(dataset: dict[str, Any], scope: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Return a segmentation data set's classes, and the number of pixels (C,) of each in its label maps."""
    reading = {**dataset, "pipeline": [dict(type="LoadAnnotations")]}
    with DATASETS.switch_scope_and_registry(scope) as registry:
        built = registry.build(reading)
    classes = tuple(built.metainfo["classes"])
    pixels = np.zeros(len(classes), np.int64)
    with track("counting pixels per class", len(built)) as advance:
        for index in range(len(built)):
            labels = built[index]["gt_seg_map"]
            pixels += np.bincount(labels.ravel(), minlength=len(classes))[: len(classes)]
            advance(1)
    return classes, pixels


def class_weights(pixels: np.ndarray) -> list[float]:
    """Return a weight per class from pixel counts (C,): 1 / ln(1.02 + share), with a mean of 1.

    The bounded inverse frequency of ENet (arXiv 1606.02147, section 5.2): the rarest class weighs at most 35
    times as much as one that fills every picture. Classes without a pixel weigh 1, as they are never seen.
    """
    present = pixels > 0
    weights = np.ones(len(pixels))
    raw = 1 / np.log(1.02 + pixels[present] / max(1, pixels.sum()))
    weights[present] = raw / raw.mean()
    return [round(float(weight), 4) for weight in weights]


@HOOKS.register_module()
class KeepClassRowsHook(Hook):
    """After `load_from`: fill the heads' rows of the classes that the checkpoint names, too."""

    priority = "VERY_HIGH"

    def before_train(self, runner: Runner) -> None:
        """Fill the rows, and say whose; a resumed run has its own already."""
        if runner._resume or not runner._load_from:
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        classes = runner.train_dataloader.dataset.metainfo["classes"]
        kept, new = keep_class_rows(model, runner._load_from, classes)
        runner.logger.info(
            f"rows of the heads kept for {', '.join(kept)}; from initialisation: {', '.join(new) or 'none'}"
        )
