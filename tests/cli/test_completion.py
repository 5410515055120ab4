"""The completion scripts, asked by the shells that are here."""

import os
import shutil
import subprocess
import sys

import pytest

from convnext_dense.cli import main

_ASK = """
source "$1"
shift
name=$(complete -p convnext-dense | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
COMP_WORDS=(convnext-dense "$@") COMP_CWORD=$#
"$name" 2>/dev/null
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def bash(tmp_path_factory):
    """A function that returns what bash offers for the last of some words."""
    folder = tmp_path_factory.mktemp("completion")
    program = folder / "bin/convnext-dense"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m convnext_dense.cli "$@"\n')
    program.chmod(0o755)
    written = subprocess.run([program, "completion", "bash"], capture_output=True, text=True, check=True)
    (folder / "script").write_text(written.stdout)
    (folder / "mine.py").touch()
    (folder / "work_dirs").mkdir()
    environment = {**os.environ, "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"}

    def offered(*words):
        done = subprocess.run(
            ["bash", "-c", _ASK, "ask", folder / "script", *words],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        return done.stdout.split()

    return offered


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["tr"], ["train"]),
        (["train", "upernet_convnext_b"], ["upernet_convnext_b", "upernet_convnext_b_in22k"]),
        (["train", "mi"], ["mine.py"]),
        (["train", "upernet_convnext_b", "--load"], ["--load-from"]),
        (["train", "upernet_convnext_b", "--launcher", ""], ["none", "pytorch", "slurm"]),
        (["test", "upernet_convnext_b", "wor"], ["work_dirs"]),
        (["prepare-data", "s"], ["shapes", "split"]),
    ],
)
def test_bash_completes(bash, words, offered):
    assert bash(*words) == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_are_in_their_shells_language(shell, capsys, tmp_path):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "convnext-dense list --names" in script
    if shutil.which(shell):
        (tmp_path / "script").write_text(script)
        subprocess.run([shell, "-n", tmp_path / "script"], check=True)
