"""`train --dry-run`: everything is built and a few iterations are made, to say what the training would be."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from ..complexity import count_macs, count_params
from ..files import typed_path
from ..optim.group_table import Group, log_group_table
from ..report.train_batch import TRAIN_BATCH
from .config import add_hooks
from .distributed import any_process
from .profiling import ProfileHook
from .progress import data_wait, peak_memory_gib, stop_progress

_WARM_UP, _MOST_MEASURED = 2, 20  # iterations
#: Enough is measured after so long, at the next iteration.
_ENOUGH_S = 20.0
#: Optimizer constructors that log the table of their groups themselves.
_LOGS_GROUPS = ("ConvNeXtLayerDecay",)
_MOST_CLASSES = 12


class DryRunDone(Exception):
    """The measured iterations are made."""


def use_dry_run(cfg: Config) -> None:
    """Let a config's training stop after a few iterations and keep nothing, in place."""
    cfg.dry_run = True
    cfg.default_hooks.checkpoint = None
    left_out = ("EarlyStoppingHook", "MetricsFileHook")
    cfg.custom_hooks = [hook for hook in cfg.custom_hooks if hook["type"] not in left_out]
    add_hooks(cfg, "DryRunHook")


@HOOKS.register_module()
class DryRunHook(Hook):
    """Measure a training's first iterations, say what it would be, and end it."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self._input_shape: tuple[int, ...] = ()
        self._measured = 0

    def before_train(self, runner: Runner) -> None:
        """Leave validation out."""
        runner.train_loop.val_begin = runner.max_iters + 1
        self._begun = runner.iter

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Note the size of the first batch behind the data preprocessor."""
        if runner.iter > self._begun:
            return

        def note(_: nn.Module, __: Any, batch: Mapping[str, Any]) -> None:
            handle.remove()
            if isinstance(batch["inputs"], torch.Tensor):
                self._input_shape = tuple(batch["inputs"].shape)

        handle = runner.unwrapped_model.data_preprocessor.register_forward_hook(note)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Count the iterations, and stop when enough are measured."""
        done = runner.iter + 1 - self._begun
        if done <= _WARM_UP:
            self._started_s = time.perf_counter()
        self._measured = done - _WARM_UP
        took_s = time.perf_counter() - self._started_s
        profiles = any(isinstance(hook, ProfileHook) and hook.last > runner.iter + 1 for hook in runner.hooks)
        slow = self._measured > 0 and took_s > _ENOUGH_S and not profiles
        last = runner.iter + 1 >= runner.max_iters
        if any_process(self._measured >= _MOST_MEASURED or slow or last):
            self._measured = max(1, self._measured)
            stop_progress(runner)
            runner.logger.info("\n".join(self._lines(runner)))
            raise DryRunDone

    def _lines(self, runner: Runner) -> list[str]:
        _log_groups(runner)
        sections = {
            "data": _data(runner),
            "classes": _classes(runner.train_dataloader.dataset.metainfo["classes"]),
            "model": _model(runner.unwrapped_model, self._input_shape),
            "schedule": _schedule(runner),
            "memory": [_memory()],
            "time": self._time(runner),
            "batch": [typed_path(Path(runner.work_dir) / TRAIN_BATCH)],
        }
        lines = ["dry run:"]
        for name, texts in sections.items():
            lines += [f"  {'' if number else name:<10}{text}" for number, text in enumerate(texts)]
        return lines

    def _time(self, runner: Runner) -> list[str]:
        seconds = float(runner.message_hub.get_scalar("train/time").mean(self._measured))
        waiting = data_wait(runner, self._measured)
        left = runner.max_iters - self._begun
        waits = "" if waiting is None else f", {100 * waiting:.0f} % of it waiting for data"
        profiled = any(isinstance(hook, ProfileHook) for hook in runner.hooks)
        mean = f"mean of {self._measured}{', some slowed by the profile' if profiled else ''}"
        return [
            f"{seconds:.3g} s an iteration{waits} ({mean})",
            f"about {timedelta(seconds=round(seconds * left))} for {left:,} iterations, without validations",
        ]


def _data(runner: Runner) -> list[str]:
    loader = runner.train_dataloader
    size, batch = len(loader.dataset), loader.batch_size or loader.batch_sampler.batch_size
    counts = runner.optim_wrapper._accumulative_counts
    parts = [f"{batch} images"]
    if runner.world_size > 1:
        parts.append(f"{runner.world_size} processes")
    if counts > 1:
        parts.append(f"{counts} accumulated")
    whole = batch * runner.world_size * counts
    product = f" = {whole}" if len(parts) > 1 else ""
    lines = [f"training: {size:,} images; an optimizer step: {' x '.join(parts)}{product}"]
    if runner.val_loop is not None:
        lines.append(f"validation: {len(runner.val_dataloader.dataset):,} images")
    return lines


def _classes(names: Iterable[str]) -> list[str]:
    names = list(names)
    rest = f", … {names[-1]}" if len(names) > _MOST_CLASSES else ""
    return [f"{len(names)}: {', '.join(names[:_MOST_CLASSES])}{rest}"]


def _model(model: nn.Module, input_shape: tuple[int, ...]) -> list[str]:
    parts = [type(model).__name__, *(type(part).__name__ for part in model.children() if count_params(part))]
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    lines = [
        f"{parts[0]}: {', '.join(parts[1:])}",
        f"{count_params(model) / 1e6:.1f} M parameters, {trained / 1e6:.1f} M of them trained",
    ]
    if len(input_shape) == 4:
        size = f"{input_shape[3]}x{input_shape[2]} px"
        try:
            billions = count_macs(model, input_shape[1:]) / 1e9
            macs = f"{billions:,.1f} G" if billions >= 1 else f"{1e3 * billions:.1f} M"
        except (AttributeError, TypeError, ValueError, RuntimeError):  # a kind of model that it does not know
            macs = "unknown"
        lines.append(f"multiply-accumulates: {macs} for an image of {size} (the first batch's)")
    return lines


def _schedule(runner: Runner) -> list[str]:
    loader, by_epoch = runner.train_dataloader, runner.max_epochs > 1
    whole = f"{runner.max_iters:,} iterations"
    passes = (
        runner.max_epochs if by_epoch else runner.max_iters / max(1, len(loader.dataset) / _images(runner))
    )
    lines = [f"{whole}, {passes:.3g} passes over the data"]
    schedulers = runner.cfg.get("param_scheduler") or []
    for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
        unit = "epochs" if scheduler.get("by_epoch", True) else "iterations"
        end = scheduler.get("end", runner.max_epochs if unit == "epochs" else runner.max_iters)
        steps = f", steps at {scheduler['milestones']}" if "milestones" in scheduler else ""
        lines.append(f"{scheduler['type']} over {unit} {scheduler.get('begin', 0):,}-{end:,}{steps}")
    return lines


def _images(runner: Runner) -> int:
    """Return the number of images that an iteration takes on all processes together."""
    loader = runner.train_dataloader
    return (loader.batch_size or loader.batch_sampler.batch_size) * runner.world_size


def _memory() -> str:
    peak = peak_memory_gib()
    if torch.cuda.is_available():
        whole = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory / 2**30
        return f"peak {peak:.1f} of the GPU's {whole:.0f} GiB"
    return f"peak {peak:.1f} GiB of this process"


def _log_groups(runner: Runner) -> None:
    """Log the table of learning rates, unless the optimizer's constructor has done so."""
    if runner.cfg.optim_wrapper.get("constructor") in _LOGS_GROUPS:
        return
    names = {id(param): name for name, param in runner.unwrapped_model.named_parameters()}
    optimizer = runner.optim_wrapper.optimizer
    lr = optimizer.defaults["lr"]
    decay = optimizer.defaults.get("weight_decay", 0.0)
    groups: dict[tuple[float, float], Group] = {}
    for settings in optimizer.param_groups:
        own_lr, own_decay = settings.get("initial_lr", settings["lr"]), settings.get("weight_decay", 0.0)
        key = own_lr / lr if lr else 1.0, own_decay / decay if decay else 1.0
        group = groups.setdefault(key, Group(*key))
        group.names += [names[id(param)] for param in settings["params"]]
        group.params += settings["params"]
    frozen = [param for param in runner.unwrapped_model.parameters() if not param.requires_grad]
    log_group_table(groups.values(), frozen, lr, decay, "groups of learning rates")
