"""`prepare-data`: bring a data set to where the configs look for it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..commands import command
from ..config_files import typed_config

SHAPES_ROOT, ADE_ROOT, COCO_ROOT = "data/shapes", "data/ade", "data/coco"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the data sets as sub-commands of `parser`."""
    kind = argparse.ArgumentDefaultsHelpFormatter
    sets = parser.add_subparsers(dest="dataset", required=True, metavar="{shapes,ade20k,coco,split}")

    shapes = sets.add_parser(
        "shapes",
        help="generate the embedded data set (seconds)",
        description="Generate scenes of shapes, as COCO instances and as ADE-style label maps.",
        formatter_class=kind,
    )
    shapes.add_argument("--root", default=SHAPES_ROOT, help="folder to write to")
    shapes.add_argument("--train", type=int, default=400, metavar="N", help="number of training scenes")
    shapes.add_argument("--val", type=int, default=80, metavar="N", help="number of validation scenes")
    shapes.add_argument("--size", type=int, default=160, metavar="PX", help="height and width in pixels")
    shapes.add_argument("--seed", type=int, default=0, help="seed of the whole set")

    ade = sets.add_parser(
        "ade20k",
        help="download, verify and unpack ADE20K with its 150 classes (about 1 GB)",
        description="Bring ADEChallengeData2016 to ROOT: download (a broken one goes on where it stopped), "
        "check, unpack, count. A complete tree is left alone.",
    )
    ade.add_argument(
        "--root", default=ADE_ROOT, help=f"folder to download and unpack to (default: {ADE_ROOT})"
    )
    ade.add_argument(
        "--from-archive", metavar="ZIP", help="use this ADEChallengeData2016.zip, download nothing"
    )
    ade.add_argument("--url", help="address of the archive, for a mirror (default: the publisher's)")
    ade.add_argument(
        "--checksum",
        metavar="ALGORITHM:HEX",
        help="the archive's sha256:… or sha1:…, or none (default: the known one of the publisher's archive)",
    )

    coco = sets.add_parser(
        "coco",
        help="download, verify and unpack COCO 2017 (about 20 GB)",
        description="Bring train2017, val2017 and their annotations to ROOT: download (a broken one goes on "
        "where it stopped), check, unpack, count. What is complete is left alone.",
    )
    coco.add_argument(
        "--root", default=COCO_ROOT, help=f"folder to download and unpack to (default: {COCO_ROOT})"
    )
    coco.add_argument(
        "--from-archive",
        nargs="+",
        default=[],
        metavar="ZIP",
        help="use these archives, or those in these folders, and download nothing",
    )
    coco.add_argument("--url", help="address of a mirror with zips/ and annotations/ below it")

    split = sets.add_parser(
        "split",
        help="split a COCO annotation file into training and validation",
        description="Write train.json and val.json beside the annotation file; the same seed gives the "
        "same split everywhere.",
        formatter_class=kind,
    )
    split.add_argument("annotations", help="COCO annotation file of all images")
    split.add_argument("--val", type=int, required=True, metavar="N", help="number of validation images")
    split.add_argument("--seed", type=int, default=0, help="seed of the shuffle")
    split.add_argument("--out", metavar="DIR", help="folder to write to, if not that of the file")


def run(args: argparse.Namespace) -> int:
    """Do what the parsed arguments ask for and say on standard output what was done; returns 0."""
    done = {"shapes": _shapes, "ade20k": _ade20k, "coco": _coco, "split": _split}[args.dataset](args)
    sys.stdout.write("\n".join(done) + "\n")
    return 0


def _shapes(args: argparse.Namespace) -> list[str]:
    from .shapes import CLASSES, write_shapes

    root = write_shapes(args.root, args.train, args.val, args.size, args.seed)
    return [
        f"shapes: {args.train} training and {args.val} validation scenes of {args.size}x{args.size}, "
        f"{len(CLASSES)} classes, in {root}",
        *_next("upernet_convnext_atto_shapes", root, Path(SHAPES_ROOT)),
    ]


def _ade20k(args: argparse.Namespace) -> list[str]:
    from .ade20k import COUNTS, URL, prepare_ade20k

    tree = prepare_ade20k(args.root, args.from_archive, args.url or URL, checksum=args.checksum)
    numbers = " and ".join(f"{number:,} {split}" for split, number in COUNTS.items())
    lines = [f"ADE20K: {numbers} images with their label maps in {tree}"]
    archive = tree.parent / f"{tree.name}.zip"
    if archive.exists():
        lines.append(f"{archive} is no longer needed")
    return [*lines, *_next("upernet_convnext_b", tree.parent, Path(ADE_ROOT))]


def _coco(args: argparse.Namespace) -> list[str]:
    from .coco2017 import PARTS, URL, prepare_coco

    root = prepare_coco(args.root, args.from_archive, args.url or URL)
    lines = [f"COCO 2017: train2017, val2017 and their annotations in {root}"]
    if kept := [part.archive for part in PARTS if (root / part.archive).exists()]:
        lines.append(f"no longer needed: {', '.join(str(root / name) for name in kept)}")
    return [*lines, *_next("mask_rcnn_convnext_t", root, Path(COCO_ROOT))]


def _split(args: argparse.Namespace) -> list[str]:
    from .split import split_coco

    train, val = split_coco(args.annotations, args.val, seed=args.seed, out_dir=args.out)
    return [f"split: {args.val} validation images in {val}, the others in {train}"]


def _next(config: str, root: Path, default: Path) -> list[str]:
    elsewhere = (
        [] if root == default else [f"the configs look in {default}: set data_root to train on this folder"]
    )
    return [*elsewhere, f"next: {command('train', typed_config(config))}"]
