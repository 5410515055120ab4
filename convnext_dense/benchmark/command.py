"""`convnext-dense benchmark`: its arguments, and running the cases."""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..errors import UserError
from .cases import NAMES, OVERVIEW, Case, Comparison, load_case
from .peers import check_names
from .setting import Setting
from .table import print_comparison, to_json

_STRIDE = 32  #: of the deepest map, by which images' sizes must be divisible
#: Cases and settings of docs/benchmarks.md.
_TABLE: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("backbone", {"arch": "tiny"}),
    ("backbone", {"arch": "base"}),
    ("backbone", {"arch": "tiny", "mode": "train"}),
    ("backbone", {"arch": "base", "mode": "train"}),
    ("backbone", {"arch": "v2_tiny"}),
    ("upernet", {"arch": "tiny"}),
    ("upernet", {"arch": "tiny", "dtype": "bf16"}),
    ("upernet", {"arch": "tiny", "mode": "train", "batch": 2}),
    ("upernet", {"arch": "base"}),
    ("mask_rcnn", {}),
    ("cascade", {}),
    ("roi_align", {}),
    ("nms", {}),
    ("masks", {}),
    ("eval", {}),
    ("pipeline", {}),
)


def run(args: argparse.Namespace) -> None:
    """Run the cases of the command line, print a table of each and write JSON if asked.

    Raises:
        UserError: A case, a peer, a size or a device that there is not.
    """
    given = _given(args)
    if args.threads:
        torch.set_num_threads(args.threads)
    # The libraries warn of each other's old interfaces, about which their user can do nothing.
    warnings.filterwarnings("ignore", module=r"(mm\w+|torch|transformers)\..*")
    done: list[Comparison] = []
    for name, case, setting, notes in list(_jobs(args.cases, given)):
        for comparison in case.run(setting):
            comparison = replace(comparison, case=name, heeds=case.heeds, notes=[*comparison.notes, *notes])
            print_comparison(comparison)
            done.append(comparison)
            if args.out:  # after each, so that an interruption leaves what was measured
                Path(args.out).write_text(json.dumps(to_json(done, setting.device), indent=1) + "\n")


def _jobs(names: Sequence[str], given: Mapping[str, Any]) -> Iterator[tuple[str, Case, Setting, list[str]]]:
    """Yield each case's name, the case, its setting, and notes on options that it does not heed."""
    chosen: list[tuple[str, Mapping[str, Any]]] = []
    for name in names or NAMES:
        chosen += _TABLE if name == OVERVIEW else [(name, {})]
    for name, row in chosen:
        case = load_case(name)
        heeded = {"rounds", "peers", "device", *case.heeds}
        options = {key: value for key, value in given.items() if key in heeded}
        idle = [f"--{key.replace('_', '-')}" for key in given if key not in heeded]
        notes = [f"without effect here: {' '.join(idle)}"] if idle else []
        yield name, case, Setting(**{**case.defaults, **options, **row}), notes


def _given(args: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that the command line gives, checked."""
    names = ("mode", "dtype", "arch", "batch", "rounds", "device", "number", "data", "step_s")
    given = {name: value for name in names if (value := getattr(args, name)) is not None}
    if args.compile:
        given["compile"] = True
    if args.size is not None:
        given["size"] = _size(args.size)
    if args.peers is not None:
        given["peers"] = tuple(args.peers)
        check_names(given["peers"])
    if "arch" in given:
        from ..models.arch import parse_arch

        parse_arch(given["arch"])
    if given.get("device") == "cuda" and not torch.cuda.is_available():
        raise UserError("torch finds no GPU", "--device cuda", "leave --device out to measure on the CPU")
    if args.data is not None and not Path(args.data).is_dir():
        raise UserError("no such folder", f"--data {args.data}", "name the root of a COCO or ADE20K tree")
    if args.out and not Path(args.out).absolute().parent.is_dir():
        raise UserError("its folder does not exist", f"--out {args.out}", "make the folder first")
    return given


def _size(sides: Sequence[int]) -> tuple[int, int]:
    if len(sides) > 2 or any(side < _STRIDE or side % _STRIDE for side in sides):
        raise UserError(
            "not a size",
            f"--size {' '.join(map(str, sides))}",
            f"give the side of a square or height and width, multiples of {_STRIDE} px: --size 800 1216",
        )
    return sides[0], sides[-1]
