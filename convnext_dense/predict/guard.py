"""Building a model from a config that came out of a file as data, without running what it says.

mmengine builds whatever a config names: `type` may be a dotted path to any callable, or the name of any
module, which it imports; `_scope_` imports a package; `nms.type` goes through `eval`; some settings are the
paths of pickles or of other configs. Here every `type` must be a registered name, and every other string a
plain word that names no file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from mmengine import registry as root

from ..engine.libraries import SCOPES, load_libraries
from ..errors import UserError, nearest

#: The modules that `custom_imports` of a config read as data may name.
_IMPORTABLE = ("convnext_dense.register", "convnext_dense.detection", "convnext_dense.segmentation")
#: What `type` names in a model beside what is registered: mmcv's operators.
_OPERATORS = frozenset({"nms", "soft_nms", "RoIAlign", "RoIPool"})
_TYPE = re.compile(r"(?:(mmdet|mmseg|mmengine)\.)?([A-Za-z_]\w*)")
#: Registered, but they read pickles.
_UNSAFE = re.compile(r"LoadBiomedical\w*")
_WORD = re.compile(r"[\w.-]*")


def import_named(custom_imports: Any, where: str) -> None:
    """Import the modules of this toolkit that `custom_imports` names.

    Raises:
        UserError: It names any other.
    """
    modules = custom_imports.get("imports") if isinstance(custom_imports, dict) else custom_imports
    for module in modules if isinstance(modules, list) else [modules] if modules else []:
        if module not in _IMPORTABLE:
            raise _refused(f"imports {module!r}, which is no module of this toolkit", where, "custom_imports")
        import_module(module)


def check_built_from(parts: dict[str, Any], scope: str, where: str) -> None:
    """Raise a UserError if building a part of a config could do more than build registered classes.

    Args:
        parts: Name → config, as read from JSON.
        scope: The config's default scope, `mmdet` or `mmseg`.
        where: Where the config stands, for messages.
    """
    strings = list(_strings(parts))
    for path, key, value in strings:
        is_name = isinstance(value, str) and (value in SCOPES if key == "_scope_" else _TYPE.fullmatch(value))
        if key and not is_name:
            raise _refused(f"names {value!r}, which is no registered type", where, path)
        if not key and (not _WORD.fullmatch(value) or Path(value).is_file()):
            raise _refused(f"refers to a file or to code: {value[:80]!r}", where, path)
    prefixes = {value.split(".")[0] for _, key, value in strings if key}
    load_libraries(*sorted({scope} | (prefixes & set(SCOPES))))
    known = {name: _registered(name) for name in (*SCOPES, "mmengine")}
    anywhere = _OPERATORS.union(*known.values())
    for path, key, value in strings:
        if key == "type":
            prefix, name = _TYPE.fullmatch(value).groups()  # type: ignore[union-attr]  # matched above
            choices = known[prefix] if prefix else anywhere
            if name not in choices or _UNSAFE.fullmatch(name):
                close = nearest(name, choices - {name})
                hint = f" (did you mean {close!r}?)" if close else ""
                raise _refused(f"names {value!r}, which is no registered type{hint}", where, path)


def _strings(node: Any, path: str = "", key: str = "") -> Iterator[tuple[str, str, Any]]:
    """Yield `(dotted path, key, value)`: with key `type` or `_scope_` whatever it is, with '' a string."""
    if key in ("type", "_scope_"):
        yield path, key, node
    elif isinstance(node, dict):
        for name, value in node.items():
            inside = f"{path}.{name}" if path else name
            yield inside, "", name
            yield from _strings(value, inside, name)
    elif isinstance(node, list | tuple):
        for index, value in enumerate(node):
            yield from _strings(value, f"{path}.{index}")
    elif isinstance(node, str):
        yield path, "", node


def _registered(scope: str) -> frozenset[str]:
    """Return the names of models, their parts and transforms in one scope; `mmengine` is the root's."""
    registries = (root.MODELS, root.TASK_UTILS, root.TRANSFORMS)
    of_scope = [r if scope == "mmengine" else r.children.get(scope) for r in registries]
    return frozenset(name for registry in of_scope if registry for name in registry.module_dict)


def known_metainfo(dataset_type: Any) -> dict[str, Any]:
    """Return classes and palette of a registered data set, e.g. of `CocoDataset`; empty for any other name.

    `Registry.get` would import a name that it does not know.
    """
    for registry in (root.DATASETS, *root.DATASETS.children.values()):
        if isinstance(dataset_type, str) and dataset_type in registry.module_dict:
            return dict(getattr(registry.module_dict[dataset_type], "METAINFO", {}))
    return {}


def _refused(what: str, where: str, path: str) -> UserError:
    return UserError(
        f"the saved config was not used: it {what}",
        f"{where}: {path}",
        "if you trust its author, get the config as a .py file and name it: --config CONFIG",
    )
