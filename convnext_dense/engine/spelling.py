"""Misspelt keys and types of a config, found by the signatures of what it builds, before data loads."""

from __future__ import annotations

import copy
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from mmengine import registry as root
from mmengine.config import Config
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, Registry
from mmengine.runner import LogProcessor, Runner
from torch.utils.data import DataLoader

from ..errors import UserError, did_you_mean, nearest
from .libraries import SCOPES
from .signatures import accepted_arguments

_LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")
#: The parts of a config from which objects are built. What else stands at its top are variables.
_BUILT = (
    "model",
    *_LOADERS,
    "val_evaluator",
    "test_evaluator",
    "optim_wrapper",
    "param_scheduler",
    "train_cfg",
    "val_cfg",
    "test_cfg",
    "default_hooks",
    "custom_hooks",
    "visualizer",
    "log_processor",
    "tta_model",
    "tta_pipeline",
)
#: Keys at the top of a config that the runner or the tools read, beside the arguments of `Runner`.
_TOP_LEVEL = (
    "custom_imports",
    "find_unused_parameters",
    "model_wrapper_cfg",
    "runner_type",
    "sync_bn",
    "tta_model",
    "tta_pipeline",
)
_DEFAULT_HOOKS = (
    "runtime_info",
    "timer",
    "sampler_seed",
    "logger",
    "param_scheduler",
    "checkpoint",
    "visualization",
)
#: Keys that mmengine or mmcv take out of a dict before they build from it, by the registry's name.
_TAKEN_OUT = {
    "hook": {"priority"},
    "model": {"requires_grad"},
    "optim_wrapper": {"constructor", "paramwise_cfg", "optimizer"},
    "parameter scheduler": {"convert_to_iter_based"},
}
#: Steps whose parts are built by another library.
_FOREIGN = ("Albu",)


@dataclass(frozen=True)
class _Part:
    """A dict with a `type`: its dotted path, itself, and the types of those around it, outer ones first."""

    path: str
    cfg: Mapping[str, Any]
    around: tuple[Any, ...]


def check_spelling(cfg: Config, source: str = "") -> None:
    """Raise a UserError for the first key or type of a config that its parts do not know.

    Of a class that takes any keyword argument, only what is one slip away from a name in its signature is a
    mistake. Dicts from which nothing is built, such as `model.test_cfg`, are not looked at.

    Args:
        cfg: A resolved config, whose libraries are loaded.
        source: Where it comes from, for messages (default: its file).
    """
    source = source or cfg.filename or ""
    where = f" in {source}" if source else ""
    _check_top_level(cfg, where)
    for path, names in _untyped(cfg):
        for key in cfg[path]:
            if key not in names:
                raise UserError(
                    f"no key {key!r} in {path}", f"{path}{where}", did_you_mean(key, sorted(names))
                )
    scope = cfg.get("default_scope") or "mmengine"
    for section in _BUILT:
        for part in _typed(cfg.get(section), section, ()):
            _check_part(part, scope, where)
    _check_constructor(cfg.get("optim_wrapper") or {}, scope, where)


def _check_top_level(cfg: Config, where: str) -> None:
    known = {*inspect.signature(Runner.__init__).parameters, *_TOP_LEVEL} - {"self"}
    hooks = cfg.get("default_hooks") or {}
    for names, choices, place in ((cfg, known, "the config"), (hooks, _DEFAULT_HOOKS, "default_hooks")):
        for name in set(names).difference(choices):
            # Variables may be called anything: only what is one slip away is taken for a mistake.
            if close := next((choice for choice in sorted(choices) if _one_slip(name, choice)), None):
                raise UserError(f"no key {name!r} in {place}", f"{place}{where}", f"did you mean {close!r}?")


def _untyped(cfg: Config) -> Iterator[tuple[str, frozenset[str]]]:
    """Yield `(path, known keys)` of the dicts without `type` that are handed to a known function."""
    loader = accepted_arguments(DataLoader).names
    for name in _LOADERS:
        if isinstance(cfg.get(name), dict):
            yield name, loader | {"num_batch_per_epoch", "disable_subprocess_warning"}
    for name, kind in (("randomness", Runner.set_randomness), ("log_processor", LogProcessor)):
        if isinstance(cfg.get(name), dict) and "type" not in cfg[name]:
            yield name, accepted_arguments(kind).names


def _typed(node: Any, path: str, around: tuple[Any, ...]) -> Iterator[_Part]:
    """Yield the dicts with a `type`, outer ones first."""
    if isinstance(node, Mapping):
        if "type" in node:
            yield _Part(path, node, around)
        if node.get("type") not in _FOREIGN:
            around = (*around, node["type"]) if "type" in node else around
            for key, value in node.items():
                yield from _typed(value, f"{path}.{key}", around)
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            yield from _typed(value, f"{path}.{index}", around)


