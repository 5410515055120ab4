"""The commands of `docs/benchmarks.md`."""

import re
import shlex
from pathlib import Path

import pytest

from convnext_dense.benchmark.cases import NAMES, OVERVIEW
from convnext_dense.cli import build_parser

PAGE = (Path(__file__).parents[2] / "docs/benchmarks.md").read_text()
COMMANDS = [
    line for block in re.findall(r"^```bash\n(.*?)^```", PAGE, re.M | re.S) for line in block.splitlines()
]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_parse_and_name_cases(command):
    """They take minutes; `tests/benchmark` runs each case on small images."""
    program, *words = shlex.split(command.removeprefix("python "))
    assert program == "tools/benchmark.py"
    cases = build_parser().parse_args(["benchmark", *words]).cases
    assert set(cases) <= {*NAMES, OVERVIEW}
    assert cases
