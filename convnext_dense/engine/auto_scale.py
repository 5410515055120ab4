"""`--auto-scale`: a recipe for 8 GPUs on the machine at hand, with the same samples in the same schedule.

What gradient accumulation can give, it gives: the batch of an optimizer step stays the recipe's, and the
learning rate with it. What remains is rescaled: the learning rate by the square root of the ratio of batches,
as suits AdamW (Malladi et al., On the SDEs and Scaling Rules for Adaptive Gradient Algorithms, 2205.10287).
Everything that is counted in iterations is converted so that it covers as many samples as before.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import torch
from mmengine.config import Config

from ..errors import UserError, did_you_mean
from .config import walk_dicts

#: What a scheduler of each type counts in its own unit, iterations or epochs, beside `begin` and `end`.
_COUNTED: Mapping[str, tuple[str, ...]] = {
    "ConstantLR": (),
    "LinearLR": (),
    "PolyLR": (),
    "CosineAnnealingLR": ("T_max",),
    "MultiStepLR": ("milestones",),
    "StepLR": ("step_size",),
}
_BATCH_NORMS = ("BN", "BN2d", "SyncBN")
_MIN_GROUP = 4  # channels
_GROUPS = 32  # GN's published number (arXiv 1803.08494)


@dataclass(frozen=True)
class Batch:
    """How the batch of one optimizer step comes about.

    Attributes:
        base: Images an optimizer step, in the recipe.
        processes: Number of processes, one a GPU.
        per_process: Images a process and iteration.
        accumulated: Iterations an optimizer step.
    """

    base: int
    processes: int
    per_process: int
    accumulated: int

    @property
    def step(self) -> int:
        """Images an optimizer step, here."""
        return self.processes * self.per_process * self.accumulated

    @property
    def stretch(self) -> Fraction:
        """Iterations here for each of the recipe's, for as many samples."""
        return Fraction(self.base, self.processes * self.per_process)


def plan_batch(base: int, processes: int, per_process: int) -> Batch:
    """Return the batch nearest to the recipe's that whole iterations can make up."""
    return Batch(base, processes, per_process, max(1, round(base / (processes * per_process))))


def process_count(launcher: str) -> int:
    """Return the number of processes of this run, as the launcher's environment says."""
    variable = {"pytorch": "WORLD_SIZE", "slurm": "SLURM_NTASKS"}.get(launcher)
    return int(os.environ[variable]) if variable else 1


def auto_scale(cfg: Config, processes: int, norm: Literal["BN", "GN"] = "BN") -> list[str]:
    """Adapt a recipe to the number of processes, in place.

    Args:
        cfg: A resolved config with `auto_scale_lr.base_batch_size`, the recipe's images an optimizer step.
        processes: Number of processes of the run, one a GPU.
        norm: What takes the place of SyncBN where there is nothing to synchronise, that is, in one process or
            without a GPU. `GN` also replaces BN: it does not depend on the batch.

    Returns:
        Each change and why, one line each; what stays is said, too.

    Raises:
        UserError: The config does not state the recipe's batch, already accumulates, or has a scheduler that
            cannot be converted.
    """
    base = (cfg.get("auto_scale_lr") or {}).get("base_batch_size")
    if not base:
        raise UserError(
            "--auto-scale needs the batch size that the recipe was written for",
            "auto_scale_lr.base_batch_size",
            "add `auto_scale_lr = dict(enable=False, base_batch_size=16)` to the config",
        )
    if cfg.optim_wrapper.get("accumulative_counts", 1) != 1:
        raise UserError(
            "--auto-scale, but the config accumulates gradients already",
            "optim_wrapper.accumulative_counts",
            "leave out one of the two",
        )
    batch = plan_batch(base, processes, cfg.train_dataloader.batch_size)
    notices = [
        f"auto-scale: {processes} process{'es' if processes > 1 else ''} x {batch.per_process} images, "
        f"the recipe is for {base}",
        *_scale_batch(cfg, batch),
        *_scale_counts(cfg, batch),
        *_replace_norms(cfg, processes, norm),
    ]
    return [notices[0], *(f"  {line}" for line in notices[1:])]


