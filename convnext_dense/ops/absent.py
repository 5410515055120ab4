"""What calling an operator that is not there ends in."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from ..errors import UserError

REMEDY = (
    "choose a model that does not use it, or compile mmcv's operators (a C++ compiler, for GPUs the CUDA "
    "toolkit, and some 20 minutes): pip install --force-reinstall --no-deps --no-cache-dir "
    "--no-build-isolation onedl-mmcv"
)


class AbsentOperatorError(UserError, NotImplementedError):
    """An operator of mmcv was called that is neither compiled nor among `convnext_dense.ops`."""


def absent_operator(name: str) -> Callable[..., NoReturn]:
    """Return an operator of that name that raises `AbsentOperatorError` whenever it is called."""

    def operator(*args: object, **kwargs: object) -> NoReturn:
        raise AbsentOperatorError(
            f"mmcv's operator {name!r} is not available: mmcv is installed without compiled operators, "
            "and convnext_dense supplies only those that its own models need",
            fix=REMEDY,
        )

    operator.__name__ = operator.__qualname__ = name
    return operator