def _check_part(part: _Part, scope: str, where: str) -> None:
    kind = part.cfg["type"]
    scope = part.cfg.get("_scope_", scope)
    candidates = _candidates(kind, scope)
    if not candidates and _is_mistake(kind) and not _mentioned(kind, part.around, scope):
        raise UserError(f"there is no type {kind!r}", f"{part.path}.type{where}", _similar_type(kind, scope))
    if not candidates or re.search(r"\.init_cfg(\.|$)", part.path):
        return
    taken = [accepted_arguments(candidate) for candidate, _ in candidates]
    names = {name for accepted in taken for name in accepted.names}
    known = names.union({"type", "_scope_"}, *(extra for _, extra in candidates))
    others = any(accepted.others for accepted in taken)
    for key in part.cfg:
        if key in known or (others and not any(_one_slip(key, name) for name in names)):
            continue
        if not _mentioned(key, (*part.around, kind), scope):
            name = kind if isinstance(kind, str) else kind.__name__
            raise UserError(
                f"{name} takes no argument {key!r}", f"{part.path}{where}", did_you_mean(key, sorted(names))
            )


def _check_constructor(wrapper: Mapping[str, Any], scope: str, where: str) -> None:
    """Let what makes the parameter groups look at its options, as it does when it is built."""
    name = wrapper.get("constructor")
    if not isinstance(name, str):
        return
    kinds = [kind for kind, _ in _candidates(name, scope)]
    if not kinds and "." not in name:
        known = registered_names(scope, OPTIM_WRAPPER_CONSTRUCTORS.name)
        raise UserError(
            f"there is no constructor {name!r}",
            f"optim_wrapper.constructor{where}",
            did_you_mean(name, known),
        )
    settings = {key: value for key, value in wrapper.items() if key not in ("constructor", "paramwise_cfg")}
    known_to_check: list[Any] = [
        kind for kind in kinds if inspect.isclass(kind) and issubclass(kind, DefaultOptimWrapperConstructor)
    ]
    for kind in known_to_check:
        kind(copy.deepcopy(settings), copy.deepcopy(wrapper.get("paramwise_cfg")))


def _mentioned(word: str, kinds: tuple[Any, ...], scope: str) -> bool:
    """Whether the code of one of the types has a word as a string: it takes it out of the dict itself."""
    classes = [Runner, *(candidate for kind in kinds for candidate, _ in _candidates(kind, scope))]
    modules = {base.__module__ for c in classes for base in getattr(c, "__mro__", (c,)) if base is not object}
    quoted = re.compile(rf"""(['"]){re.escape(word)}\1""")
    for name in modules:
        try:
            if quoted.search(inspect.getsource(sys.modules[name])):
                return True
        except (KeyError, OSError, TypeError):  # written in C
            continue
    return False


def _candidates(kind: Any, scope: str) -> list[tuple[Any, set[str]]]:
    """Return what a type may stand for, one a registry, each with keys that are taken out before."""
    if not isinstance(kind, str):  # the class itself
        return [(kind, set())] if callable(kind) else []
    prefix, _, name = kind.rpartition(".")
    scopes = [prefix] if prefix else [scope, "mmengine", *SCOPES]
    found = []
    for registry in _registries():
        places = [registry if s == "mmengine" else registry.children.get(s) for s in scopes]
        place = next((place for place in places if place and name in place.module_dict), None)
        if place:
            found.append((place.module_dict[name], _TAKEN_OUT.get(registry.name, set())))
    return found


def _is_mistake(kind: Any) -> bool:
    """Whether a type that no registry has is neither a dotted path to import, nor one of mmcv's operators."""
    import mmcv.ops

    if not isinstance(kind, str):
        return False
    prefix, _, name = kind.rpartition(".")
    if prefix:
        return prefix in ("mmengine", *SCOPES)
    return not hasattr(mmcv.ops, name)


def _similar_type(kind: str, scope: str) -> str:
    close = nearest(kind.rpartition(".")[2], registered_names(scope))
    if close:
        return f"did you mean {close!r}?"
    return "correct the name; a class of your own is registered by a module that custom_imports names"


def registered_names(scope: str, registry_name: str | None = None) -> list[str]:
    """Return the sorted names that a config of a scope can use as `type`.

    Args:
        scope: `mmdet`, `mmseg` or `mmengine`.
        registry_name: Only those of the registry of this name, e.g. `model`.
    """
    names: set[str] = set()
    for registry in _registries():
        if registry_name in (None, registry.name):
            names.update(registry.module_dict)
            if scope in registry.children:
                names.update(registry.children[scope].module_dict)
    return sorted(names)


def _registries() -> list[Registry]:
    return [value for value in vars(root).values() if isinstance(value, Registry)]


def _one_slip(name: str, meant: str) -> bool:
    """Whether one letter is missing, too many or wrong, or two neighbours are swapped."""
    changes = [
        op for op in SequenceMatcher(None, name, meant, autojunk=False).get_opcodes() if op[0] != "equal"
    ]
    if len(changes) == 1:
        _, start, end, meant_start, meant_end = changes[0]
        return max(end - start, meant_end - meant_start) == 1
    swaps = (name[:k] + name[k + 1] + name[k] + name[k + 2 :] for k in range(len(name) - 1))
    return meant in swaps
