"""`convnext-dense test`: its arguments."""

from __future__ import annotations

import argparse

from .verb import Verb, add_config, add_run_arguments


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser, "what the checkpoint was trained with")
    parser.add_argument("checkpoint", help="checkpoint file, e.g. work_dirs/<config>/latest/best.pth")
    parser.add_argument(
        "--tta", action="store_true", help="test-time augmentation as the config's tta_model says"
    )
    parser.add_argument("--out", metavar="DIR", help="also write the predictions there (PNG or COCO JSON)")
    parser.add_argument(
        "--show-dir", metavar="DIR", help="draw the first predictions beside the truth, as PNG"
    )
    add_run_arguments(parser)


VERB = Verb(
    "test",
    "evaluate a checkpoint",
    "convnext_dense.engine.launch:test",
    (
        "upernet_convnext_b work_dirs/upernet_convnext_b/latest/best.pth",
        "upernet_convnext_b upernet_convnext_base_1k_512x512 --tta",
        "mask_rcnn_convnext_t mask_rcnn_convnext_tiny_1k_3x --out results --show-dir pictures",
    ),
    _add_arguments,
)
