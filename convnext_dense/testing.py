"""Any shipped config at toy width, size and length, for tests and dry runs."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.config import Config, ConfigDict
from mmseg.registry import DATASETS

from . import register  # noqa: F401  (data sets and models are looked up in the registries)
from .errors import UserError, did_you_mean
from .models.arch import parse_arch
from .optim import default_num_layers

TOY_DEPTHS = (1, 1, 3, 1)
TOY_DIMS = (8, 16, 32, 64)
TOY_HEAD_CHANNELS = 16
TOY_CROP_PX = 64
TOY_IMAGE_PX = (90, 120)  # (H, W): larger than the crop, not square, no multiple of the strides
TOY_IMAGES = {"train": 4, "val": 2, "test": 2}
TOY_ITERATIONS = 2

# Keys whose values are (pairs of) lengths in pixels.
_LENGTH_KEYS = frozenset({"crop_size", "image_scale", "scale", "scales", "size", "stride"})


def shrink(cfg: Config, data_root: str | Path | None = None) -> Config:
    """Return a config of the same structure that trains and evaluates in seconds on a CPU.

    The types, the pipelines' steps, the heads, the optimizer with its parameter groups and the schedule
    stay; what changes is widths, depths, image sizes, the number of iterations, the workers (none), the
    precision (fp32), the weights (from scratch) and the data: a few generated images in the format that
    the config's data sets read. Channels and decay layers are mapped from the config's own size, so those
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
    for split, count in TOY_IMAGES.items():
        loader = toy.get(f"{split}_dataloader")
        if loader:
            toy[f"{split}_dataloader"] = _shrink_loader(loader, split)
            write_dataset(toy[f"{split}_dataloader"].dataset, toy.model, root, split, count)
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


def _shrink_images(toy: Config, model: Mapping[str, Any]) -> None:
    """Scale every length in pixels so that the training crop becomes the toy one."""
    size = model["data_preprocessor"].get("size") or (TOY_CROP_PX,)
    factor = TOY_CROP_PX / min(size)
    for key in [k for k in toy if k != "model"]:
        toy[key] = _scale_lengths(toy[key], factor, key)
    for key in ("data_preprocessor", "train_cfg", "test_cfg"):
        if toy.model.get(key):
            toy.model[key] = _scale_lengths(toy.model[key], factor, key)


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


def _write_seg_dataset(
    dataset: ConfigDict, model: Mapping[str, Any], root: Path, split: str, count: int
) -> None:
    """Write `count` images and label maps for a data set, and point it at them."""
    folders = {"img_path": f"images/{split}", "seg_map_path": f"labels/{split}"}
    dataset.update(data_root=str(root), data_prefix=folders)
    dataset.pop("ann_file", None)
    for folder in folders.values():
        (root / folder).mkdir(parents=True, exist_ok=True)
    built = DATASETS.build({**dataset, "pipeline": [], "lazy_init": True})
    num_classes = len(built.metainfo["classes"])
    ignored = 0 if built.reduce_zero_label else model["decode_head"].get("ignore_index", 255)
    rng = np.random.default_rng(list(TOY_IMAGES).index(split))
    for index in range(count):
        labels = _toy_labels(rng, num_classes)
        image = _toy_image(rng, labels)
        values = np.where(labels < 0, ignored, labels + int(built.reduce_zero_label)).astype(np.uint8)
        cv2.imwrite(str(root / folders["img_path"] / f"{index}{built.img_suffix}"), image)
        cv2.imwrite(str(root / folders["seg_map_path"] / f"{index}{built.seg_map_suffix}"), values)


def _toy_labels(rng: np.random.Generator, num_classes: int) -> np.ndarray:
    """Return a (H, W) map of rectangles, the first and the last class among them; −1 is unlabelled."""
    blocks = rng.integers(num_classes, size=(3, 4))
    blocks[0, 0], blocks[1, 1], blocks[2, 2] = 0, num_classes - 1, -1
    height, width = TOY_IMAGE_PX
    return np.kron(blocks, np.ones((height // 3, width // 4), int))


def _toy_image(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    """Return a (H, W, 3) uint8 image in which each class has its own colour, under noise."""
    colours = (labels[..., None] + 1) * np.array([37, 91, 53]) % 200
    return (colours + rng.integers(56, size=colours.shape)).astype(np.uint8)


#: By default scope: what narrows the heads, and what writes the data of one split.
_SCOPES: dict[str, tuple[Callable, Callable]] = {"mmseg": (_shrink_seg_heads, _write_seg_dataset)}
