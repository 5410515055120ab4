"""The runner: mmengine's, with verified weights, checkpoints that are plain data, and CPU processes."""

from __future__ import annotations

import logging
import os
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import broadcast, broadcast_object_list, is_main_process
from mmengine.logging import HistoryBuffer, MMLogger
from mmengine.model import (
    BaseModule,
    BaseTTAModel,
    MMDistributedDataParallel,
    is_model_wrapper,
    revert_sync_batchnorm,
)
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from torch import nn

from ..errors import UserError
from ..models.convnext import ConvNeXt
from ..weights import load_weights, read_checkpoint
from .config import config_to_json, plain
from .run_dirs import BEST, LAST, POINTER, adopt_best, link_checkpoint, run_dir
from .run_folder import best_checkpoint, write_run_folder

#: The checkpoint of an interruption; the next regular one takes its place.
INTERRUPTED = "interrupted.pth"


@RUNNERS.register_module()
class DenseRunner(Runner):
    """mmengine's `Runner` with this toolkit's promises.

    - Weights go through `load_weights`: `init_cfg=dict(type='Pretrained')` anywhere in the model,
      `load_from`, a resumed and a tested checkpoint. What does not fit stops the run.
    - Checkpoints hold nothing but tensors, numbers and strings, so that `torch.load(weights_only=True)` reads
      them; the resolved config is in them as JSON.
    - Each training has a folder of its own, `work_dir/<time>`, which becomes the runner's `work_dir`; a test
      writes into the work dir itself.
    - A checkpoint file is whole or absent; `last.pth` and `best.pth` stand for the newest and the best.
    - Several processes run without an accelerator, too.
    - The console shows what a reader follows; the log file has all.
    """

    def setup_env(self, env_cfg: dict) -> None:
        """Set up processes and devices, and agree with all of them on the run's folder."""
        super().setup_env(env_cfg)
        self._format_config(False)
        if self._train_loop is None:
            return
        chosen = [str(run_dir(self.cfg, Path(self.work_dir), self.timestamp)) if is_main_process() else None]
        broadcast_object_list(chosen)
        folder = Path(str(chosen[0]))
        folder.mkdir(parents=True, exist_ok=True)  # on another host
        self._work_dir = str(folder)
        if folder.name.startswith(self.timestamp):
            self._timestamp = folder.name  # mmengine names loggers by it

    @property
    def _log_dir(self) -> str:
        """Folder of the logs: mmengine's dated one in the work dir, or that of the run, which is dated."""
        return self._dated_dir if self._train_loop is None else self._work_dir

    @_log_dir.setter
    def _log_dir(self, folder: str) -> None:
        self._dated_dir = folder

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """Build the logger, with a console that leaves mmengine's long listings to the file."""
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.setStream(_CurrentStdout())
                handler.addFilter(_is_for_console)
                handler.setFormatter(logging.Formatter("%(message)s"))
        return logger

    def dump_config(self) -> None:
        """Write the resolved config (`.py` and JSON) and the environment to the work dir."""
        self._format_config(True)
        super().dump_config()
        self._format_config(False)
        write_run_folder(self)

    def _format_config(self, wanted: bool) -> None:
        """Choose whether the config's text is formatted, which takes a second or more each time.

        The file in the work dir is for readers; the copies in logs and checkpoints need no formatting.
        """
        super(Config, self.cfg).__setattr__("_format_python_code", wanted)

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Wrap the model for distributed training, on the CPU without device ids and without SyncBN."""
        if not self.distributed or torch.cuda.is_available() or model_wrapper_cfg is not None:
            return super().wrap_model(model_wrapper_cfg, model)
        return MMDistributedDataParallel(
            module=revert_sync_batchnorm(model),
            broadcast_buffers=False,
            find_unused_parameters=self.cfg.get("find_unused_parameters", False),
        )

    @property
    def unwrapped_model(self) -> nn.Module:
        """The model without its wrappers: distributed, test-time augmentation."""
        model = self.model.module if is_model_wrapper(self.model) else self.model
        return model.module if isinstance(model, BaseTTAModel) else model

    def _init_model_weights(self) -> None:
        """Initialise the model; every `Pretrained` in it is loaded by `load_weights` and verified."""
        model = self.unwrapped_model
        # ConvNeXt verifies its own. For any other module mmengine would load with strict=False: take the
        # source out of its hands, initialise, then load and verify.
        sources = [(module, _take_pretrained(module)) for module in _modules_with_pretrained(model)]
        if isinstance(model, BaseModule):
            model.init_weights()
        for module, source in sources:
            self.logger.info(str(load_weights(module, source)))
        for tensor in model.state_dict().values():
            broadcast(tensor)

    def load_checkpoint(
        self,
        filename: str,
        map_location: str | Callable = "cpu",
        strict: bool = False,
        revise_keys: list | None = None,
    ) -> dict[str, Any]:
        """Load a checkpoint into the model and verify that it fits.

        Args:
            filename: File, Hugging Face folder or URL.
            map_location: Kept for mmengine's signature; tensors are read to the CPU and copied.
            revise_keys: Likewise; `load_weights` knows the names of each family.
            strict: Whether the heads must fit, too: True for a test, where nothing may be left from
                initialisation. The backbone always must.

        Returns:
            The checkpoint, or `{'state_dict': ...}` where the source is no checkpoint of a run.

        Raises:
            UserError: if the file does not fit the model, or holds more than data.
        """
        complete = strict or self._train_loop is None or self._resume
        if self._resume:
            checkpoint = _restore_message_hub(read_checkpoint(filename), filename, Path(self.work_dir))
            metainfo = getattr(self.train_dataloader.dataset, "metainfo", None)
            if plain(metainfo) == checkpoint["meta"].get("dataset_meta"):
                # mmengine compares them byte by byte, and warns.
                checkpoint["meta"]["dataset_meta"] = metainfo
            self.call_hook("after_load_checkpoint", checkpoint=checkpoint)
            report = load_weights(self.unwrapped_model, checkpoint["state_dict"], heads="require")
        else:
            report = load_weights(self.unwrapped_model, filename, heads="require" if complete else "report")
            checkpoint = {"state_dict": self.unwrapped_model.state_dict(), "meta": {}}
            self.call_hook("after_load_checkpoint", checkpoint=checkpoint)
        self._has_loaded = True
        self.logger.info(f"weights from {filename}\n{report}")
        return checkpoint

    def save_checkpoint(self, out_dir: str, filename: str, *args: Any, **kwargs: Any) -> None:
        """Save a checkpoint (rank 0 only): whole, then under its name, then also as `last.pth` or `best.pth`.

        Args:
            out_dir: Folder, or the address of another storage, where mmengine's own way has to do.
            filename: Name in it.
            args: See mmengine's `Runner.save_checkpoint`.
            kwargs: Likewise.
        """
        if not is_main_process():
            return
        if "://" in out_dir:
            super().save_checkpoint(out_dir, filename, *args, **kwargs)
            return
        target = Path(out_dir) / filename
        super().save_checkpoint(out_dir, f"{filename}.part", *args, **kwargs)
        os.replace(f"{target}.part", target)
        if filename.startswith("best_"):
            if str(target) == best_checkpoint(self):
                link_checkpoint(target, BEST)
            return
        link_checkpoint(target, LAST)
        for folder in (Path(self.work_dir), Path(self.work_dir).parent):
            (folder / POINTER).write_text(str(target))
        if filename != INTERRUPTED:
            target.with_name(INTERRUPTED).unlink(missing_ok=True)

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """Call the hooks; a checkpoint about to be written is made plain after them all."""
        super().call_hook(fn_name, **kwargs)
        if fn_name == "before_save_checkpoint":
            _make_plain(kwargs["checkpoint"], self.cfg)


class _CurrentStdout:
    """Writes to what `sys.stdout` is at the moment, so that a progress bar stays below what is written."""

    closed = False  # mmengine's MLflow back end asks

    def write(self, text: str) -> None:
        sys.stdout.write(text)

    def flush(self) -> None:
        sys.stdout.flush()


#: Warnings of the libraries about themselves, which their user can do nothing about.
_LIBRARY_NOISE = ("Could not import OneDL", "The prefix is not set", "FileClient", "HardDiskBackend")


def _is_for_console(record: logging.LogRecord) -> bool:
    """Drop mmengine's listings of the environment, config and hooks, and its log lines (see ProgressHook)."""
    if getattr(record, "file_only", False) or any(text in record.getMessage() for text in _LIBRARY_NOISE):
        return False
    source = Path(record.pathname)
    if record.levelno > logging.INFO or "mmengine" not in source.parts:
        return True
    return (source.stem, record.funcName) == ("logger_hook", "after_val_epoch") or source.stem in (
        "logger",  # print_log: messages of the model's parts
        "checkpoint_hook",
        "early_stopping_hook",
    )


