"""The body of `tools/convert_weights.py`: convert, inspect, or list what is published."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..errors import UserError
from .convert import FORMATS, convert_weights
from .describe import describe_weights
from .published import find_published, listing


def run(args: argparse.Namespace) -> None:
    """Do what the command line asks for.

    Raises:
        UserError: Arguments are missing or contradict each other, OUT is there already, or a file cannot be
            read, held or written.
    """
    if args.list:
        _say(listing())
        return
    if args.source is None:
        raise UserError("no checkpoint is named", "IN", "convert-weights IN OUT --to FORMAT, or --list")
    if args.inspect:
        if args.out or args.to:
            raise UserError("--inspect writes nothing", "OUT, --to", "leave out OUT and --to, or --inspect")
        _say(describe_weights(args.source))
        return
    if args.out is None or args.to is None:
        missing = "--to" if args.out else "OUT"
        example = f"convert-weights {args.source} OUT --to {{{','.join(FORMATS)}}}"
        raise UserError(f"{missing} is missing", missing, f"{example}; or look at it with --inspect")
    if Path(args.out).exists() and not args.overwrite:
        raise UserError(
            f"{args.out} is there already", "OUT", "name another file, or add --overwrite to replace it"
        )
    _say(convert_weights(args.source, args.out, args.to, lossy=args.lossy))
    if published := find_published(args.source):
        _say(f"licence of the weights: {published.licence}")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
