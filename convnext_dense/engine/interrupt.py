"""Ctrl-C: the training ends with a checkpoint after the running iteration, and can go on from there.

A resumed run repeats nothing: an iteration loop goes on with the next batch, an epoch loop with the rest of
the epoch, and a validation that was broken off, or was just due, is made first. Only the augmentation draws
new random numbers. Where gradients are accumulated, the run stops after a whole optimizer step.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import EMAHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, Runner

from ..errors import EXIT_INTERRUPTED
from .distributed import any_process
from .runner import INTERRUPTED

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
#: torchrun passes on to its processes the Ctrl-C that the terminal has already sent them.
_SAME_SIGNAL_S = 1.0
#: Keys in a checkpoint's `meta`: whether a validation is to be made first; how many of an epoch's batches
#: are done, and of how many.
_VALIDATION_DUE, _POSITION = "validation_due", "epoch_position"


class Stopped(KeyboardInterrupt):
    """The training was stopped on request, after a checkpoint, and on all processes alike.

    Attributes:
        done: Iterations that are done.
        total: Iterations of the whole training.
        exit_code: Exit code of the command line: 128 and the signal's number.
    """

    def __init__(self, done: int, total: int, exit_code: int) -> None:
        self.done, self.total, self.exit_code = done, total, exit_code
        super().__init__(f"stopped after iteration {done} of {total}")


class StopRequest:
    """Notes the first SIGINT or SIGTERM; the second one acts at once.

    Args:
        passed_on: A launcher passes signals on: two at nearly the same time are one.
    """

    def __init__(self, passed_on: bool) -> None:
        self.signal: int | None = None
        self._passed_on, self._noted_s, self._process = passed_on, 0.0, os.getpid()
        self._before: dict[int, Any] = {}

    def listen(self) -> None:
        """Take the signals over; only the main thread can."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}

    def leave(self) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before = {}

    def _note(self, number: int, frame: Any) -> None:
        if os.getpid() != self._process:  # a loader's worker, which its parent will end
            return
        if self.signal is None:
            self.signal, self._noted_s = number, time.monotonic()
            # Where the signal has ended the loaders' workers (Slurm sends it to all processes), PyTorch would
            # raise an error for it in the middle of the iteration.
            self._before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            if is_main_process():
                # Writing from here is not allowed while something else is being written.
                with contextlib.suppress(RuntimeError):
                    sys.stderr.write(
                        "\nstopping with a checkpoint after this iteration; Ctrl-C again: at once\n"
                    )
            return
        if self._passed_on and time.monotonic() - self._noted_s < _SAME_SIGNAL_S:
            return
        self.leave()
        raise KeyboardInterrupt


@HOOKS.register_module()
class InterruptHook(Hook):
    """End a training with a checkpoint on Ctrl-C, and let a resumed one go on exactly there.

    Several processes stop after the same iteration, even if the signal reached only one of them. A validation
    is left at once by one process alone; several finish it first.
    """

    # After the checkpoint hook, and last in every respect: it may end the run.
    priority = "LOWEST"

    def __init__(self) -> None:
        self._request: StopRequest | None = None
        self._validation_due = False
        self._position: tuple[int, int] = (0, 0)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Note in every checkpoint where in the epoch it is."""
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            meta, length = checkpoint["meta"], len(runner.train_loop.dataloader)
            meta[_POSITION] = [meta["iter"] - meta["epoch"] * length, length]

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Read what the interrupted run has left to do."""
        meta = checkpoint.get("meta", {})
        self._validation_due = bool(meta.get(_VALIDATION_DUE))
        self._position = tuple(meta.get(_POSITION, (0, 0)))

    def before_train(self, runner: Runner) -> None:
        """Listen for Ctrl-C from now on, and make up for what the interrupted run has left."""
        if runner.cfg.get("dry_run"):  # it has nothing to keep
            return
        self._request = StopRequest("TORCHELASTIC_RUN_ID" in os.environ)
        self._request.listen()
        done, length = self._position
        if done > 0:
            self._skip(runner, done, length)
        if self._validation_due and runner.val_loop is not None:
            runner.logger.info("first the validation that the interruption left out")
            runner.val_loop.run()

    def _skip(self, runner: Runner, done: int, length: int) -> None:
        loop = runner.train_loop
        if length == len(loop.dataloader):
            skip_batches(loop, done)
            runner.logger.info(f"epoch {loop.epoch + 1} goes on after {done} of its {length} batches")
            return
        loop._iter = loop.epoch * len(loop.dataloader)
        runner.logger.info(
            f"epoch {loop.epoch + 1} begins anew: it had {length} batches and has {len(loop.dataloader)} now"
        )

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Stop here if that was asked for."""
        if any_process(self._requested()) and runner.optim_wrapper.should_update():
            done = runner.iter + 1
            self._stop(runner, done, _validates_after(runner, done))

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Leave a validation; it is made again."""
        if get_world_size() == 1 and self._requested():
            for hook in runner.hooks:
                if isinstance(hook, EMAHook):  # which lent its average to the model
                    hook.after_val_epoch(runner)
            self._stop(runner, runner.iter, validation_due=True)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Stop after a validation if that was asked for."""
        if self._request is not None and any_process(self._requested()):
            self._stop(runner, runner.iter)

    def after_train(self, runner: Runner) -> None:
        """Leave Ctrl-C as it was."""
        self.close()

    def close(self) -> None:
        """Give the signals back, wherever the run is."""
        if self._request is not None:
            self._request.leave()

    def _requested(self) -> bool:
        return self._request is not None and self._request.signal is not None

    def _stop(self, runner: Runner, done: int, validation_due: bool = False) -> None:
        meta = dict(epoch=runner.epoch, iter=done)
        if validation_due:
            meta[_VALIDATION_DUE] = True
        runner.save_checkpoint(runner.work_dir, INTERRUPTED, meta=meta, by_epoch=False)
        number = self._request.signal if self._request is not None else None
        raise Stopped(done, runner.max_iters, 128 + number if number else EXIT_INTERRUPTED)


@contextlib.contextmanager
def restored_signals(runner: Runner) -> Iterator[None]:
    """Give Ctrl-C back in the end, also after an error."""
    try:
        yield
    finally:
        for hook in runner.hooks:
            if isinstance(hook, InterruptHook):
                hook.close()


def _validates_after(runner: Runner, done: int) -> bool:
    """Whether an iteration loop would validate now; an epoch loop comes to it when it goes on."""
    loop = runner.train_loop
    if isinstance(loop, EpochBasedTrainLoop) or runner.val_loop is None:
        return False
    return done >= loop.val_begin and (done % loop.val_interval == 0 or done == loop.max_iters)


def skip_batches(loop: EpochBasedTrainLoop, number: int) -> None:
    """Let the loop's next epoch begin after `number` batches, whose images are not loaded.

    The sampler's order follows from seed and epoch: the rest is what the interrupted run has not seen.
    """
    loader = loop.dataloader
    # A DataLoader guards its sampler against replacement, as its iterators may be in use; here none is yet.
    object.__setattr__(loader, "batch_sampler", _Rest(loader.batch_sampler, number))


class _Rest:
    """A batch sampler that leaves its first batches out, once; its length stays the whole epoch's."""

    def __init__(self, batches: Any, number: int) -> None:
        self._batches, self._number = batches, number

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batches, name)

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Any]:
        number, self._number = self._number, 0
        return islice(iter(self._batches), number, None)
