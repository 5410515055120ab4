"""Import hooks through which `import mmcv._ext` gives the compiled module or one that stands in for it."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import module_from_spec
from types import ModuleType
from typing import Any, NoReturn

from .absent import absent_operator

EXTENSION = "mmcv._ext"


class Finder(MetaPathFinder):
    """A `sys.meta_path` entry for `mmcv._ext`, and for a torchvision that is installed but broken."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a spec for the two modules that this finder is about, None for all others."""
        if name == EXTENSION:
            compiled = PathFinder.find_spec(name, path)
            return ModuleSpec(name, ExtensionLoader(compiled), origin=compiled.origin if compiled else None)
        if name == "torchvision":
            spec = PathFinder.find_spec(name, path)
            if spec is not None and spec.loader is not None:
                spec.loader = GuardedLoader(spec.loader)
            return spec
        return None


class ExtensionLoader(Loader):
    """Loads the compiled module if there is one and it works, else the stand-in."""

    def __init__(self, compiled: ModuleSpec | None) -> None:
        self.compiled = compiled

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module, ready for use."""
        if self.compiled is not None and self.compiled.loader is not None:
            try:
                module = module_from_spec(self.compiled)
                self.compiled.loader.exec_module(module)
                accept_any_memory_format(module)
                return module
            except Exception as error:
                warnings.warn(
                    f"mmcv's compiled operators ({self.compiled.origin}) do not load beside the installed "
                    f"torch, so those of convnext_dense.ops are used: {error}",
                    RuntimeWarning,
                    stacklevel=2,
                )
        return make_stand_in()

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: `create_module` returns a finished module."""


class GuardedLoader(Loader):
    """Reports a package that fails to load as one that is not installed, which importers reckon with."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Leave it to the package's own loader."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module."""
        try:
            self._loader.exec_module(module)
        except ModuleNotFoundError:
            raise
        except Exception as error:
            raise ModuleNotFoundError(
                f"{module.__name__} is installed, but does not load beside the installed torch: {error}",
                name=module.__name__,
            ) from error


def accept_any_memory_format(module: ModuleType) -> None:
    """Make the compiled RoIAlign right for maps of any memory format; does nothing the second time.

    It reads memory as if it were contiguous: of channels_last maps, which ConvNeXt makes, it pools other
    pixels than it should, without an error.
    """
    compiled = module.roi_align_forward
    if hasattr(compiled, "__wrapped__"):
        return

    @functools.wraps(compiled)
    def roi_align_forward(input: Any, rois: Any, *args: Any, **kwargs: Any) -> Any:
        return compiled(input.contiguous(), rois.contiguous(), *args, **kwargs)

    module.roi_align_forward = roi_align_forward  # type: ignore[attr-defined]


def load_compiled(folder: str | None = None) -> ModuleType | None:
    """Load mmcv's compiled operators without putting them into use: to compare with.

    Args:
        folder: Where a compiled `mmcv` lies; None for the installed one.

    Returns:
        The compiled module; None if there is none, or if it does not load beside the installed torch.
    """
    import mmcv

    path = list(mmcv.__path__) if folder is None else [os.path.join(folder, "mmcv")]
    spec = PathFinder.find_spec(EXTENSION, path)
    module = ExtensionLoader(spec).create_module(spec) if spec is not None else None
    return None if module is None or is_stand_in(module) else module


def make_stand_in() -> ModuleType:
    """Make a module with the operators of this package; any other name gives one that raises at its call."""
    from .mmcv_ext import OPERATORS

    module = ModuleType(EXTENSION, "Stands in for mmcv's compiled operators (convnext_dense.ops).")

    def absent(name: str) -> Callable[..., NoReturn]:
        # dunder names are the import system's and inspect's questions, not operators
        if name.startswith("__"):
            raise AttributeError(f"module {EXTENSION!r} has no attribute {name!r}")
        return absent_operator(name)

    module.__dict__.update(OPERATORS, __getattr__=absent)
    return module


def is_stand_in(module: ModuleType) -> bool:
    """Tell a module of `make_stand_in` from the compiled one."""
    from .mmcv_ext import nms

    return getattr(module, "nms", None) is nms
