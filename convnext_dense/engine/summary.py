"""What a training says in the end: the best score, where things lie, and what to type next."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from ..commands import command
from ..files import typed_path
from ..report.hook import ValidationPicturesHook
from ..report.train_batch import TRAIN_BATCH
from .interrupt import Stopped
from .run_dirs import BEST, LAST
from .run_folder import best_checkpoint, best_score
from .runner import DenseRunner

#: What there is to look at in a run's folder.
_TO_LOOK_AT = ("curves.png", "metrics.csv", TRAIN_BATCH, ValidationPicturesHook.FOLDER)


def finished(runner: DenseRunner, args: argparse.Namespace, started_s: float) -> str:
    """Return the summary of a training that has come to its end.

    Args:
        runner: The runner, after the training.
        args: The parsed arguments of `train`.
        started_s: When the training began, by `time.monotonic`.
    """
    folder = Path(runner.work_dir)
    done, total = runner.iter, runner.max_iters
    took = timedelta(seconds=round(time.monotonic() - started_s))
    early = "" if done == total else f" (stopped early, of {total})"
    lines = [f"done: {done} iterations{early} in {took}"]
    lines += _checkpoints(runner)
    chosen = folder / (BEST if (folder / BEST).is_file() else LAST)
    lines += ["next:", f"  evaluate   {test_command(args, chosen)}"]
    lines.append(f"  predict    {_command('predict', [typed_path(chosen), 'IMAGES'])}")
    if done < total:
        lines.append(f"  go on      {resume_command(args)}")
    return "\n".join(lines)


def interrupted(runner: DenseRunner, args: argparse.Namespace, stopped: Stopped) -> str:
    """Return what to know of a training that was stopped."""
    lines = [f"interrupted after iteration {stopped.done} of {stopped.total}", *_checkpoints(runner)]
    return "\n".join([*lines, f"  go on      {resume_command(args)}"])


def _checkpoints(runner: DenseRunner) -> list[str]:
    """Return the lines on the best and the newest checkpoint, and on what else there is to look at."""
    folder = Path(runner.work_dir)
    lines, best = [], best_checkpoint(runner)
    if best is not None and (folder / BEST).is_file():
        lines.append(f"  best       {best_score(runner)}: {typed_path(folder / BEST)} ({Path(best).stem})")
    lines.append(f"  last       {typed_path(folder / LAST)}")
    present = [name for name in _TO_LOOK_AT if (folder / name).exists()]
    return [*lines, f"  folder     {typed_path(folder)}: {', '.join(present)}"]


def test_command(args: argparse.Namespace, checkpoint: Path) -> str:
    """Return the command that evaluates a checkpoint of this training."""
    options = ["--cfg-options", *map(shlex.quote, args.cfg_options)] if args.cfg_options else []
    return _command("test", [shlex.quote(args.config), typed_path(checkpoint), *options])


def resume_command(args: argparse.Namespace) -> str:
    """Return the command that goes on with this training: the one that began it, with `--resume`."""
    return f"{train_command(args)} --resume"


def train_command(args: argparse.Namespace) -> str:
    """Return this process's command without `--resume`, `--dry-run` and `--profile`."""
    words = args.words
    if args.resume not in (None, "auto"):
        words = _without_value(words, "--resume", args.resume)
    dropped = ("--resume", "--dry-run", "--profile")
    words = [word for word in words if word not in dropped and not word.startswith("--resume=")]
    script = Path(sys.argv[0]).with_name("dist_train.sh")
    if args.launcher == "pytorch" and script.is_file():
        words = _without_value(words, "--launcher", "pytorch")
        words = [word for word in words if word != "--launcher=pytorch"]
        words.remove(args.config)
        local = os.environ.get("LOCAL_WORLD_SIZE", "1")
        return shlex.join([str(script), args.config, local, *words])
    return _command("train", [shlex.quote(word) for word in words])


def _without_value(words: Sequence[str], flag: str, value: str) -> list[str]:
    """Return the words without `flag value`."""
    words = list(words)
    for index in range(len(words) - 1):
        if words[index : index + 2] == [flag, value]:
            return words[:index] + words[index + 2 :]
    return words


def _command(verb: str, quoted: Sequence[str]) -> str:
    return " ".join([command(verb), *quoted])