def _modules_with_pretrained(model: nn.Module) -> Iterator[BaseModule]:
    for module in model.modules():
        if isinstance(module, BaseModule) and not isinstance(module, ConvNeXt):
            configs = module.init_cfg if isinstance(module.init_cfg, (list, tuple)) else [module.init_cfg]
            if any(cfg and cfg["type"] == "Pretrained" for cfg in configs):
                yield module


def _take_pretrained(module: BaseModule) -> str:
    configs = module.init_cfg if isinstance(module.init_cfg, (list, tuple)) else [module.init_cfg]
    source = next(cfg["checkpoint"] for cfg in configs if cfg["type"] == "Pretrained")
    module.init_cfg = [cfg for cfg in configs if cfg["type"] != "Pretrained"] or None
    return source


def _make_plain(checkpoint: dict[str, Any], cfg: Config) -> None:
    """Turn what mmengine puts beside the tensors into strings, numbers and lists, in place."""
    meta = checkpoint["meta"]
    if "dataset_meta" in meta:
        meta["dataset_meta"] = plain(meta["dataset_meta"])
    meta["config_json"] = config_to_json(cfg)
    hub = checkpoint["message_hub"]
    checkpoint["message_hub"] = {
        "log_scalars": {
            name: {
                "log": plain(buffer.data[0]),
                "count": plain(buffer.data[1]),
                "max_length": buffer.max_length,
            }
            for name, buffer in hub["log_scalars"].items()
        },
        "runtime_info": plain(hub["runtime_info"]),
        "resumed_keys": plain(hub["resumed_keys"]),
    }


def _restore_message_hub(checkpoint: dict[str, Any], source: str, run: Path) -> dict[str, Any]:
    """Return a checkpoint of ours with the message hub as mmengine's `resume` wants it, in a run's folder."""
    hub = checkpoint.get("message_hub")
    if not isinstance(hub, dict) or not all(isinstance(item, dict) for item in hub["log_scalars"].values()):
        raise UserError(
            "the checkpoint does not hold the state of a run of this toolkit",
            source,
            "start a new run from its weights with --load-from",
        )
    scalars = OrderedDict(
        (name, HistoryBuffer(item["log"], item["count"], item["max_length"]))
        for name, item in hub["log_scalars"].items()
    )
    info = dict(hub["runtime_info"])
    for name in [name for name in info if name.startswith("best_ckpt")]:
        if info[name]:
            if is_main_process():
                adopt_best(Path(info[name]), run)
            info[name] = str(run / Path(info[name]).name)
    # mmengine's `resume` would execute the text under `config`.
    meta = {key: value for key, value in checkpoint["meta"].items() if key != "config"}
    return {**checkpoint, "meta": meta, "message_hub": {**hub, "runtime_info": info, "log_scalars": scalars}}
