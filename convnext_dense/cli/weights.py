"""`convnext-dense convert-weights`: its arguments."""

from __future__ import annotations

import argparse

from .verb import Verb

#: As `convnext_dense.weights.convert` has them, which takes seconds to import.
FORMATS = ("original", "timm", "hf", "torchvision", "mmpretrain", "safetensors")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", nargs="?", metavar="IN", help="checkpoint of any family: file, folder, URL or short name"
    )
    parser.add_argument(
        "out",
        nargs="?",
        metavar="OUT",
        help="file to write (.pth, .safetensors, …); with --to hf also a folder",
    )
    parser.add_argument(
        "--to",
        choices=FORMATS,
        metavar="FORMAT",
        help=f"whose names, shapes and nesting to write: {', '.join(FORMATS)}",
    )
    parser.add_argument(
        "--inspect", action="store_true", help="write nothing; print family, arch, task, shapes and classes"
    )
    parser.add_argument("--list", action="store_true", help="print the published weights by short name")
    parser.add_argument(
        "--lossy", action="store_true", help="leave out output norms and heads that have no place there"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it is there")


VERB = Verb(
    "convert-weights",
    "convert or inspect a checkpoint",
    "convnext_dense.weights.command:run",
    (
        "convnext_tiny_1k_224.pth --inspect",
        "convnext_tiny_1k convnext_tiny --to hf",
        "convnext_tiny convnext_tiny_timm.safetensors --to timm",
    ),
    _add_arguments,
)
