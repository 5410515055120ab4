"""The pretrained checkpoint in an `init_cfg`, read by this package's loader instead of mmengine's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from mmengine.model import PretrainedInit

from ..errors import UserError, did_you_mean

# `prefix` and `map_location` are mmengine's: the loader finds prefixes itself and loads on the CPU.
_KEYS = ("type", "checkpoint", "norm3_from_classifier", "prefix", "map_location")


class Pretrained(NamedTuple):
    """A checkpoint to start from, with the options of `load_weights`."""

    source: str
    norm3_from_classifier: bool


def split_init_cfg(
    init_cfg: Mapping[str, Any] | list[Mapping[str, Any]] | None, where: str
) -> tuple[list[Mapping[str, Any]], list[Pretrained]]:
    """Separate the checkpoints of an `init_cfg` from its other initialisers.

    Args:
        init_cfg: mmengine's initialisation config: None, one dict or a list of them.
        where: What to call the config in an error.

    Returns:
        The configs of other types, and what each `dict(type='Pretrained', checkpoint=...)` asks for.

    Raises:
        UserError: A 'Pretrained' config names no checkpoint or has an unknown key.
    """
    cfgs = [init_cfg] if isinstance(init_cfg, Mapping) else list(init_cfg or [])
    others = [cfg for cfg in cfgs if not _is_pretrained(cfg)]
    return others, [_pretrained(cfg, where) for cfg in cfgs if _is_pretrained(cfg)]


def _is_pretrained(cfg: Mapping[str, Any]) -> bool:
    kind = cfg.get("type")
    return kind is PretrainedInit or (isinstance(kind, str) and kind.rsplit(".", 1)[-1] == "Pretrained")


def _pretrained(cfg: Mapping[str, Any], where: str) -> Pretrained:
    for key in cfg:
        if key not in _KEYS:
            raise UserError(f"unknown key {key!r} in init_cfg", where, did_you_mean(key, _KEYS))
    if not cfg.get("checkpoint"):
        fix = "give checkpoint=<file, folder, URL or short name>, or init_cfg=None to start from scratch"
        raise UserError("init_cfg of type 'Pretrained' names no checkpoint", where, fix)
    return Pretrained(cfg["checkpoint"], bool(cfg.get("norm3_from_classifier", False)))
