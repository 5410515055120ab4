"""Progress of training and evaluation: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

#: `ru_maxrss` is in KiB on Linux and in bytes on macOS.
_RSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024
#: The speed shown is the mean over about this many iterations.
_SPEED_WINDOW_ITERS = 50
#: A narrower terminal gets neither the bar, nor the time so far, nor these numbers.
_WIDE_COLUMNS, _WIDE_ONLY = 120, ("lr", "memory")


def peak_memory_gib() -> float:
    """Return the peak memory of this process so far in GiB: of the GPU, or resident where there is none."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT_BYTES / 2**30


def data_wait(runner: Runner, iters: int) -> float | None:
    """Return the share of the last iterations' time that was spent waiting for data, 0 … 1.

    None where the runner has no `IterTimerHook`, which measures it, or before the first iteration.
    """
    scalars = runner.message_hub.log_scalars
    if iters < 1 or not {"train/time", "train/data_time"} <= scalars.keys():
        return None
    whole = float(scalars["train/time"].mean(iters))
    return float(scalars["train/data_time"].mean(iters)) / whole if whole > 0 else None


@HOOKS.register_module()
class ProgressHook(Hook):
    """Show loss, learning rate, iterations per second, the share of time spent waiting for data, peak memory
    and time left.

    On a terminal a bar that is redrawn in place; elsewhere one plain line every `interval` iterations.

    Args:
        interval: Iterations between two plain lines.
    """

    priority = "BELOW_NORMAL"

    def __init__(self, interval: int = 50) -> None:
        self.interval = interval
        self._bar: Progress | None = None
        self._started_s = self._marked_s = 0.0
        self._marked_iter = self._first_iter = 0
        self._speed = 0.0
        self._settled = False
        self._waiting: float | None = None

    # ------------------------------------------------------------------ training

    def before_train(self, runner: Runner) -> None:
        """Start the clock and, on a terminal, the bar."""
        self._started_s = self._marked_s = time.perf_counter()
        self._first_iter = self._marked_iter = runner.iter
        self._speed, self._settled = 0.0, False
        self._start("train", runner.max_iters, runner.iter)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Advance the bar, or print a line when it is due."""
        done, total = runner.iter + 1, runner.max_iters
        self._measure_speed(runner, done)
        due = done % self.interval == 0 or done == total
        if self._bar is None and not due:
            return
        parts = self._train_parts(runner, outputs or {})
        if self._bar is not None:
            shown = [part for name, part in parts.items() if self._wide or name not in _WIDE_ONLY]
            self._bar.update(self._task, completed=done, text="  ".join(shown))
        if due:
            left = timedelta(seconds=round((total - done) / self._speed)) if self._speed else "?"
            line = "  ".join([f"iter {done}/{total}", *parts.values(), f"left {left}"])
            # On a terminal the bar says it all; the log file gets the line in either case.
            self._log(runner, line)

    def after_train(self, runner: Runner) -> None:
        """Take the bar away."""
        self.close()

    def _measure_speed(self, runner: Runner, done: int) -> None:
        """Measure over a window of iterations; the first window shows what it has so far."""
        now = time.perf_counter()
        iters = done - self._marked_iter
        # The first iteration starts the loaders' workers: it stands for itself.
        full = done == self._first_iter + 1 or iters >= min(self.interval, _SPEED_WINDOW_ITERS)
        if full or not self._settled:
            self._speed = iters / max(now - self._marked_s, 1e-9)
            self._waiting = data_wait(runner, iters)
        if full:
            self._settled = done > self._first_iter + 1
            self._marked_s, self._marked_iter = now, done

    def _train_parts(self, runner: Runner, outputs: dict) -> dict[str, str]:
        rates = runner.optim_wrapper.get_lr()
        lr = rates["base_lr" if "base_lr" in rates else "lr"][0]
        loss = outputs["loss"].item() if "loss" in outputs else float("nan")
        parts = {"loss": f"loss {loss:.4f}", "lr": f"lr {lr:.2e}", "speed": f"{self._speed:.2f} it/s"}
        if self._waiting is not None:
            parts["data"] = f"data-wait {100 * self._waiting:.0f} %"
        return {**parts, "memory": f"mem {peak_memory_gib():.1f} GiB"}

    # ---------------------------------------------------------------- evaluation

    def before_val_epoch(self, runner: Runner) -> None:
        """Show the validation's own progress."""
        self._start("val", len(runner.val_dataloader), 0)

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Advance the validation's progress."""
        self._evaluated(runner, "val", batch_idx + 1, len(runner.val_dataloader))

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Give the bar back to the training that goes on."""
        self.close()
        self._marked_s, self._marked_iter = time.perf_counter(), runner.iter
        training = runner._train_loop is not None and not isinstance(runner._train_loop, dict)
        if training and runner.iter < runner.max_iters:
            self._start("train", runner.max_iters, runner.iter)

    def before_test_epoch(self, runner: Runner) -> None:
        """Show the test's progress."""
        self._start("test", len(runner.test_dataloader), 0)

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Advance the test's progress."""
        self._evaluated(runner, "test", batch_idx + 1, len(runner.test_dataloader))

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Take the bar away."""
        self.close()

    def _evaluated(self, runner: Runner, label: str, done: int, total: int) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=done, text=f"mem {peak_memory_gib():.1f} GiB")
        elif done % self.interval == 0 or done == total:
            self._log(runner, f"{label} {done}/{total}  mem {peak_memory_gib():.1f} GiB")

    # ----------------------------------------------------------------- the bar

    def _start(self, label: str, total: int, done: int) -> None:
        self.close()
        console = Console()
        if not (is_main_process() and console.is_terminal):
            return
        self._wide = console.width >= _WIDE_COLUMNS
        columns = (
            TextColumn("{task.description}"),
            *([BarColumn(20)] if self._wide else []),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
            *([TimeElapsedColumn()] if self._wide else []),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=console)
        self._task = self._bar.add_task(label, total=total, completed=done, text="")
        self._bar.start()

    def close(self) -> None:
        """Take the bar away, wherever the run is."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _log(self, runner: Runner, line: str) -> None:
        runner.logger.info(line, extra={"file_only": self._bar is not None})


def stop_progress(runner: Runner) -> None:
    """Take the bar away."""
    for hook in runner.hooks:
        if isinstance(hook, ProgressHook):
            hook.close()


@contextmanager
def stopped_progress(runner: Runner) -> Iterator[None]:
    """Take the bar away in the end, also after an error or Ctrl-C."""
    try:
        yield
    finally:
        stop_progress(runner)
