"""`convnext-dense benchmark`: its arguments."""

from __future__ import annotations

import argparse

from .verb import Verb


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "cases", nargs="*", metavar="CASE", help="roi_align, nms, upernet_head (default: all)"
    )
    parser.add_argument(
        "--rounds", type=int, default=9, metavar="N", help="times each side runs (default: 9)"
    )
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: torch's choice)")
    parser.add_argument("--out", metavar="FILE", help="also write the results there, as JSON")


VERB = Verb(
    "benchmark",
    "time the toolkit against its peers",
    "convnext_dense.benchmark:run",
    ("", "roi_align nms --threads 1", "upernet_head --rounds 15 --out upernet_head.json"),
    _add_arguments,
)