def _scale_batch(cfg: Config, batch: Batch) -> list[str]:
    lines = []
    if batch.accumulated > 1:
        cfg.optim_wrapper.accumulative_counts = batch.accumulated
        lines.append(
            f"gradients of {batch.accumulated} iterations are accumulated: "
            f"{batch.step} images an optimizer step"
        )
    if batch.step == batch.base:
        return [*lines, "learning rate unchanged: an optimizer step sees as many images as published"]
    factor = math.sqrt(batch.step / batch.base)
    optimizer = cfg.optim_wrapper.optimizer
    before, optimizer.lr = optimizer.lr, optimizer.lr * factor
    for scheduler in _schedulers(cfg):
        if scheduler.get("eta_min"):
            scheduler["eta_min"] *= factor
    lines.append(
        f"learning rate {before:g} -> {optimizer.lr:.4g}: times the square root of "
        f"{batch.step}/{batch.base}, as no number of iterations gives the published batch"
    )
    return lines


def _scale_counts(cfg: Config, batch: Batch) -> list[str]:
    """Convert what is counted in iterations; epochs are samples already."""
    stretch = batch.stretch
    if stretch == 1:
        return ["schedule unchanged: an iteration sees as many images as published"]
    changed = [text for scheduler in _schedulers(cfg) if (text := _scale_scheduler(scheduler, stretch))]
    loop = cfg.train_cfg
    if "max_iters" in loop:
        changed += _multiply(loop, ("max_iters", "val_interval"), stretch)
    checkpoint = cfg.default_hooks.get("checkpoint") or {}
    if not checkpoint.get("by_epoch", True):
        changed += [f"checkpoint {text}" for text in _multiply(checkpoint, ("interval",), stretch)]
    for hook in cfg.get("custom_hooks") or []:
        if hook["type"] == "EMAHook" and batch.accumulated > 1:
            hook["interval"] = hook.get("interval", 1) * batch.accumulated
            changed.append(f"EMA updated every {hook['interval']} iterations, once an optimizer step")
    if not changed:
        return ["schedule unchanged: it is counted in epochs"]
    title = f"for as many samples as published, counts of iterations x {float(stretch):g}:"
    return [title, *(f"  {change}" for change in changed)]


def _schedulers(cfg: Config) -> list[dict[str, Any]]:
    schedulers = cfg.get("param_scheduler") or []
    return schedulers if isinstance(schedulers, list) else [schedulers]


def _scale_scheduler(scheduler: dict[str, Any], stretch: Fraction) -> str:
    """Convert a scheduler that counts iterations, in place; returns what changed."""
    if scheduler.get("by_epoch", True):
        return ""
    kind = scheduler["type"]
    if kind not in _COUNTED:
        raise UserError(
            f"--auto-scale cannot convert {kind!r}, which counts iterations",
            "param_scheduler",
            did_you_mean(kind, _COUNTED),
        )
    changes = _multiply(scheduler, ("begin", "end", *_COUNTED[kind]), stretch)
    return f"{kind} {', '.join(changes)}" if changes else ""


def _multiply(node: dict[str, Any], keys: tuple[str, ...], stretch: Fraction) -> list[str]:
    """Multiply counts in place, to the nearest iteration and one at least; returns `key: before -> after`."""

    def scaled(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return type(value)(scaled(item) for item in value)
        return max(1, round(value * stretch)) if value and math.isfinite(value) else value

    changes = []
    for key in keys:
        if key in node and (after := scaled(node[key])) != node[key]:
            changes.append(f"{key} {node[key]} -> {after}")
            node[key] = after
    return changes


def _replace_norms(cfg: Config, processes: int, norm: str) -> list[str]:
    synchronised = processes > 1 and torch.cuda.is_available()
    if norm == "BN" and synchronised:
        return []
    replaced: dict[str, int] = {}
    for _, part in walk_dicts(cfg.model, "model"):
        old = part.get("norm_cfg")
        if old and old["type"] in (_BATCH_NORMS if norm == "GN" else ("SyncBN",)):
            replaced[old["type"]] = replaced.get(old["type"], 0) + 1
            kept = {key: value for key, value in old.items() if key == "requires_grad"}
            part["norm_cfg"] = dict(
                type=norm, **({"num_groups": _groups(part)} if norm == "GN" else {}), **kept
            )
    if not replaced:
        return []
    why = "it does not depend on the batch" if norm == "GN" else "there is nothing to synchronise"
    parts = sum(replaced.values())
    return [f"{norm} instead of {' and '.join(replaced)} in {parts} part{'s' if parts > 1 else ''}: {why}"]


def _groups(part: Mapping[str, Any]) -> int:
    """Return the largest number of groups, 32 at most, that divides a head's widths into groups of some size.

    A pyramid's 1x1 map has nothing else to take a group's statistics from.
    """
    names = ("channels", "conv_out_channels", "out_channels")
    widths = [part[name] for name in names if isinstance(part.get(name), int)]
    groups = _GROUPS
    while groups > 1 and any(width % groups or width // groups < _MIN_GROUP for width in widths):
        groups //= 2
    return groups
