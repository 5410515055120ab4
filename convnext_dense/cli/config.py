"""`convnext-dense config`: a config with its bases resolved, as text that stands alone."""

from __future__ import annotations

import argparse
from pathlib import Path

from .._version import __version__
from ..commands import command
from ..errors import UserError
from .verb import Verb, add_cfg_options, add_config, say


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser, "what to write out")
    parser.add_argument("--out", metavar="FILE", help="write it there (default: print it)")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it is there")
    add_cfg_options(parser)


def run(args: argparse.Namespace) -> None:
    """Write the resolved config.

    Raises:
        UserError: The config cannot be read, or the file not be written.
    """
    out = Path(args.out) if args.out else None
    if out and out.suffix != ".py":
        raise UserError(f"a config's name ends in .py, this is {out.name}", "--out", "name a .py file")
    if out and out.exists() and not args.overwrite:
        raise UserError("the file is there already", str(out), "name another --out, or add --overwrite")
    from ..engine.config import load_config

    cfg = load_config(args.config, args.cfg_options)
    changed = f", with {' '.join(args.cfg_options)}" if args.cfg_options else ""
    title = " ".join(f"{args.config} of convnext-dense {__version__}{changed}, with its bases.".split())
    text = f"# {title}\n{cfg.pretty_text}"
    if out is None:
        say(text)
        return
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"the config cannot be written: {error.strerror}", str(out), "name another --out"
        ) from error
    say(f"written to {out}\nnext: {command('train', out)}\n")


VERB = Verb(
    "config",
    "print or write a config with its bases resolved",
    "convnext_dense.cli.config:run",
    (
        "upernet_convnext_b",
        "upernet_convnext_b --out mine.py",
        "mask_rcnn_convnext_t --out mine.py --cfg-options train_dataloader.batch_size=4",
    ),
    _add_arguments,
)
