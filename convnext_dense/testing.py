"""Any shipped config at toy width, size and length, for tests and dry runs."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from . import register  # noqa: F401  (data sets and models are looked up in the registries)
from .engine.config import walk_dicts
from .errors import UserError, did_you_mean
from .models.arch import parse_arch
from .optim import default_num_layers
from .toy_data import IMAGES, write_coco, write_label_maps

TOY_DEPTHS = (1, 1, 3, 1)
TOY_DIMS = (8, 16, 32, 64)
TOY_HEAD_CHANNELS = 16
TOY_CROP_PX = 64
TOY_ITERATIONS = 2

# Keys whose values are (pairs of) lengths in pixels.
_LENGTH_KEYS = frozenset({"crop_size", "image_scale", "scale", "scales", "size", "stride"})
# Widths of a detector's heads that follow the FPN's, and how many boxes each step handles at most.
_CHANNEL_KEYS = ("in_channels", "feat_channels", "conv_out_channels", "out_channels")
_MAX_BOXES = {"num": 16, "nms_pre": 64, "max_per_img": 16}


def shrink(cfg: Config, data_root: str | Path | None = None) -> Config:
    """Return a config of the same structure that trains and evaluates in seconds on a CPU.

    The types, the pipelines' steps, the heads, the optimizer with its parameter groups and the schedule
    stay; what changes is widths, depths, image sizes, the number of iterations, the workers (none), the
    precision (fp32), the weights (from scratch) and the data: a few generated images in the format that
    the config's data sets read. A detector also looks at fewer boxes, and keeps those of any score: from
    scratch it is sure of none. Channels and decay layers are mapped from the config's own size, so those
    that do not fit it stay wrong. `work_dir` is set, so `Runner.from_cfg(shrink(cfg)).train()` runs.

    Args:
        cfg: A config with a ConvNeXt backbone; left as it is.
        data_root: Folder to write the images and the work directory to; by default a new temporary one,
            which the caller may delete.

    Raises:
        UserError: The backbone is not ConvNeXt, or the config's scope is none of this project's.
    """
    scope = cfg.get("default_scope")
    if scope not in _SCOPES:
        raise UserError(
            f"cannot shrink a config of default_scope {scope!r}",
            cfg.filename or "shrink",
            did_you_mean(str(scope), _SCOPES),
        )
    shrink_heads, write_dataset = _SCOPES[scope]

    toy = copy.deepcopy(cfg)
    toy.model = _shrink_model(toy.model, shrink_heads)
    _shrink_images(toy, cfg.model)
    _shrink_optimizer(toy, cfg.model.backbone)
    _shrink_run(toy)

    root = Path(data_root) if data_root is not None else Path(tempfile.mkdtemp(prefix="convnext-dense-toy-"))
    toy.work_dir = str(root / "work_dir")
    if "data_root" in toy:
        toy.data_root = str(root)
    for split in IMAGES:
        loader = toy.get(f"{split}_dataloader")
        if loader:
            toy[f"{split}_dataloader"] = loader = _shrink_loader(loader, split)
            write_dataset(loader.dataset, toy.model, root, split)
            _point_evaluator(toy, loader.dataset, split)
    return toy


def _shrink_model(model: ConfigDict, shrink_heads: Callable) -> ConfigDict:
    """Return the model with a toy backbone of the same generation and heads to match."""
    toy = copy.deepcopy(model)
    backbone = toy.backbone
    if backbone.type != "ConvNeXt":
        raise UserError(
            f"cannot shrink a backbone of type {backbone.type!r}", "model.backbone", "use ConvNeXt"
        )
    arch = parse_arch(backbone.get("arch", "tiny"))
    backbone.arch = {"depths": TOY_DEPTHS, "dims": TOY_DIMS, "use_grn": arch.use_grn}
    backbone.init_cfg = None
    shrink_heads(toy, dict(zip(arch.dims, TOY_DIMS, strict=True)))
    return toy


def _shrink_seg_heads(model: ConfigDict, widths: Mapping[int, int]) -> None:
    """Narrow the decode head and the auxiliary ones; `widths` maps the backbone's widths to toy ones."""
    auxiliary = model.get("auxiliary_head") or []
    for head in [model.decode_head, *(auxiliary if isinstance(auxiliary, list) else [auxiliary])]:
        wide = head["in_channels"]
        narrow = widths.get(wide, wide) if isinstance(wide, int) else [widths.get(c, c) for c in wide]
        head.update(in_channels=narrow, channels=TOY_HEAD_CHANNELS)


