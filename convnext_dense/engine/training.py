"""A training from its first iteration to the summary, or to the interruption."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process

from ..errors import EXIT_INTERRUPTED, UserError
from ..files import typed_path
from .config import add_hooks
from .dry_run import DryRunDone, use_dry_run
from .interrupt import Stopped, restored_signals
from .loggers import add_tensorboard, check_loggers
from .progress import stop_progress, stopped_progress
from .run_dirs import LAST
from .run_folder import write_curves
from .runner import DenseRunner
from .summary import finished, interrupted, resume_command, train_command

#: Hooks that every training of the tools has, beside those of its config.
_HOOKS = ("TrainBatchHook", "ValidationPicturesHook", "InterruptHook")


def add_train_hooks(cfg: Config, args: argparse.Namespace) -> None:
    """Add to a config what every training has, and what `--tensorboard`, `--profile`, `--dry-run` ask for.

    Raises:
        UserError: A logger of the config has no package to work with.
    """
    add_hooks(cfg, *_HOOKS)
    if args.tensorboard:
        add_tensorboard(cfg)
    check_loggers(cfg)
    if args.profile:
        add_hooks(cfg, "ProfileHook")
    if args.dry_run:
        use_dry_run(cfg)


def run_training(runner: DenseRunner, args: argparse.Namespace, started_s: float) -> int:
    """Train to the end, or until Ctrl-C, and say what there is now.

    Args:
        runner: The runner, built.
        args: The parsed arguments of `train`.
        started_s: When the command began, by `time.monotonic`.

    Returns:
        The exit code of the command line.

    Raises:
        UserError: The training was aborted at once, by a second Ctrl-C or before its first iteration.
    """
    exit_code, stopped, dry = 0, None, False
    with _abort_hint(runner, args), restored_signals(runner), stopped_progress(runner):
        try:
            runner.train()
        except Stopped as request:
            stopped, exit_code = request, request.exit_code
        except DryRunDone:
            dry = True
        stop_progress(runner)
        folder = Path(runner.work_dir)
        if is_main_process():
            write_curves(folder)
        if dry:
            text = f"kept: {typed_path(folder)}\nstart it: {train_command(args)}"
        elif args.dry_run:
            text = "dry run: no iteration is left to make"
        elif stopped is not None:
            text = interrupted(runner, args, stopped)
        else:
            text = finished(runner, args, started_s)
        runner.logger.info(text)
    return exit_code


@contextmanager
def _abort_hint(runner: DenseRunner, args: argparse.Namespace) -> Iterator[None]:
    """Say how to go on after a Ctrl-C that left no time for a checkpoint."""
    try:
        yield
    except KeyboardInterrupt as error:
        started = (Path(runner.work_dir) / LAST).exists()
        raise UserError(
            "interrupted at once",
            runner.work_dir,
            f"go on from the last checkpoint: {resume_command(args)}"
            if started
            else "no checkpoint was written yet; start again",
            exit_code=EXIT_INTERRUPTED,
        ) from error
