"""The parts of a written config, as text."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

from ..config_files import configs_folder
from ..errors import UserError
from .class_names import as_classes
from .recipe import PUBLISHED, Recipe


def header(args: argparse.Namespace, recipe: Recipe, classes: str) -> str:
    """Return the config's docstring: how to run it, and what differs from the published recipe."""
    many = args.devices > 1
    out = Path(args.out).as_posix()
    train, test = (
        (f"tools/dist_{verb}.sh", f" {args.devices}") if many else (f"tools/{verb}.py", "")
        for verb in ("train", "test")
    )
    reasons = "\n".join(f"- {reason}" for reason in recipe.reasons)
    return f'''"""{args.model} on ConvNeXt {args.size}, {classes}; from tools/new_config.py.

Train:          {train[0]} {out}{train[1]}
Evaluate:       {test[0]} {out} CHECKPOINT{test[1]}
Hardware:       {args.devices} device{"s" if many else ""} x {recipe.batch // args.devices} images
Published:      nothing comparable; the recipe is that of {PUBLISHED[args.model].source}
Measured here:  no

{recipe.iterations:,} iterations = {recipe.epochs} epochs. What differs from the published recipe:
{reasons}
"""
'''


def base_list(args: argparse.Namespace, bases: Sequence[str]) -> str:
    """Return the list of base configs, relative to the config's folder."""
    folder = os.path.relpath(configs_folder() / "_base_", Path(args.out).absolute().parent)
    lines = "".join(f'    "{folder}/{base}.py",\n' for base in bases)
    return f"[\n{lines}]"


def named_classes(classes: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the names after `--classes`, or those in the file that it names."""
    if not classes:
        return None
    return as_classes(classes[0] if len(classes) == 1 and Path(classes[0]).is_file() else classes)


def tuple_text(names: Sequence[str]) -> str:
    """Return names as a tuple's source."""
    return (
        "("
        + ", ".join(json.dumps(name, ensure_ascii=False) for name in names)
        + ("," if len(names) == 1 else "")
        + ")"
    )


def palette_text(count: int) -> str:
    """Return as many colours, as source."""
    from ..report.colors import spread_colors

    return str(list(spread_colors(count)))


def init_cfg_line(given: str | None, published: str) -> str:
    """Return the backbone's line for its weights: those given, none, or the published ones."""
    if given == "none":
        return ""
    return f'\n        init_cfg=dict(type="Pretrained", checkpoint="{given or published}"),'


def pipeline_line(short_side: int | None, kind: str) -> str:
    """Return a data set's line for a pipeline of another image size than the base's."""
    return f"\n        pipeline={kind}_pipeline," if short_side else ""


def detection_pipelines(short_side: int | None) -> str:
    """Return pipelines of another image size than the base's; nothing for its own."""
    if not short_side:
        return ""
    return f"""image_scale = ({round(short_side * 1333 / 800)}, {short_side})
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="RandomResize", scale=image_scale, ratio_range=(0.6, 1.0), keep_ratio=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=image_scale, keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
]
"""


def slim_detector(args: argparse.Namespace) -> str:
    """Return the lines of narrow heads, if they are asked for: 64 channels instead of 256."""
    if not args.slim:
        return ""
    if args.model != "mask_rcnn":
        raise UserError(
            f"--slim does not know {args.model}",
            "the command line",
            "use mask_rcnn, or write its three stages out",
        )
    return """
    rpn_head=dict(in_channels=64, feat_channels=64),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64),
        bbox_head=dict(in_channels=64, fc_out_channels=256),
        mask_roi_extractor=dict(out_channels=64),
        mask_head=dict(num_convs=2, in_channels=64, conv_out_channels=64),
    ),"""
