"""Importing the OpenMMLab library that a config's scope stands for."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from importlib import import_module

_PARTS = ("datasets", "models", "evaluation", "engine", "visualization")


def load_libraries(*scopes: str) -> None:
    """Register all that configs of these scopes (`mmdet`, `mmseg`) can name.

    While they load, the libraries print of optional parts of theirs, which concerns nobody.
    """
    import_module("convnext_dense.register")
    with redirect_stdout(io.StringIO()):
        for scope in scopes:
            for part in _PARTS:
                import_module(f"{scope}.{part}")
            if scope == "mmseg":
                import_module("convnext_dense.segmentation")
