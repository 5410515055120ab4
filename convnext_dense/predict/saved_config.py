"""The config of a checkpoint: named by the caller, or found as data in the checkpoint or beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from ..config_files import typed_config
from ..engine.config import load_config, walk_dicts
from ..engine.libraries import load_libraries
from ..errors import UserError, did_you_mean
from ..weights.published import find_published
from .guard import SCOPES, check_built_from, import_named

_NAME_ONE = "name the config file that the checkpoint was trained with: --config CONFIG"


@dataclass(frozen=True)
class PredictConfig:
    """What of a config prediction needs.

    Attributes:
        scope: `mmdet` or `mmseg`.
        model: Config of the detector or segmentor, without weights to start from.
        pipeline: Configs of the test pipeline's steps.
        dataset: The test data set's `type` and `metainfo`, as far as they are there.
        where: Where the config was found, for messages.
    """

    scope: str
    model: ConfigDict
    pipeline: tuple[ConfigDict, ...]
    dataset: ConfigDict
    where: str


def find_config(
    meta: Mapping[str, Any], path: Path, config: str | Path | Config | None = None
) -> PredictConfig:
    """Return the config to predict by: the given one, the checkpoint's own, or `config.json` beside it.

    A `.py` file that the caller names is run, as by every tool. All else is data, of which nothing is run.

    Args:
        meta: The checkpoint's `meta`, whose `config_json` holds the resolved config.
        path: The checkpoint's file or folder.
        config: A config, or a file of one.

    Raises:
        UserError: There is none, it is incomplete, or it is data that could run code.
    """
    if isinstance(config, Config):
        return _trusted(config, "the given config")
    if config is not None and Path(config).suffix != ".json":
        return _trusted(load_config(config), str(config))
    beside = (path if path.is_dir() else path.parent) / "config.json"
    if config is not None:
        return _from_json(_read(Path(config)), str(config))
    if "config_json" in meta:
        return _from_json(meta["config_json"], f"{path}, meta['config_json']")
    if beside.is_file():
        return _from_json(_read(beside), str(beside))
    published = find_published(path)
    recipe = published.recipe if published else None
    what = "there is no config in the checkpoint or beside it"
    if "cfg" in meta:
        what = "the checkpoint holds its config as Python code only, which is not run"
    raise UserError(
        what, str(path), f"name its recipe: --config {typed_config(recipe)}" if recipe else _NAME_ONE
    )


def _trusted(cfg: Config, where: str) -> PredictConfig:
    found = _extract(cfg, where)
    load_libraries(found.scope)
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the config cannot be read: {error}", str(path), _NAME_ONE) from error


def _from_json(text: Any, where: str) -> PredictConfig:
    try:
        content = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(f"the config is no JSON: {error}", where, _NAME_ONE) from error
    if not isinstance(content, dict):
        raise UserError(f"the config is a JSON {type(content).__name__}, no object", where, _NAME_ONE)
    found = _extract(ConfigDict(content), where)
    found = replace(found, pipeline=_with_tuples(found.pipeline))
    load_libraries(found.scope)
    import_named(content.get("custom_imports"), where)
    check_built_from({"model": found.model, "pipeline": found.pipeline}, found.scope, where)
    return found


def _extract(cfg: Config | ConfigDict, where: str) -> PredictConfig:
    parts = [part for _, part in walk_dicts(cfg.get("test_dataloader") or {})]
    dataset = next((part for part in parts if part.get("pipeline")), ConfigDict())
    model, pipeline = cfg.get("model"), dataset.get("pipeline")
    if not isinstance(model, dict) or not isinstance(pipeline, list | tuple):
        absent = "test_dataloader.dataset.pipeline" if isinstance(model, dict) else "model"
        raise UserError(f"the config has no `{absent}`", where, _NAME_ONE)
    scope = cfg.get("default_scope")
    if scope not in SCOPES:
        raise UserError(
            f"a config of default_scope {scope!r} predicts neither boxes nor label maps",
            where,
            did_you_mean(str(scope), SCOPES),
        )
    return PredictConfig(
        scope=scope,
        model=without_weights(model),
        pipeline=tuple(pipeline),
        dataset=ConfigDict({key: dataset[key] for key in ("type", "metainfo") if key in dataset}),
        where=where,
    )


def _with_tuples(node: Any) -> Any:
    """Return a pipeline from JSON, which has no tuples, with tuples of numbers: transforms insist on them."""
    if isinstance(node, dict):
        return ConfigDict({key: _with_tuples(value) for key, value in node.items()})
    if isinstance(node, list | tuple):
        items = [_with_tuples(item) for item in node]
        is_tuple = isinstance(node, tuple) or all(isinstance(item, int | float) for item in items)
        return tuple(items) if is_tuple else items
    return node


def without_weights(node: Any) -> Any:
    """Return a copy of a model's config that starts from no weights: a checkpoint brings them all."""
    if isinstance(node, dict):
        kept = {key: without_weights(value) for key, value in node.items() if key != "init_cfg"}
        if "pretrained" in kept:
            kept["pretrained"] = False if isinstance(kept["pretrained"], bool) else None
        return ConfigDict(kept)
    return type(node)(map(without_weights, node)) if isinstance(node, list | tuple) else node