def _shrink_det_heads(model: ConfigDict, widths: Mapping[int, int]) -> None:
    """Narrow the neck, the RPN and the heads, and lower the number of boxes that they look at."""
    wide = model.neck.out_channels
    model.neck.in_channels = [widths.get(c, c) for c in model.neck.in_channels]
    model.neck.out_channels = TOY_HEAD_CHANNELS
    for part in (model.rpn_head, model.roi_head):
        for _, head in walk_dicts(part):
            head.update({key: TOY_HEAD_CHANNELS for key in _CHANNEL_KEYS if head.get(key) == wide})
            if "fc_out_channels" in head:
                head["fc_out_channels"] = 2 * TOY_HEAD_CHANNELS
    for part in (model.train_cfg, model.test_cfg):
        for _, step in walk_dicts(part):
            step.update({key: min(step[key], most) for key, most in _MAX_BOXES.items() if key in step})
    model.test_cfg.rcnn.score_thr = 0.0


def _shrink_images(toy: Config, model: Mapping[str, Any]) -> None:
    """Scale every length in pixels so that the training crop becomes the toy one.

    A detector has no fixed crop: there it is the short side of the images in evaluation.
    """
    size = model["data_preprocessor"].get("size") or _evaluation_scale(toy) or (TOY_CROP_PX,)
    factor = TOY_CROP_PX / min(size)
    for key in [k for k in toy if k != "model"]:
        toy[key] = _scale_lengths(toy[key], factor, key)
    for key in ("data_preprocessor", "train_cfg", "test_cfg"):
        if toy.model.get(key):
            toy.model[key] = _scale_lengths(toy.model[key], factor, key)


def _evaluation_scale(cfg: Config) -> tuple[int, int] | None:
    """Return the size to which images are brought for evaluation, if they are."""
    pipeline = (cfg.get("val_dataloader") or {}).get("dataset", {}).get("pipeline", [])
    return next((step["scale"] for step in pipeline if step["type"] == "Resize" and "scale" in step), None)


def _scale_lengths(node: Any, factor: float, key: str = "") -> Any:
    """Return a copy of a part of a config with the lengths in pixels multiplied by `factor`."""
    if isinstance(node, Mapping):
        return ConfigDict({k: _scale_lengths(v, factor, k) for k, v in node.items()})
    if isinstance(node, list | tuple):
        return type(node)(_scale_lengths(v, factor, key) for v in node)
    is_length = key in _LENGTH_KEYS and isinstance(node, int) and not isinstance(node, bool)
    return max(1, round(node * factor)) if is_length else node


def _shrink_optimizer(toy: Config, backbone: Mapping[str, Any]) -> None:
    """Turn mixed precision off, and fit the number of decay layers to the toy depth."""
    wrapper = toy.optim_wrapper
    if wrapper.get("type") == "AmpOptimWrapper":
        wrapper.type = "OptimWrapper"
        for key in ("dtype", "loss_scale", "use_fsdp"):
            wrapper.pop(key, None)
    decay = wrapper.get("paramwise_cfg") or {}
    fits = decay.get("num_layers") == default_num_layers(parse_arch(backbone.get("arch", "tiny")).depths)
    # By stage the number is free, and keeping it keeps the published multipliers.
    if fits and decay.get("decay_type") != "stage_wise":
        decay["num_layers"] = default_num_layers(TOY_DEPTHS)


def _shrink_run(toy: Config) -> None:
    """Shorten training, look at it often, and start from nothing."""
    by_epoch = "max_epochs" in toy.train_cfg
    length = 1 if by_epoch else TOY_ITERATIONS
    toy.train_cfg.update({"max_epochs" if by_epoch else "max_iters": length, "val_interval": length})
    toy.default_hooks.checkpoint.interval = length
    toy.default_hooks.logger.interval = 1
    toy.load_from, toy.resume = None, False


def _shrink_loader(loader: ConfigDict, split: str) -> ConfigDict:
    """Return the loader without workers and with a batch of two for training, one otherwise."""
    toy = copy.deepcopy(loader)
    toy.update(batch_size=2 if split == "train" else 1, num_workers=0, persistent_workers=False)
    toy.pop("prefetch_factor", None)
    return toy


def _point_evaluator(toy: Config, dataset: Mapping[str, Any], split: str) -> None:
    """Point the split's metrics that read the annotations themselves at the data set's file."""
    for _, evaluator in walk_dicts(toy.get(f"{split}_evaluator")):
        if evaluator.get("ann_file"):
            evaluator["ann_file"] = str(Path(dataset["data_root"]) / dataset["ann_file"])


#: By default scope: what narrows the heads, and what writes the data of one split.
_SCOPES: dict[str, tuple[Callable, Callable]] = {
    "mmdet": (_shrink_det_heads, write_coco),
    "mmseg": (_shrink_seg_heads, write_label_maps),
}
