"""What a run leaves in its work dir beside checkpoints and logs.

`<config>.py` and `config.json` (the resolved config), `env.json` (versions, devices, seed), `metrics.jsonl`
(one line a log step or an evaluation) and `metrics.json` (the last evaluation).
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from mmengine.dist import is_main_process, master_only
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from .._version import __version__
from .config import config_to_json, plain

if TYPE_CHECKING:
    from .runner import DenseRunner

_VERSIONED = ("numpy", "cv2", "mmengine", "mmcv", "mmdet", "mmseg")


def environment() -> dict[str, Any]:
    """Return versions and devices: what somebody needs to know to repeat a run."""
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    loaded = {name: getattr(sys.modules.get(name), "__version__", None) for name in _VERSIONED}
    return {
        "convnext_dense": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "devices": devices or [f"cpu, {torch.get_num_threads()} threads"],
        **{name: version for name, version in loaded.items() if version},
    }


def write_run_folder(runner: DenseRunner) -> None:
    """Write `config.json` and `env.json` to the work dir (rank 0 only)."""
    if not is_main_process():
        return
    folder = Path(runner.work_dir)
    (folder / "config.json").write_text(config_to_json(runner.cfg) + "\n")
    run = {"command": sys.argv, "seed": runner.seed, "processes": runner.world_size, **environment()}
    (folder / "env.json").write_text(json.dumps(run, indent=1) + "\n")


@HOOKS.register_module()
class MetricsFileHook(Hook):
    """Write losses, learning rate and scores as data.

    `metrics.jsonl` gets a line every `interval` iterations and for each evaluation; `metrics.json` holds the
    newest evaluation.

    Args:
        interval: Training iterations between two lines.
    """

    priority = "LOW"

    def __init__(self, interval: int = 50) -> None:
        self.interval = interval

    def after_train_iter(
        self, runner: DenseRunner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Write the losses of every `interval`-th iteration."""
        if self.every_n_train_iters(runner, self.interval):
            lr = runner.optim_wrapper.get_lr()[
                "base_lr" if "base_lr" in runner.optim_wrapper.get_lr() else "lr"
            ][0]
            self._append(runner, {"iter": runner.iter + 1, "lr": lr, **(outputs or {})})

    def after_val_epoch(self, runner: DenseRunner, metrics: dict[str, float] | None = None) -> None:
        """Write the scores of a validation."""
        self._evaluated(runner, runner.iter, metrics)

    def after_test_epoch(self, runner: DenseRunner, metrics: dict[str, float] | None = None) -> None:
        """Write the scores of a test."""
        self._evaluated(runner, None, metrics)

    def _evaluated(
        self, runner: DenseRunner, iteration: int | None, metrics: dict[str, float] | None
    ) -> None:
        record = {"iter": iteration, **(metrics or {})}
        self._append(runner, record)
        if is_main_process():
            (Path(runner.work_dir) / "metrics.json").write_text(json.dumps(plain(record), indent=1) + "\n")

    @master_only
    def _append(self, runner: DenseRunner, record: dict[str, Any]) -> None:
        with (Path(runner.work_dir) / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(plain(record)) + "\n")
