"""From parsed arguments to a finished run: the bodies of `tools/train.py` and `tools/test.py`."""

from __future__ import annotations

import argparse
import os
import re
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..commands import command
from ..errors import UserError, did_you_mean
from .auto_scale import auto_scale, process_count
from .classes import set_num_classes
from .config import adapt_to_cpu, add_hooks, load_config, settle_workers, use_amp, walk_dicts
from .distributed import check_launcher, init_cpu_process_group, leave_process_group
from .fine_tune import add_fine_tuning
from .libraries import load_libraries
from .loaders import closed_loaders
from .preflight import check_data, check_not_empty, check_weights
from .progress import stopped_progress
from .run_dirs import checkpoint_to_resume
from .spelling import check_spelling, registered_names
from .training import add_train_hooks, run_training

#: Hooks that every run of the tools has, beside those of its config.
_TOOL_HOOKS = ("ProgressHook", "MetricsFileHook", "BroadcastBuffersHook")


@closed_loaders()
def train(args: argparse.Namespace) -> int:
    """Run `tools/train.py`: check, build, train, and say where the results are; returns the exit code."""
    exit_code = _train(args)
    leave_process_group()
    return exit_code


@closed_loaders()
def test(args: argparse.Namespace) -> None:
    """Run `tools/test.py`: evaluate a checkpoint on the config's test set."""
    _test(args)
    leave_process_group()


def _train(args: argparse.Namespace) -> int:
    started_s = time.monotonic()
    cfg = _prepare(args)
    add_train_hooks(cfg, args)
    if args.amp:
        use_amp(cfg)
    if args.auto_scale_lr:
        _enable_auto_scale_lr(cfg, args)
    if args.resume is not None:
        cfg.resume = True
    if cfg.get("resume"):
        source = args.resume or cfg.get("load_from") or "auto"
        cfg.load_from = checkpoint_to_resume(source, cfg.work_dir)
    elif args.load_from:
        cfg.load_from = args.load_from
    _skip_replaced_weights(cfg)
    check_data(cfg)
    check_weights(cfg)
    _place_quarantine(cfg)
    findings = [] if args.skip_check else _check_content(cfg)
    said = add_fine_tuning(cfg, args)
    if args.auto_scale:
        said += auto_scale(cfg, process_count(args.launcher), args.auto_scale_norm)
    runner = _build_runner(cfg, [*findings, *said])
    with _readable_errors(), _compiled(runner, args.compile):
        check_not_empty(runner.train_loop.dataloader.dataset, "train_dataloader.dataset")
        return run_training(runner, args, started_s)


def _test(args: argparse.Namespace) -> None:
    # A folder of its own: that of the training keeps the record of the training.
    args.work_dir = args.work_dir or str(Path("work_dirs") / Path(args.config).stem / "test")
    cfg = _prepare(args)
    cfg.load_from, cfg.resume = args.checkpoint, False
    # Only a training needs what follows; without it, nothing of it is built.
    for key in ("train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler"):
        cfg[key] = None
    if args.tta:
        _use_tta(cfg)
    if args.show_dir:
        cfg.custom_hooks.append(dict(type="OverlayHook", out_dir=args.show_dir))
    if args.out:
        _write_predictions_to(cfg, args.out)
    check_data(cfg, ("test",))
    check_weights(Config({"load_from": cfg.load_from}))
    runner = _build_runner(cfg)
    with _readable_errors(), _compiled(runner, args.compile), stopped_progress(runner):
        check_not_empty(runner.test_loop.dataloader.dataset, "test_dataloader.dataset")
        runner.test()
    runner.logger.info(f"done: the scores are in {Path(cfg.work_dir) / 'metrics.json'}")


@contextmanager
def _compiled(runner: Any, wanted: bool) -> Iterator[None]:
    """Compile the model's parts meanwhile, if wanted, and say in the end what that took."""
    if not wanted:
        yield
        return
    from .compile import compile_parts, describe_compiled

    is_detector = runner.cfg.default_scope == "mmdet"
    parts = compile_parts(runner.unwrapped_model, dynamic=True if is_detector else None)
    yield
    runner.logger.info(describe_compiled(parts))


def _prepare(args: argparse.Namespace) -> Config:
    # The libraries warn of each other's old interfaces, about which their user can do nothing.
    warnings.filterwarnings("ignore", module=r"(mm\w+|torch)\..*")
    check_launcher(args.launcher)
    cfg = load_config(args.config, args.cfg_options)
    for key in ("model", "default_scope", "env_cfg"):
        if key not in cfg:
            raise UserError(
                f"the config has no `{key}`: it is only a part of one",
                args.config,
                "name a whole config, e.g. a leaf",
            )
    with _readable_errors():
        load_libraries(cfg.default_scope)
        check_spelling(cfg, f"{args.config}{' with --cfg-options' if args.cfg_options else ''}")
    settle_workers(cfg)
    cfg.launcher = args.launcher
    cfg.work_dir = args.work_dir or cfg.get("work_dir") or str(Path("work_dirs") / Path(args.config).stem)
    try:
        Path(cfg.work_dir).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"the work dir cannot be made: {error.strerror}", cfg.work_dir, "name another one with --work-dir"
        ) from error
    if not os.access(cfg.work_dir, os.W_OK):
        raise UserError("the work dir cannot be written", cfg.work_dir, "name another one with --work-dir")
    add_hooks(cfg, *_TOOL_HOOKS)
    return cfg


