"""A hook for `test_interrupt.py`: it presses Ctrl-C at a given point, and writes down what was seen."""

import os
import signal
from pathlib import Path

from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class PressCtrlCHook(Hook):
    """Append the images of each training iteration to a file, and press Ctrl-C once.

    Args:
        seen: The file.
        after: Iterations that are begun before; None: never.
        during: `train`, or `val` for the validation after them.
        rank: The process that is told; None: all.
        times: How often it is pressed.
        key: The signal.
    """

    priority = "HIGH"

    def __init__(self, seen, after=None, during="train", rank=None, times=1, key="SIGINT"):
        self.seen, self.after, self.during = Path(seen), after, during
        self.rank, self.times, self.signal = rank, times, getattr(signal, key)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        names = [Path(sample.img_path).name for sample in data_batch["data_samples"]]
        with self.seen.with_suffix(f".{runner.rank}").open("a") as file:
            file.write(f"{runner.iter} {' '.join(names)}\n")
        if self.during == "train" and runner.iter + 1 == self.after:
            self._press(runner)

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if self.during == "val" and runner.iter == self.after and batch_idx == 0:
            self._press(runner)

    def _press(self, runner):
        if self.rank in (None, runner.rank):
            for _ in range(self.times):
                os.kill(os.getpid(), self.signal)
