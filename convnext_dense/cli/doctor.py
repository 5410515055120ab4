"""`convnext-dense doctor`: what is found, as lines for a terminal or as JSON."""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

from .verb import Verb, say

if TYPE_CHECKING:
    from ..doctor import Finding

#: The exit code when something needed is missing.
EXIT_MISSING = 1


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", metavar="DIR", default="data", help="folder to look for data sets in (default: data)"
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def run(args: argparse.Namespace) -> int:
    """Print what is found; returns 1 if something needed is missing, else 0."""
    from ..doctor import examine

    findings = []
    for finding in examine(Path(args.data)):
        findings.append(finding)
        if not args.json:
            say(_as_text(finding))
    missing = [finding.name for finding in findings if finding.state == "missing"]
    if args.json:
        say(json.dumps([asdict(finding) for finding in findings], indent=1) + "\n")
    else:
        end = f"needed and missing: {', '.join(missing)}" if missing else "all that is needed is here"
        say(f"\n{end}\n")
    return EXIT_MISSING if missing else 0


def _as_text(finding: Finding) -> str:
    head = f"{finding.state:<8}{finding.name:<14}"
    width = max(40, shutil.get_terminal_size().columns - len(head))
    text = [part for line in finding.text.splitlines() for part in _wrapped(line, width)]
    lines = [*text, *(f"fix: {line}" for line in finding.fix.splitlines())]  # whole, to be copied
    return head + f"\n{' ' * len(head)}".join(lines) + "\n"


def _wrapped(line: str, width: int) -> list[str]:
    return wrap(line, width, break_long_words=False, break_on_hyphens=False)  # paths stay whole


VERB = Verb(
    "doctor",
    "look at the installation and say what is missing",
    "convnext_dense.cli.doctor:run",
    ("", "--data /mnt/datasets", "--json > machine.json"),
    _add_arguments,
)
