"""`new-config`: a short config for a data set, on the right base, with a recipe that fits the machine."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ..commands import command
from ..errors import UserError
from .coco import category_names
from .config_text import (
    base_list,
    detection_pipelines,
    header,
    init_cfg_line,
    named_classes,
    palette_text,
    pipeline_line,
    slim_detector,
    tuple_text,
)
from .recipe import PUBLISHED, SIZES, backbone_settings, fit_recipe

#: How often a run is evaluated.
_EVALUATIONS = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `new-config` to `parser`."""
    parser.add_argument("--model", required=True, choices=tuple(PUBLISHED), help="what to train")
    parser.add_argument(
        "--size",
        default="tiny",
        choices=tuple(SIZES),
        metavar="SIZE",
        help=f"of ConvNeXt: {', '.join(SIZES)} (default: tiny)",
    )
    parser.add_argument("--devices", type=int, default=1, metavar="N", help="GPUs; 1 for a CPU (default: 1)")
    parser.add_argument(
        "--out", required=True, metavar="PY", help="config to write, e.g. configs/custom/mine.py"
    )
    parser.add_argument(
        "--coco", nargs=2, metavar=("TRAIN", "VAL"), help="COCO annotation files, for the detectors"
    )
    parser.add_argument(
        "--masks", nargs=2, metavar=("TRAIN", "VAL"), help="folders of label maps, for upernet"
    )
    parser.add_argument(
        "--images",
        nargs="+",
        required=True,
        metavar="DIR",
        help="folders of the images of both, or one for both",
    )
    parser.add_argument(
        "--classes", nargs="+", metavar="NAME", help="names in the order of their labels, or a file"
    )
    parser.add_argument("--img-suffix", default=".jpg", help="of images with --masks (default: .jpg)")
    parser.add_argument("--mask-suffix", default=".png", help="of label maps (default: .png)")
    parser.add_argument(
        "--reduce-zero-label", action="store_true", help="value 0 does not count, 1 is the first class"
    )
    parser.add_argument(
        "--ignore-index", type=int, default=255, metavar="V", help="value that does not count"
    )
    parser.add_argument(
        "--epochs", type=int, metavar="N", help="passes over the data (default: as published)"
    )
    parser.add_argument(
        "--lr", type=float, metavar="X", help="learning rate (default: the published one, fitted)"
    )
    parser.add_argument("--short-side", type=int, metavar="PX", help="size of the images in the network")
    parser.add_argument(
        "--weights", metavar="FILE", help="ImageNet weights; none for from scratch (default: published)"
    )
    parser.add_argument("--slim", action="store_true", help="narrow heads, for training on a CPU")
    parser.add_argument("--force", action="store_true", help="replace a config that is there")


def run(args: argparse.Namespace) -> int:
    """Write the config and say what to run next; returns 0."""
    out = Path(args.out)
    if out.exists() and not args.force:
        raise UserError("the config is there already", str(out), "name another --out, or add --force")
    if out.suffix != ".py":
        raise UserError(f"a config's name ends in .py, this is {out.name}", "--out", "name a .py file")
    for name, value in (
        ("--devices", args.devices),
        ("--epochs", args.epochs),
        ("--lr", args.lr),
        ("--short-side", args.short_side),
    ):
        if value is not None and (value <= 0 if name == "--lr" else value < 1):
            raise UserError(f"{name} is {value}", "the command line", "give a number above 0")
    text = _segmentor(args) if args.model == "upernet" else _detector(args)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"the config cannot be written: {error.strerror}", str(out), "name another"
        ) from error
    sys.stdout.write(
        f"{text.split(chr(34) * 3)[1]}\nwritten to {out}\n"
        f"next: {command('check-data', out)}\n      {command('train', out)}\n"
    )
    return 0


