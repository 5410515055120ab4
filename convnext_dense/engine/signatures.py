"""Which keyword arguments a class takes, its bases' included where it hands `**kwargs` on to them."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from mmengine.utils import ManagerMixin
from torch import nn

#: How a dict of keyword arguments is asked for one of them.
_READERS = ("get", "pop", "setdefault")
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True)
class Accepted:
    """The keyword arguments that a class or function takes.

    Attributes:
        names: Those with a name in its signature, or in those of its bases.
        others: Whether it may take others, too.
    """

    names: frozenset[str]
    others: bool


@cache
def accepted_arguments(kind: Callable) -> Accepted:
    """Return the names of the keyword arguments that a class or function takes.

    Bases are followed along the method resolution order as long as `**kwargs` goes to `super().__init__` and
    nowhere else.
    """
    if not inspect.isclass(kind):
        names, rest = _parameters(kind)
        return Accepted(names, rest is not None)
    known: frozenset[str] = frozenset({"name"}) if issubclass(kind, ManagerMixin) else frozenset()
    for base in kind.__mro__:
        init = vars(base).get("__init__")
        if init is None or base in (object, nn.Module):
            continue
        names, rest = _parameters(init)
        known |= names
        if rest is None:
            return Accepted(known, False)
        read = _names_read(init, rest)
        if read is None:
            return Accepted(known, True)
        known |= read
    return Accepted(known, False)


def _parameters(function: Callable) -> tuple[frozenset[str], str | None]:
    """Return the named parameters of a function, and the name of its `**kwargs`: '' if it is not known."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # written in C
        return frozenset(), ""
    rest = next((p.name for p in parameters if p.kind is inspect.Parameter.VAR_KEYWORD), None)
    return frozenset(p.name for p in parameters if p.kind in _BY_NAME and p.name != "self"), rest


def _names_read(init: Any, rest: str) -> frozenset[str] | None:
    """Return the names that an `__init__` looks up in its `**kwargs` before it hands them to the next one.

    Returns:
        None if it does anything else with them, nothing included, or cannot be read.
    """
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(init))))
    except (OSError, TypeError, SyntaxError):
        return None
    read: set[str] = set()
    explained, handed_on = 0, False
    for node in ast.walk(tree):
        name = None
        if isinstance(node, ast.Compare) and _is(node.comparators[0], rest):
            name = node.left
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if _is_next_init(node.func, init) and any(_is(k.value, rest) for k in node.keywords if not k.arg):
                handed_on, explained = True, explained + 1
            elif node.func.attr in _READERS and _is(node.func.value, rest) and node.args:
                name = node.args[0]
        if isinstance(name, ast.Constant):
            read.add(str(name.value))
            explained += 1
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
