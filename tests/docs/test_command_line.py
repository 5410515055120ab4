"""The commands of `docs/command_line.md`."""

import re
import shlex
from pathlib import Path

import pytest

from convnext_dense.cli import build_parser, main

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/command_line.md").read_text()
COMMANDS = [
    line for block in re.findall(r"^```bash\n(.*?)^```", PAGE, re.M | re.S) for line in block.splitlines()
]


@pytest.mark.parametrize("command", [c for c in COMMANDS if "--help" not in c])
def test_commands_parse(command):
    program, *words = shlex.split(command.partition(" > ")[0])
    assert program == "convnext-dense"
    build_parser().parse_args(words)


def test_quick_ones_run_in_an_empty_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    quick = [c for c in COMMANDS if " train " not in c and "--help" not in c]
    assert len(quick) == len(COMMANDS) - 4 >= 8
    for command in quick:
        assert main(shlex.split(command.partition(" > ")[0])[1:]) == 0
        assert capsys.readouterr().out
    assert "batch_size=4" in (tmp_path / "mine.py").read_text()


def test_the_mistake_looks_as_it_is_shown(capsys):
    assert main(["train", "upernet_convnext_b", "--cfg-options", "model.backbone.drop_path=0.1"]) == 2
    shown = re.search(r"^(error: .*?), …$", PAGE, re.M | re.S)[1]
    assert capsys.readouterr().err.startswith(shown)
