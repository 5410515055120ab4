"""`convnext-dense benchmark`: its arguments."""

from __future__ import annotations

import argparse

from .verb import Verb


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("give 1 or more")
    return number


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "cases",
        nargs="*",
        metavar="CASE",
        help="backbone, upernet, upernet_head, mask_rcnn, cascade, roi_align, nms, masks, eval, pipeline "
        "(default: each once); or overview: all comparisons of docs/benchmarks.md",
    )
    parser.add_argument("--mode", choices=("infer", "train"), help="default: infer")
    parser.add_argument("--dtype", choices=("fp32", "bf16", "fp16"), help="default: fp32")
    parser.add_argument("--arch", help="size of the ConvNeXt (default: tiny); `list models` shows all")
    parser.add_argument(
        "--size", nargs="+", type=int, metavar="PX", help="side, or height and width (default: the case's)"
    )
    parser.add_argument("--batch", type=_positive, metavar="N", help="images at once (default: 1)")
    parser.add_argument("--compile", action="store_true", help="all sides by torch.compile, too")
    parser.add_argument("--rounds", type=_positive, metavar="N", help="times each side runs (default: 5)")
    parser.add_argument(
        "--threads", type=_positive, metavar="N", help="CPU threads (default: torch's choice)"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cpu")
    parser.add_argument(
        "--peers",
        nargs="+",
        metavar="PEER",
        help="transformers, mmpretrain, timm, torchvision, plain, stock, 'compiled mmcv', pycocotools "
        "(default: all that load)",
    )
    parser.add_argument(
        "--number", type=_positive, metavar="N", help="images of eval (default: 500) and pipeline (100)"
    )
    parser.add_argument(
        "--data", metavar="DIR", help="root of COCO or ADE20K for pipeline (default: generated)"
    )
    parser.add_argument(
        "--step-s", type=float, metavar="S", help="seconds of a training step that pipeline is held against"
    )
    parser.add_argument("--out", metavar="FILE", help="also write the results there, as JSON")


VERB = Verb(
    "benchmark",
    "time the toolkit against its peers",
    "convnext_dense.benchmark.command:run",
    (
        "backbone --arch base --size 512 --peers transformers plain",
        "upernet --mode train --batch 2 --threads 1 --out upernet.json",
        "roi_align nms masks --rounds 15",
    ),
    _add_arguments,
)
