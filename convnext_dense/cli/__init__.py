"""`convnext-dense VERB`; the scripts in `tools/` call the same code.

Only argument parsing happens here, so that `--help` answers at once: a verb loads its libraries when it runs.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

from .._version import __version__
from ..errors import EXIT_INTERRUPTED, EXIT_USER_ERROR, UserError
from ..imports import uncollected
from . import benchmark, completion, config, data, doctor, listing, predict, test, train, weights
from .parser import Parser
from .verb import Verb

#: In the order of the help: what is trained and used, then data, weights, configs, and the machine.
VERBS: tuple[Verb, ...] = (
    train.VERB,
    test.VERB,
    predict.VERB,
    *data.VERBS,
    weights.VERB,
    listing.VERB,
    config.VERB,
    benchmark.VERB,
    doctor.VERB,
    completion.VERB,
)


def build_parser(typed: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of `convnext-dense` with all its verbs.

    Args:
        typed: The one verb whose arguments are needed: those of the others are left out, and what they import
            is not missed where it is not installed.
    """
    parser = Parser(
        prog="convnext-dense",
        description="Detection and segmentation with ConvNeXt.",
        epilog="`convnext-dense VERB --help` has examples, `convnext-dense doctor` looks at the installation",
    )
    parser.add_argument("--version", action="version", version=f"convnext-dense {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb in VERBS:
        verb.add_to(verbs, with_arguments=typed in (None, verb.name))
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code (0 done, 2 a mistake of the user's, 130 interrupted).

    Args:
        argv: Arguments without the program's name; those of the process if None.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words:
        build_parser("").print_help()
        return EXIT_USER_ERROR
    typed = next((word for word in words if not word.startswith("-")), "")
    try:
        args = build_parser(typed).parse_args(words)
        args.words = words[words.index(typed) + 1 :]  # as typed, for messages that say what to type next
        return _run(args)
    except UserError as error:
        if "--debug" in words:
            traceback.print_exc()
        if _reports():
            print(f"error: {error}", file=sys.stderr)
        if "WORLD_SIZE" not in os.environ and not _joined():
            # Python's last collection takes a second for libraries of this size, and finds nothing of use.
            # (One of several processes takes its time: torchrun ends the others, of which one has to tell.)
            atexit.register(gc.freeze)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED


def _run(args: argparse.Namespace) -> int:
    if getattr(args, "config", None):
        from ..config_files import find_config

        find_config(args.config)  # a mistyped name is told at once, before the libraries load
    module, function = args.target.split(":")
    try:
        with uncollected():
            run = getattr(import_module(module), function)
    except (ImportError, OSError) as error:
        raise UserError(
            f"a library does not load: {type(error).__name__}: {error}",
            f"the environment of {sys.executable}",
            "`convnext-dense doctor` says what is missing and how to mend it",
        ) from error
    return run(args) or 0


def _reports() -> bool:
    """Whether this process tells of an error.

    Before the processes are joined they all meet the same mistakes, and one of each host tells. Later each
    has data of its own.
    """
    return _joined() or os.environ.get("LOCAL_RANK", "0") == "0"


def _joined() -> bool:
    """Whether this process is one of a group."""
    distributed = sys.modules.get("torch.distributed")
    return distributed is not None and distributed.is_available() and distributed.is_initialized()