def _folders(
    args: argparse.Namespace, sources: Sequence[str] | None, flag: str
) -> tuple[str, list[str], list[str]]:
    """Return the common root; below it the sources and folders of images, for training and validation."""
    if not sources:
        raise UserError(f"--model {args.model} needs {flag} TRAIN VAL", "the command line", f"add {flag}")
    images = list(args.images) * 2 if len(args.images) == 1 else list(args.images)
    if len(images) != 2:
        raise UserError(f"--images names {len(images)} folders", "the command line", "name one or two")
    for path in (*sources, *images):
        if not Path(path).exists():
            raise UserError("no such file or folder", path, "correct the path")
    if any(os.path.isabs(path) for path in (*sources, *images)):
        sources, images = ([os.path.abspath(path) for path in paths] for paths in (sources, images))
    parents = [os.path.dirname(os.path.normpath(path)) for path in (*sources, *images)]
    root = os.path.commonpath(parents)
    if root in ("", os.sep):  # nothing in common
        return "", list(sources), images
    return (
        root,
        [os.path.relpath(p, root or ".") for p in sources],
        [os.path.relpath(p, root or ".") for p in images],
    )


def _detector(args: argparse.Namespace) -> str:
    from .coco_records import load_lists

    root, (train, val), (train_images, val_images) = _folders(args, args.coco, "--coco")
    names = category_names(args.coco[0])
    classes = named_classes(args.classes) or names
    if absent := [name for name in classes if name not in names]:
        raise UserError(
            f"the annotation file has no category {', '.join(absent)}",
            args.coco[0],
            f"it has {', '.join(names)}",
        )
    recipe = fit_recipe(
        args.model, len(load_lists(Path(args.coco[0]))["images"]), args.devices, args.epochs, args.lr
    )
    arch, dims, weights, layer_scale, drop_path, layers = backbone_settings(args.size)
    every = max(1, recipe.epochs // _EVALUATIONS)
    bases = [f"models/{args.model}_convnext", "datasets/coco_instance", "schedules/adamw_3x", "runtime_det"]
    first, second = round(0.75 * recipe.epochs), round(0.92 * recipe.epochs)  # of 36: 27 and 33
    return f'''{header(args, recipe, f"{len(classes)} classes")}
_base_ = {base_list(args, bases)}

data_root = "{root}"
metainfo = dict(classes={tuple_text(classes)}, palette={palette_text(len(classes))})
{detection_pipelines(args.short_side)}train_dataloader = dict(
    batch_size={recipe.batch // args.devices},
    num_workers=2,
    dataset=dict(
        # An annotation that cannot be right is an error; "skip" leaves it out with a notice.
        faulty="error",
        metainfo=metainfo,
        data_root=data_root,
        ann_file="{train}",
        data_prefix=dict(img="{train_images}"),{pipeline_line(args.short_side, "train")}
    ),
)
val_dataloader = dict(
    num_workers=2,
    dataset=dict(
        faulty="error",
        metainfo=metainfo,
        data_root=data_root,
        ann_file="{val}",
        data_prefix=dict(img="{val_images}"),{pipeline_line(args.short_side, "test")}
    ),
)
test_dataloader = val_dataloader

# The number of classes in the heads follows from the data.
model = dict(
    backbone=dict(
        arch="{arch}",
        layer_scale_init_value={layer_scale},
        drop_path_rate={drop_path},{init_cfg_line(args.weights, weights)}
    ),
    neck=dict(in_channels={list(dims)}{", out_channels=64" if args.slim else ""}),{slim_detector(args)}
)
optim_wrapper = dict(
    optimizer=dict(lr={recipe.lr:g}),
    paramwise_cfg=dict(decay_rate={PUBLISHED[args.model].decay_rate}, num_layers={layers}),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, begin=0, end={recipe.warm_up}, by_epoch=False),
    dict(type="MultiStepLR", milestones=[{first}, {second}], gamma=0.1, end={recipe.epochs}, by_epoch=True),
]
train_cfg = dict(max_epochs={recipe.epochs}, val_interval={every})
default_hooks = dict(checkpoint=dict(interval={every}), logger=dict(interval=10))
auto_scale_lr = dict(base_batch_size={recipe.batch})
'''


def _segmentor(args: argparse.Namespace) -> str:
    root, (train, val), (train_images, val_images) = _folders(args, args.masks, "--masks")
    classes = named_classes(args.classes)
    if not classes:
        raise UserError(
            "--masks needs --classes", "the command line", "name them in the order of their values"
        )
    images = sum(path.name.endswith(args.img_suffix) for path in Path(args.images[0]).rglob("*"))
    if not images:
        raise UserError(
            f"there are no images whose name ends in {args.img_suffix!r}", args.images[0], "set --img-suffix"
        )
    recipe = fit_recipe(args.model, images, args.devices, args.epochs, args.lr)
    arch, dims, weights, layer_scale, drop_path, layers = backbone_settings(args.size)
    every = max(1, recipe.iterations // _EVALUATIONS)
    bases = ["models/upernet_convnext", "datasets/ade20k_512", "schedules/adamw_160k", "runtime_seg"]
    side = args.short_side or 512
    norm = 'norm_cfg=dict(type="BN"), ' if args.devices == 1 else ""
    ignore = f"ignore_index={args.ignore_index}, " if args.ignore_index != 255 else ""
    decay_type = "layer_wise" if arch.startswith("v2_") else "stage_wise"
    data = f'''type="BaseSegDataset",
        metainfo=metainfo,
        data_root=data_root,
        img_suffix="{args.img_suffix}",
        seg_map_suffix="{args.mask_suffix}",
        reduce_zero_label={args.reduce_zero_label},'''
    return f'''{header(args, recipe, f"{len(classes)} classes")}
_base_ = {base_list(args, bases)}

data_root = "{root}"
metainfo = dict(classes={tuple_text(classes)}, palette={palette_text(len(classes))})
# Images are scaled to this shorter side, varied by 0.5 to 2 in training, and cropped to squares of it.
side = {side}
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="RandomResize", scale=(4 * side, side), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=(side, side), cat_max_ratio=0.75, ignore_index={args.ignore_index}),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(4 * side, side), keep_ratio=True),
    dict(type="LoadAnnotations"),
    dict(type="PackSegInputs"),
]
train_dataloader = dict(
    batch_size={recipe.batch // args.devices},
    num_workers=2,
    dataset=dict(
        {data}
        data_prefix=dict(img_path="{train_images}", seg_map_path="{train}"),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    num_workers=2,
    dataset=dict(
        {data}
        data_prefix=dict(img_path="{val_images}", seg_map_path="{val}"),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ignore_index={args.ignore_index})
test_evaluator = val_evaluator

# The number of classes in both heads follows from the data.
model = dict(
    data_preprocessor=dict(size=(side, side), seg_pad_val={args.ignore_index}),
    backbone=dict(
        arch="{arch}",
        layer_scale_init_value={layer_scale},
        drop_path_rate={drop_path},{init_cfg_line(args.weights, weights)}
    ),
    decode_head=dict({"channels=64, " if args.slim else ""}{norm}{ignore}in_channels={list(dims)}),
    auxiliary_head=dict({"channels=32, " if args.slim else ""}{norm}{ignore}in_channels={dims[2]}),
    test_cfg=dict(crop_size=(side, side), stride=(2 * side // 3, 2 * side // 3)),
)
optim_wrapper = dict(
    optimizer=dict(lr={recipe.lr:g}),
    paramwise_cfg=dict(decay_type="{decay_type}", num_layers={layers}),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6, begin=0, end={recipe.warm_up}, by_epoch=False),
    dict(type="PolyLR", power=1.0, eta_min=0.0, begin=0, end={recipe.iterations}, by_epoch=False),
]
train_cfg = dict(max_iters={recipe.iterations}, val_interval={every})
default_hooks = dict(checkpoint=dict(interval={every}), logger=dict(interval=10))
auto_scale_lr = dict(base_batch_size={recipe.batch})
'''
