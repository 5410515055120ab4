"""What a run leaves in its folder beside checkpoints and logs.

`<config>.py` and `config.json` (the resolved config), `env.json` (versions, devices, seed), `metrics.jsonl`
(one line a log step or an evaluation), `metrics.json` (the last evaluation); of a training also `metrics.csv`
and `curves.png`, `train_batch.jpg` and `validation/` (see `report`).
"""

from __future__ import annotations

import json
import platform
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from mmengine.dist import is_main_process, master_only
from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from .._version import __version__
from ..report.curves import draw_curves, read_metrics, write_csv
from .config import config_to_json, plain
from .run_dirs import set_latest

if TYPE_CHECKING:
    from .runner import DenseRunner

#: A training logs this many lines at least, however short it is.
_LEAST_LINES = 100
#: While a training runs, the curves are drawn anew after a validation, but not more often than this.
_DRAW_EVERY_S = 60.0
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
    """Write `config.json` and `env.json` (rank 0 only)."""
    if not is_main_process():
        return
    folder = Path(runner.work_dir)
    (folder / "config.json").write_text(config_to_json(runner.cfg) + "\n")
    run = {"command": sys.argv, "seed": runner.seed, "processes": runner.world_size, **environment()}
    (folder / "env.json").write_text(json.dumps(run, indent=1) + "\n")


def best_checkpoint(runner: Runner) -> str | None:
    """Return the path of the best checkpoint so far, by the first score that is watched."""
    info = runner.message_hub.runtime_info
    return next((path for name, path in info.items() if name.startswith("best_ckpt") and path), None)


def best_score(runner: Runner) -> str | None:
    """Return the best score so far as text, e.g. `mIoU 44.13`, or None if none is watched or known."""
    info = runner.message_hub.runtime_info
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook) and hook.save_best:
            name = hook.key_indicators[0]
            score = info.get("best_score", info.get(f"best_score_{name}"))
            return None if score is None else f"{name} {score:.4g}"
    return None


def write_curves(folder: Path) -> None:
    """Write `metrics.csv` and `curves.png` of a run's folder from its `metrics.jsonl`."""
    source = folder / "metrics.jsonl"
    if source.is_file():
        records = read_metrics(source)
        write_csv(records, folder / "metrics.csv")
        draw_curves(records, folder / "curves.png", f"{folder.parent.name} {folder.name}")


@HOOKS.register_module()
class MetricsFileHook(Hook):
    """Write losses, learning rate and scores as data.

    `metrics.jsonl` gets a line every `interval` iterations and for each evaluation, and one that says where
    a resumed run goes on; `metrics.json` holds the newest evaluation. When the training begins, `latest`
    leads to its folder.

    Args:
        interval: Training iterations between two lines, at most; a short training logs more often.
    """

    priority = "LOW"

    def __init__(self, interval: int = 50) -> None:
        self.interval = interval
        self._drawn_s = time.monotonic()

    def before_train(self, runner: DenseRunner) -> None:
        """Suit the interval to the length of the training, and note where a resumed one goes on."""
        if is_main_process():
            set_latest(Path(runner.work_dir))
        self.interval = max(1, min(self.interval, runner.max_iters // _LEAST_LINES))
        if runner.iter > 0:
            self._append(runner, {"resumed": runner.iter})

    def after_train_iter(
        self, runner: DenseRunner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Write the losses of every `interval`-th iteration."""
        if self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner):
            lr = runner.optim_wrapper.get_lr()[
                "base_lr" if "base_lr" in runner.optim_wrapper.get_lr() else "lr"
            ][0]
            self._append(runner, {"iter": runner.iter + 1, "lr": lr, **(outputs or {})})

    def after_val_epoch(self, runner: DenseRunner, metrics: dict[str, float] | None = None) -> None:
        """Write the scores of a validation, and draw the curves so far."""
        self._evaluated(runner, runner.iter, metrics)
        if is_main_process() and time.monotonic() - self._drawn_s > _DRAW_EVERY_S:
            self._drawn_s = time.monotonic()
            write_curves(Path(runner.work_dir))

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
