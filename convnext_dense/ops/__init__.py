"""mmcv's operators without anything to compile.

`mmcv.ops`, and through it all of mmdet's and mmseg's models, import the compiled module `mmcv._ext`,
which installing mmcv from pip does not build. `install()` makes that import work: it gives the compiled
module if there is one that loads, and otherwise one with the operators of this package, for which
torchvision's GPU kernels are used where they load and plain PyTorch everywhere else.
"""

from __future__ import annotations

import sys
from importlib import import_module

from . import stand_in
from .absent import AbsentOperatorError

__all__ = ["AbsentOperatorError", "backend", "install"]


def install() -> None:
    """Make `import mmcv.ops` work; cheap, and does nothing the second time.

    Nothing is imported until something asks for it. Order does not matter: mmcv may have been
    imported before, and an attempt to import `mmcv.ops` may have failed.
    """
    if not any(isinstance(finder, stand_in.Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, stand_in.Finder())
    loaded = sys.modules.get(stand_in.EXTENSION)
    if loaded is not None and not stand_in.is_stand_in(loaded):
        stand_in.accept_any_memory_format(loaded)


def backend(device_type: str = "cpu") -> dict[str, str]:
    """Tell which implementation each operator has; loads `mmcv._ext` and torchvision to find out.

    Args:
        device_type: As in `torch.device.type`.

    Returns:
        'mmcv' (compiled), 'torchvision' or 'torch' for each of roi_align, nms, soft_nms, nms_match and
        sigmoid_focal_loss. All others are 'mmcv' too, or raise `AbsentOperatorError` when called.
    """
    install()
    names = ("roi_align", "nms", "soft_nms", "nms_match", "sigmoid_focal_loss")
    if not stand_in.is_stand_in(import_module(stand_in.EXTENSION)):
        return dict.fromkeys(names, "mmcv")
    from . import torchvision_ops

    chosen = dict.fromkeys(names, "torch")
    if device_type != "cpu" and torchvision_ops.loads(device_type):
        chosen |= {"roi_align": "torchvision", "nms": "torchvision"}
    return chosen
