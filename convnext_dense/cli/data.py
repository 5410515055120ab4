"""The verbs on data sets, whose arguments stand beside what they do."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module

from .verb import Verb, add_cfg_options, add_config


def _arguments_of(module: str) -> Callable[[argparse.ArgumentParser], None]:
    """Return what adds a verb's arguments: a function of its module, imported when the verb is typed."""

    def add(parser: argparse.ArgumentParser) -> None:
        import_module(f"convnext_dense.data.{module}").add_arguments(parser)

    return add


def _add_browse_data(parser: argparse.ArgumentParser) -> None:
    add_config(parser, "whose data to draw")
    parser.add_argument("--split", choices=("train", "val", "test"), default="train", help="default: train")
    parser.add_argument(
        "--number", type=int, default=12, metavar="N", help="samples, spread over the data set (default: 12)"
    )
    parser.add_argument(
        "--views", type=int, default=2, metavar="K", help="augmented forms of each (default: 2)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the augmentation (default: 0)")
    parser.add_argument(
        "--out", metavar="DIR", help="folder (default: work_dirs/<config name>/browse/<split>)"
    )
    add_cfg_options(parser)


VERBS = (
    Verb(
        "prepare-data",
        "get or make a data set",
        "convnext_dense.data.prepare:run",
        ("shapes", "ade20k", "split data/nuts/trainval.json --val 4"),
        _arguments_of("prepare"),
    ),
    Verb(
        "check-data",
        "find what is wrong with a data set",
        "convnext_dense.data.check:run",
        (
            "upernet_convnext_b --full",
            "--coco train.json --images images",
            "--masks masks/train --images images/train --classes classes.txt",
        ),
        _arguments_of("check"),
    ),
    Verb(
        "new-config",
        "write a config for a data set",
        "convnext_dense.data.new_config:run",
        (
            "--model mask_rcnn --coco train.json val.json --images images --out nuts.py",
            "--model mask_rcnn --coco train.json val.json --images images --slim --out nuts_on_cpu.py",
            "--model upernet --masks masks/train masks/val --images images/train images/val "
            "--classes classes.txt --out streets.py",
        ),
        _arguments_of("new_config"),
    ),
    Verb(
        "browse-data",
        "draw augmented samples",
        "convnext_dense.report.browse:run",
        (
            "upernet_convnext_atto_shapes",
            "mask_rcnn_convnext_t --split val --number 30 --views 1",
            "mask_rcnn_convnext_t --seed 1 --out samples",
        ),
        _add_browse_data,
    ),
    Verb(
        "convert-data",
        "convert annotations to COCO JSON or label maps",
        "convnext_dense.data.convert:run",
        (
            "voc --images images --annotations xml --out train.json",
            "yolo --images images --annotations labels --classes classes.txt --out train.json",
            "masks --masks coloured --colors colors.txt --out label_maps",
        ),
        _arguments_of("convert"),
    ),
)
