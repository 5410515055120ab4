"""`convnext-dense completion`: what makes a shell complete verbs, flags, configs and files."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from ..errors import UserError
from .verb import Verb, say

SHELLS = ("bash", "zsh", "fish")
#: Arguments that are files or folders by their name in the parsed arguments.
_FILES = (
    "checkpoint",
    "resume",
    "out",
    "load_from",
    "inputs",
    "coco",
    "classes",
    "colors",
    "annotations",
    "weights",
)
_FOLDERS = ("work_dir", "show_dir", "root", "images", "masks", "data")
#: Shipped configs by name, and files. (To bash, `_file` in a function's name says that it completes files.)
_CONFIG_FUNCTION = "_convnext_dense_config_file"
_NAMES = "convnext-dense list --names 2>/dev/null"
_CONFIG = {
    "bash": _CONFIG_FUNCTION,
    "zsh": _CONFIG_FUNCTION,
    "fish": f"({_NAMES}; __fish_complete_path (commandline -ct))",
    "preamble": {
        "bash": f"""
{_CONFIG_FUNCTION}() {{
  compgen -W "$({_NAMES})" -- "$1"
  compgen -f -- "$1"
}}""",
        "zsh": f"""
{_CONFIG_FUNCTION}() {{
  compadd -- ${{(f)"$({_NAMES})"}}
  _files
}}""",
    },
}


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, help="the shell that is to complete")


def run(args: argparse.Namespace) -> None:
    """Print the completion script of a shell.

    Raises:
        UserError: shtab, which writes it, is not installed.
    """
    try:
        import shtab
    except ImportError as error:
        raise UserError(
            "completion scripts are written by shtab, which is not installed",
            f"convnext-dense completion {args.shell}",
            "pip install shtab",
        ) from error
    from . import build_parser

    completers: dict[str, Any] = {"config": _CONFIG}
    completers |= dict.fromkeys(_FILES, shtab.FILE) | dict.fromkeys(_FOLDERS, shtab.DIRECTORY)
    parser = build_parser()
    _set_completers(parser, completers)
    say(shtab.complete(parser, shell=args.shell) + "\n")


def _set_completers(parser: argparse.ArgumentParser, completers: Mapping[str, Any]) -> None:
    """Tell shtab, in the way that it wants, how the arguments of a parser and of its verbs are completed."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                _set_completers(below, completers)
        elif action.dest in completers and not action.choices:
            action.complete = completers[action.dest]  # type: ignore[attr-defined]


VERB = Verb(
    "completion",
    "print a shell's completion script",
    "convnext_dense.cli.completion:run",
    (
        "bash > ~/.local/share/bash-completion/completions/convnext-dense",
        'zsh > "${fpath[1]}/_convnext-dense"',
        "fish > ~/.config/fish/completions/convnext-dense.fish",
    ),
    _add_arguments,
)
