"""`train --profile`: where the time of an iteration goes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch.profiler import ProfilerActivity, profile

from ..files import typed_path
from .progress import data_wait

TRACE = "trace.json"
_LISTED = 10
_NAME_WIDTH = 46  # so that a row fits into 80 columns


@HOOKS.register_module()
class ProfileHook(Hook):
    """Record a few iterations with PyTorch's profiler, after the first ones, which are not like the others.

    Leaves `trace.json` in the run's folder, in Chrome's format, and prints the operators that take longest
    and the share of time spent waiting for data. The training goes on.

    Args:
        skip: Iterations before the recorded ones: loaders start, kernels are chosen. Less if the training
            is too short for it.
        iterations: Recorded iterations.

    Attributes:
        last: The last recorded iteration, from 1.
    """

    # Around everything else that happens in an iteration.
    priority = "LOWEST"

    def __init__(self, skip: int = 5, iterations: int = 5) -> None:
        self.skip, self.iterations = skip, iterations
        self.last = 0
        self._profile: Any = None

    def before_train(self, runner: Runner) -> None:
        """Choose the iterations."""
        left = runner.max_iters - runner.iter
        self.last = runner.iter + min(self.skip + self.iterations, left)
        self._first = max(runner.iter + 1, self.last - self.iterations + 1)
        if self._first == runner.iter + 1:
            self._begin()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Begin before the first recorded iteration, end after the last."""
        done = runner.iter + 1
        if self._profile is not None and done == self.last:
            self._end(runner)
        elif done + 1 == self._first:
            self._begin()

    def _begin(self) -> None:
        if not is_main_process():
            return
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it tells of its starting and stopping otherwise
        self._profile = profile(activities=_activities())
        self._profile.start()

    def before_val_epoch(self, runner: Runner) -> None:
        """Leave out a validation that falls between the recorded iterations."""
        self._collect(False)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Go on recording."""
        self._collect(True)

    def _collect(self, enabled: bool) -> None:
        if self._profile is not None:
            self._profile.toggle_collection_dynamic(enabled, _activities())

    def _end(self, runner: Runner) -> None:
        recorded, self._profile = self._profile, None
        recorded.stop()
        path = Path(runner.work_dir) / TRACE
        recorded.export_chrome_trace(str(path))
        number = self.last - self._first + 1
        seconds = float(runner.message_hub.get_scalar("train/time").mean(number))
        waiting = data_wait(runner, number)
        lines = [
            f"profile of iterations {self._first}-{self.last}, {seconds:.3f} s each (slowed by it)",
            f"  waiting for data: {'unknown' if waiting is None else f'{100 * waiting:.1f} %'}",
            *dearest(recorded, number),
            f"  trace: {typed_path(path)}, to open in https://ui.perfetto.dev",
        ]
        runner.logger.info("\n".join(lines))


def _activities() -> list[ProfilerActivity]:
    return [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]


def dearest(recorded: profile, iterations: int, number: int = _LISTED) -> list[str]:
    """Return a table of the operators with the most time of their own, on the device if there is one.

    Args:
        recorded: A finished profile.
        iterations: Number of iterations that it spans.
        number: Rows.
    """
    averages = recorded.key_averages()
    kind = "self_device_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
    rows = sorted(averages, key=lambda row: getattr(row, kind), reverse=True)
    whole_us = sum(getattr(row, kind) for row in rows) or 1.0
    lines = [f"  {'ms/iter':>9}{'share':>8}{'calls/iter':>12}  operator"]
    for row in rows[:number]:
        own_us = getattr(row, kind)
        lines.append(
            f"  {own_us / 1e3 / iterations:>9.2f}{100 * own_us / whole_us:>6.1f} %"
            f"{row.count / iterations:>12.1f}  {row.key[:_NAME_WIDTH]}"
        )
    return lines
