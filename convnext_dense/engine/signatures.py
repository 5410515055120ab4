"""Which keyword arguments a class takes, its bases' included where it hands `**kwargs` on to them."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from functools import cache
from typing import Any

from mmengine.utils import ManagerMixin
from torch import nn

#: How a dict of keyword arguments is asked for one of them.
_READERS = ("get", "pop", "setdefault")
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@cache
def accepted_arguments(kind: Callable) -> frozenset[str] | None:
    """Return the names of the keyword arguments that a class or function takes.

    Bases are followed along the method resolution order as long as `**kwargs` goes to `super().__init__` and
    nowhere else.

    Returns:
        The names; None where it cannot be told, or whatever is given is taken.
    """
    if not inspect.isclass(kind):
        names, rest = _parameters(kind)
        return None if rest else names
    known: frozenset[str] = frozenset({"name"}) if issubclass(kind, ManagerMixin) else frozenset()
    for base in kind.__mro__:
        init = vars(base).get("__init__")
        if init is None or base in (object, nn.Module):
            continue
        names, rest = _parameters(init)
        known |= names
        if rest is None:
            return known
        read = _names_read(init, rest)
        if read is None:
            return None
        known |= read
    return known


def _parameters(function: Callable) -> tuple[frozenset[str], str | None]:
    """Return the named parameters of a function, and the name of its `**kwargs`: '' if it is not known."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # written in C
        return frozenset(), ""
    rest = next((p.name for p in parameters if p.kind is inspect.Parameter.VAR_KEYWORD), None)
    return frozenset(p.name for p in parameters if p.kind in _BY_NAME and p.name != "self"), rest


def _names_read(init: Any, rest: str) -> frozenset[str] | None:
    """Return the names that an `__init__` itself takes out of its `**kwargs`.

    Returns:
        None if it does more with them than to look names up and to hand them on to the next `__init__`.
    """
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(init))))
    except (OSError, TypeError, SyntaxError):
        return None
    read, explained, handed_on = set(), 0, False
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = node.func
            if not isinstance(function, ast.Attribute):
                continue
            if _is_next_init(function, init) and any(
                _is(k.value, rest) for k in node.keywords if k.arg is None
            ):
                handed_on, explained = True, explained + 1
            elif function.attr in _READERS and _is(function.value, rest) and node.args:
                name = node.args[0]
                if isinstance(name, ast.Constant):
                    read.add(str(name.value))
                    explained += 1
        elif isinstance(node, ast.Compare) and _is(node.comparators[0], rest):
            explained += isinstance(node.left, ast.Constant)
    uses = sum(_is(node, rest) for node in ast.walk(tree))
    return frozenset(read) if handed_on and uses == explained else None


def _is_next_init(function: ast.Attribute, init: Any) -> bool:
    """Whether a call is `super().__init__`, or `super(C, self).__init__` in class C itself."""
    called = function.value
    if function.attr != "__init__" or not isinstance(called, ast.Call) or not _is(called.func, "super"):
        return False
    owner = init.__qualname__.split(".")[-2]
    return not called.args or _is(called.args[0], owner)


def _is(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name
