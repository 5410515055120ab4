"""`convnext-dense doctor`: its arguments."""

from __future__ import annotations

import argparse

from .verb import Verb


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", metavar="DIR", default="data", help="folder to look for data sets in (default: data)"
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


VERB = Verb(
    "doctor",
    "look at the installation and say what is missing",
    "convnext_dense.doctor:run",
    ("", "--data /mnt/datasets", "--json > machine.json"),
    _add_arguments,
)
