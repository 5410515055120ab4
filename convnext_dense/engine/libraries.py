"""Importing the OpenMMLab library that a config's scope stands for."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from importlib import import_module

from ..errors import UserError, did_you_mean
from ..imports import uncollected

#: Scopes, and what this toolkit adds to each.
_ADDED = {"mmdet": "convnext_dense.detection", "mmseg": "convnext_dense.segmentation"}
SCOPES = tuple(_ADDED)
_PARTS = ("datasets", "models", "evaluation", "engine", "visualization")


def load_libraries(*scopes: str) -> None:
    """Register all that configs of these scopes (`mmdet`, `mmseg`) can name.

    While they load, the libraries print of optional parts of theirs, which concerns nobody.

    Raises:
        UserError: A scope is none of these.
    """
    for scope in scopes:
        if scope not in SCOPES:
            raise UserError(f"there is no scope {scope!r}", "default_scope", did_you_mean(str(scope), SCOPES))
    with redirect_stdout(io.StringIO()), uncollected():
        import_module("convnext_dense.register")
        for scope in scopes:
            for part in _PARTS:
                import_module(f"{scope}.{part}")
            import_module(_ADDED[scope])