def _place_quarantine(cfg: Config) -> None:
    """List images that are left out in the work dir, where the config names no other file."""
    for _, dataset in walk_dicts(cfg.get("train_dataloader") or {}):
        if dataset.get("on_bad_image") == "skip":
            dataset.setdefault("quarantine_file", str(Path(cfg.work_dir) / "quarantine.csv"))


def _check_content(cfg: Config) -> list[str]:
    """Look at all annotations and images of the data sets; one process of each host does."""
    from ..data.check import check_before_training

    with _readable_errors():
        return check_before_training(cfg) if os.environ.get("LOCAL_RANK", "0") == "0" else []


def _build_runner(cfg: Config, said: Sequence[str] = ()):  # type: ignore[no-untyped-def]
    from .runner import DenseRunner

    with _readable_errors():
        notices = [*said, *adapt_to_cpu(cfg), *set_num_classes(cfg)]
        init_cpu_process_group(cfg.launcher)
        runner = DenseRunner.from_cfg(cfg)
    for notice in notices:
        runner.logger.info(notice)
    return runner


def _enable_auto_scale_lr(cfg: Config, args: argparse.Namespace) -> None:
    if args.auto_scale:
        raise UserError(
            "--auto-scale and --auto-scale-lr both adapt the learning rate",
            fix="give --auto-scale alone, which also keeps the batch and the schedule",
        )
    if "base_batch_size" not in (cfg.get("auto_scale_lr") or {}):
        raise UserError(
            "--auto-scale-lr needs the batch size that the learning rate was chosen for",
            "auto_scale_lr.base_batch_size",
            "add `auto_scale_lr = dict(enable=False, base_batch_size=16)` to the config",
        )
    cfg.auto_scale_lr.enable = True


def _skip_replaced_weights(cfg: Config) -> None:
    """Do not fetch a backbone's weights that a checkpoint of the whole model is about to replace."""
    if cfg.get("load_from") and cfg.model.get("backbone", {}).get("init_cfg"):
        cfg.model.backbone.init_cfg = None


def _use_tta(cfg: Config) -> None:
    if "tta_model" not in cfg or "tta_pipeline" not in cfg:
        raise UserError(
            "--tta, but the config has no test-time augmentation",
            "tta_model, tta_pipeline",
            "add both to the config",
        )
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
    cfg.tta_model.module = cfg.model
    cfg.model = cfg.tta_model


def _write_predictions_to(cfg: Config, folder: str) -> None:
    """Let the metric write what it scores: label maps as PNG, objects as COCO JSON."""
    evaluators = cfg.test_evaluator if isinstance(cfg.test_evaluator, list) else [cfg.test_evaluator]
    for evaluator in evaluators:
        if evaluator.type in ("IoUMetric", "ConfusionIoUMetric"):
            evaluator.output_dir = folder
            return
        if evaluator.type == "CocoDetectionMetric":
            evaluator.outfile_prefix = str(Path(folder) / "predictions")
            return
    raise UserError(
        f"--out does not know the metric {evaluators[0].type!r}", "test_evaluator", "leave --out out"
    )


@contextmanager
def _readable_errors() -> Iterator[None]:
    """Turn what the libraries raise for a user's mistake in a config into a UserError."""
    try:
        yield
    except AssertionError as error:  # a loader's, at a file that its header did not give away
        if bad := re.search(r"failed to load image: (.+)", str(error)):
            raise UserError(
                "an image cannot be decoded",
                bad[1],
                f"get the file again; {command('check-data', 'CONFIG', '--full')} finds all such",
            ) from error
        raise
    except (KeyError, TypeError, ValueError, FileNotFoundError) as error:
        text = str(error.args[0]) if error.args else str(error)
        if "at least one array to concatenate" in text:  # mmengine packs the list of samples
            raise UserError(
                "a data set has no image", "the data sets of the config", "correct data_prefix and img_suffix"
            ) from error
        unknown = re.search(r"'?([\w.]+) is not in the ([\w]+)::([\w ]+) registry", text)
        if unknown:
            name, scope, kind = unknown.groups()
            raise UserError(
                f"unknown {kind} type {name!r}",
                "the config (a value of `type`)",
                did_you_mean(name, registered_names(scope, kind)).split("choose one of")[0]
                or "see the spelling in the libraries' documentation",
            ) from error
        unexpected = re.search(
            r"(?:class `(\w+)`.*?: )?.*got an unexpected keyword argument '(\w+)'", text, re.S
        )
        if isinstance(error, TypeError) and unexpected:
            raise UserError(
                f"{unexpected[1] or 'a part of the config'} takes no argument {unexpected[2]!r}",
                "the config",
                text.strip().splitlines()[-1],
            ) from error
        if isinstance(error, FileNotFoundError) and error.filename:
            raise UserError(f"no such file: {error.filename}", "the config", "correct the path") from error
        raise
