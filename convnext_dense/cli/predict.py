"""`convnext-dense predict`: its arguments."""

from __future__ import annotations

import argparse

from .verb import Verb


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", help="checkpoint of a trained detector or segmentor")
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="image files, folders or globs")
    parser.add_argument(
        "--config", help="config file of the checkpoint (default: the one in it, or config.json beside it)"
    )
    parser.add_argument(
        "--out", metavar="DIR", default="predictions", help="folder of the results (default: predictions)"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1, … (default: cuda if there is one)")
    parser.add_argument(
        "--batch-size", type=int, default=1, metavar="N", help="images of one size at once (default: 1)"
    )
    parser.add_argument(
        "--score-thr",
        type=float,
        metavar="T",
        help="leave out objects that are less certain (default: none in the JSON, 0.3 in the pictures)",
    )
    parser.add_argument("--no-draw", action="store_true", help="write no pictures")


VERB = Verb(
    "predict",
    "predict images with a checkpoint",
    "convnext_dense.predict.files:run",
    (
        "work_dirs/mask_rcnn_convnext_t/latest/best.pth photos",
        "mask_rcnn_convnext_tiny_1k_3x street.jpg --config mask_rcnn_convnext_t --score-thr 0.5",
        "best.pth 'photos/*.jpg' --out results --batch-size 8 --no-draw",
    ),
    _add_arguments,
)
