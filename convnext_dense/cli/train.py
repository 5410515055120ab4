"""`convnext-dense train`: its arguments."""

from __future__ import annotations

import argparse

from .verb import Verb, add_config, add_run_arguments


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser, "what to train")
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="PATH",
        help="continue the run of the work dir from its newest checkpoint, or from PATH",
    )
    parser.add_argument(
        "--load-from", metavar="PATH", help="start from the weights of a checkpoint (a new run)"
    )
    parser.add_argument("--skip-check", action="store_true", help="train without a look at the data first")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="build everything, run a few iterations, say what the training would be and take, and stop",
    )
    parser.add_argument("--tensorboard", action="store_true", help="also write TensorBoard's event files")
    parser.add_argument(
        "--profile",
        action="store_true",
        help="record a few iterations: a trace, the dearest operators, the share of waiting for data",
    )
    parser.add_argument("--amp", action="store_true", help="mixed precision (fp16)")
    parser.add_argument(
        "--auto-scale-lr", action="store_true", help="scale the learning rate with the total batch size"
    )
    parser.add_argument(
        "--auto-scale",
        action="store_true",
        help="adapt the recipe to the number of GPUs: accumulate gradients up to the published batch, "
        "keep the samples of the schedule, and say what was changed",
    )
    parser.add_argument(
        "--auto-scale-norm",
        choices=("BN", "GN"),
        default="BN",
        help="with --auto-scale, what replaces SyncBN in one process (default: BN)",
    )
    _add_fine_tuning(parser)
    add_run_arguments(parser)


def _add_fine_tuning(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("fine-tuning")
    group.add_argument(
        "--keep-class-rows",
        action="store_true",
        help="with --load-from: keep the heads' rows of classes with the same name as the checkpoint's",
    )
    group.add_argument(
        "--frozen-stages",
        type=int,
        choices=range(5),
        metavar="0-4",
        help="train none of the backbone's first stages",
    )
    group.add_argument(
        "--ema",
        type=float,
        metavar="MOMENTUM",
        help="average the weights over about 1/MOMENTUM steps, and evaluate and save the average",
    )
    group.add_argument(
        "--early-stopping", type=int, metavar="N", help="stop when N evaluations in a row are no better"
    )
    group.add_argument(
        "--repeat-rare",
        type=float,
        metavar="SHARE",
        help="detection: repeat images with classes that fewer than this share of the images show",
    )
    group.add_argument(
        "--class-weights", action="store_true", help="segmentation: weigh rare classes more in the loss"
    )


VERB = Verb(
    "train",
    "train a model",
    "convnext_dense.engine.launch:train",
    (
        "upernet_convnext_b",
        "mask_rcnn_convnext_t --auto-scale --dry-run",
        "upernet_convnext_b --cfg-options train_dataloader.batch_size=4",
    ),
    _add_arguments,
)
