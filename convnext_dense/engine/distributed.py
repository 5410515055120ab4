"""Process groups, on machines without an accelerator too."""

from __future__ import annotations

import gc
import os

import torch
from mmengine.dist import all_reduce, broadcast, get_world_size
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..errors import UserError

_TORCHRUN_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
#: torchrun's name → Slurm's
_SLURM_VARIABLES = {"RANK": "SLURM_PROCID", "LOCAL_RANK": "SLURM_LOCALID", "WORLD_SIZE": "SLURM_NTASKS"}


def check_launcher(launcher: str) -> None:
    """Raise a UserError where `--launcher` does not fit the environment that the process was started in."""
    names = {"pytorch": _TORCHRUN_VARIABLES, "slurm": tuple(_SLURM_VARIABLES.values())}.get(launcher, ())
    absent = [name for name in names if name not in os.environ]
    if absent:
        script = "tools/dist_train.sh CONFIG N" if launcher == "pytorch" else "srun"
        raise UserError(
            f"--launcher {launcher}, but {', '.join(absent)} is not set",
            "environment",
            f"start it with `{script}`, or leave --launcher out for a single process",
        )


def init_cpu_process_group(launcher: str) -> None:
    """Join the process group over gloo; mmengine's own set-up needs a CUDA device.

    Args:
        launcher: `none` (nothing happens), `pytorch` or `slurm`.
    """
    if launcher == "none" or torch.cuda.is_available() or torch.distributed.is_initialized():
        return
    if launcher == "slurm":
        for name, slurm_name in _SLURM_VARIABLES.items():
            os.environ.setdefault(name, os.environ[slurm_name])
        os.environ.setdefault("MASTER_ADDR", os.environ.get("SLURM_LAUNCH_NODE_IPADDR", "127.0.0.1"))
        os.environ.setdefault("MASTER_PORT", "29500")
    torch.distributed.init_process_group("gloo")


def leave_process_group() -> None:
    """Wait for the other processes of the run and part with them; does nothing where there is only one.

    To be called when nobody holds the runner any more: gloo's threads end with the last reference to the
    group, and one that outlives the interpreter now and then aborts a process that has done its work.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    gc.collect()  # the model's wrapper, which lies in reference cycles, holds the group, too


def any_process(flag: bool) -> bool:
    """Return whether the flag is set on any process; all of them must ask at the same point."""
    if get_world_size() == 1:
        return flag
    shared = torch.tensor(int(flag))
    all_reduce(shared, "max")
    return bool(shared.item())


@HOOKS.register_module()
class BroadcastBuffersHook(Hook):
    """Give every rank the buffers of rank 0 before an evaluation.

    Plain batch norm keeps running statistics per rank. Without this, each rank would score its share of the
    images with other statistics than those in the checkpoint, which rank 0 writes.
    """

    priority = "VERY_HIGH"

    def _broadcast(self, runner: Runner) -> None:
        if get_world_size() > 1:
            for buffer in runner.model.buffers():
                broadcast(buffer, src=0)

    def before_val_epoch(self, runner: Runner) -> None:
        """Broadcast before a validation."""
        self._broadcast(runner)

    def before_test_epoch(self, runner: Runner) -> None:
        """Broadcast before a test."""
        self._broadcast(runner)
