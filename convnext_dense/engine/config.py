"""Reading configs, and adapting them to the command line and the machine."""

from __future__ import annotations

import argparse
import json
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, DictAction

from ..config_files import find_config
from ..errors import UserError, did_you_mean, nearest

#: Settings that a config may leave out and that look like a misspelling of another one.
_OPTIONAL = {"dtype"}


def load_config(path: str | Path, cfg_options: Sequence[str] = ()) -> Config:
    """Read a config file and merge command-line overrides into it.

    Args:
        path: A classic text config (`_base_`, `type='...'`), `.py` or `.json`; or the name of a shipped one.
        cfg_options: Overrides, each `dotted.key=value`.

    Raises:
        UserError: if the file is absent or does not parse, or an override's path does not exist.
    """
    path = find_config(path)
    if path.suffix not in (".py", ".json"):
        raise UserError(
            f"a config is a .py or .json file, this is {path.suffix or 'neither'}",
            str(path),
            "convert it to .py",
        )
    try:
        cfg = Config.fromfile(path)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"the config cannot be read: {type(error).__name__}: {error}",
            str(path),
            "mend the file, or run with --debug for the traceback",
        ) from error
    overrides = _parse_cfg_options(cfg_options)
    for key in overrides:
        _check_override(cfg, key)
    cfg.merge_from_dict(overrides)
    return cfg


def _parse_cfg_options(items: Sequence[str]) -> dict[str, Any]:
    for item in items:
        if "=" not in item:
            raise UserError(
                f"not KEY=VALUE: {item!r}",
                "--cfg-options",
                "write e.g. train_dataloader.batch_size=4, without spaces",
            )
    if not items:
        return {}
    # mmengine's own parser, so that values are understood as in OpenMMLab's tools.
    parser = argparse.ArgumentParser()
    parser.add_argument("--cfg-options", nargs="+", action=DictAction)
    try:
        return parser.parse_args(["--cfg-options", *items]).cfg_options
    except AssertionError as error:
        raise UserError(
            f"not understood: {error}", "--cfg-options", "close every bracket and quote"
        ) from error


def _check_override(cfg: Config, key: str) -> None:
    """Refuse an override whose path does not exist, or whose last name looks like a misspelt one."""
    node: Any = cfg
    *parents, leaf = key.split(".")
    for depth, name in enumerate([*parents, leaf]):
        is_leaf = depth == len(parents)
        where = ".".join(parents[:depth]) or "the config"
        if isinstance(node, (list, tuple)):
            if not (name.isdigit() and int(name) < len(node)):
                raise UserError(
                    f"no item {name!r} in the list of {len(node)}",
                    f"--cfg-options {key}",
                    f"{where} takes 0 … {len(node) - 1}",
                )
            node = node[int(name)]
            continue
        if not isinstance(node, dict | Config):
            raise UserError(
                f"{where} is {node!r}, which has no parts",
                f"--cfg-options {key}",
                f"set {where}=VALUE itself",
            )
        names = list(node.keys())
        if name in names:
            node = node[name]
        elif name == "init_cfg":  # OpenMMLab's way to name a checkpoint: init_cfg.type, init_cfg.checkpoint
            return
        elif not is_leaf:
            raise UserError(f"no key {name!r} in {where}", f"--cfg-options {key}", did_you_mean(name, names))
        else:
            close = nearest(name, names) if name not in _OPTIONAL else None
            if close and len(close) - len(name) in (-1, 0, 1) and len(name) > 3:
                raise UserError(
                    f"no key {name!r} in {where}", f"--cfg-options {key}", f"did you mean {close!r}?"
                )


def walk_dicts(node: Any, path: str = "") -> Iterator[tuple[str, dict]]:
    """Yield `(dotted path, dict)` of every dict in a config, outer ones first."""
    if isinstance(node, dict):
        yield path, node
        for key, value in node.items():
            yield from walk_dicts(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            yield from walk_dicts(value, f"{path}.{index}" if path else str(index))


def add_hooks(cfg: Config, *kinds: str) -> None:
    """Add hooks to a config, in place, but for those that it has, as the resolved config of a run does."""
    hooks = cfg.get("custom_hooks") or []
    present = {hook["type"] for hook in hooks}
    cfg.custom_hooks = [*hooks, *(dict(type=kind) for kind in kinds if kind not in present)]


def plain(value: Any) -> Any:
    """Return `value` as JSON can hold it: dicts, lists, strings, numbers, booleans and None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, deque, set)):
        return [plain(item) for item in value]
    if isinstance(value, (str, bool)) or value is None:
        return value
    for kind in (int, float):  # NumPy's float64 is a float, but is pickled as an object
        if isinstance(value, kind):
            return kind(value)
    return plain(value.tolist()) if hasattr(value, "tolist") else repr(value)


def config_to_json(cfg: Config) -> str:
    """Return the resolved config as JSON text: data that can be read back without running anything."""
    return json.dumps(plain(cfg.to_dict()), indent=1)


def settle_workers(cfg: Config) -> None:
    """Take out of loaders without workers, in place, what PyTorch refuses there: settings of the workers."""
    for split in ("train", "val", "test"):
        loader = cfg.get(f"{split}_dataloader") or {}
        if loader.get("num_workers") == 0:
            for key in ("persistent_workers", "prefetch_factor"):
                loader.pop(key, None)


def use_amp(cfg: Config) -> None:
    """Switch the optimizer wrapper to mixed precision, as `--amp` asks."""
    wrapper = cfg.optim_wrapper
    if wrapper.get("type", "OptimWrapper") == "OptimWrapper":
        wrapper.type = "AmpOptimWrapper"
        wrapper.setdefault("loss_scale", "dynamic")
    elif wrapper.type != "AmpOptimWrapper":
        raise UserError(
            f"--amp cannot turn {wrapper.type!r} into mixed precision",
            "optim_wrapper.type",
            "use OptimWrapper or AmpOptimWrapper",
        )


def adapt_to_cpu(cfg: Config) -> list[str]:
    """On a machine without an accelerator turn AMP to fp32 and NCCL to gloo, in place.

    Returns:
        One notice for each change of the recipe.
    """
    if torch.cuda.is_available():
        return []
    cfg.env_cfg.setdefault("dist_cfg", {}).backend = "gloo"
    wrapper: dict[str, Any] = cfg.get("optim_wrapper") or {}
    if wrapper.get("type") != "AmpOptimWrapper":
        return []
    wrapper["type"] = "OptimWrapper"
    for key in ("loss_scale", "dtype", "use_fsdp"):
        wrapper.pop(key, None)
    return ["no accelerator found: mixed precision is off, training in fp32"]
