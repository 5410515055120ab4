"""What a verb of the command line is, and the arguments that several have."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from textwrap import wrap

_CFG_OPTIONS_HELP = (
    "override config settings, e.g. train_dataloader.batch_size=4 model.backbone.with_cp=True "
    'optim_wrapper.optimizer.betas="(0.9,0.98)" model.backbone.init_cfg=None'
)


@dataclass(frozen=True)
class Verb:
    """One verb of `convnext-dense`.

    Attributes:
        name: As it is typed.
        summary: What it does, in a few words.
        target: `module:function` that runs it; imported only then.
        examples: Arguments of three calls, shown in its help.
        add_arguments: Adds its arguments to its parser.
    """

    name: str
    summary: str
    target: str
    examples: tuple[str, str, str]
    add_arguments: Callable[[argparse.ArgumentParser], None]

    def add_to(self, verbs: argparse._SubParsersAction, *, with_arguments: bool) -> None:
        """Add the verb's parser to those of the command line."""
        examples = [_folded(f"convnext-dense {self.name} {example}".rstrip()) for example in self.examples]
        parser = verbs.add_parser(
            self.name,
            help=self.summary,
            description=self.summary[0].upper() + self.summary[1:] + ".",
            epilog="\n".join(["examples:", *examples]),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        parser.set_defaults(target=self.target)
        if not with_arguments:
            return
        self.add_arguments(parser)
        parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def say(text: str) -> None:
    """Print; a reader that has seen enough, as in `convnext-dense list | head`, is no error."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for Python's flush at the exit


def _folded(command: str) -> str:
    """Return a command in lines for a terminal, which a shell reads as one."""
    lines = wrap(command, width=76, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return "  " + " \\\n  ".join(lines)


def add_config(parser: argparse.ArgumentParser, text: str) -> None:
    """Add the config that a verb works by, of which `text` says more."""
    parser.add_argument("config", help=f"{text}: a file, or the name of a shipped one")


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """Add `--cfg-options`."""
    parser.add_argument(
        "--cfg-options", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help=_CFG_OPTIONS_HELP
    )


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `train` and `test` have in common."""
    parser.add_argument(
        "--work-dir",
        metavar="DIR",
        help="folder for logs and checkpoints (default: work_dirs/<config name>); "
        "each training gets a folder of its own in it, named by the time",
    )
    add_cfg_options(parser)
    parser.add_argument(
        "--compile",
        action="store_true",
        help="torch.compile backbone, neck and dense heads; what does not compile runs as it is",
    )
    parser.add_argument(
        "--launcher",
        choices=("none", "pytorch", "slurm"),
        default="none",
        help="how the processes were started",
    )
    # torchrun's predecessor passed the rank as a flag; torchrun itself uses the environment.
    parser.add_argument("--local-rank", "--local_rank", type=int, default=0, help=argparse.SUPPRESS)
