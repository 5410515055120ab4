"""mmdet's and mmseg's own modules for a shipped model, and compiled operators of mmcv for them."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from mmengine.config import ConfigDict
from torch import nn

from ..config_files import configs_folder
from ..engine.config import load_config, walk_dicts
from ..engine.libraries import load_libraries
from ..errors import UserError
from ..models.arch import parse_arch
from .reference import PlainConvNeXt
from .weights import randomise

#: The stock module in whose place each of ours stands.
STOCK_TYPES = {
    "BandedEncoderDecoder": "EncoderDecoder",
    "FusedUPerHead": "UPerHead",
    "BandedFCNHead": "FCNHead",
    "LeanRPNHead": "RPNHead",
    "LeanConvFCBBoxHead": "ConvFCBBoxHead",
    "PreciseRoIExtractor": "SingleRoIExtractor",
    "WindowedMaskHead": "FCNMaskHead",
    "WinogradConv2d": "Conv2d",
}
_SCOPES = {"upernet": "mmseg", "mask_rcnn": "mmdet", "cascade_mask_rcnn": "mmdet"}
#: Modules of mmcv that call compiled operators, of those that the detectors use.
_CALLERS = ("mmcv.ops.roi_align", "mmcv.ops.nms")


def shipped_model(kind: str, arch: str) -> ConfigDict:
    """Return the shipped config of a model, without what is random: stochastic depth and dropout.

    Batch norm is that of one process.

    Args:
        kind: `upernet`, `mask_rcnn` or `cascade_mask_rcnn`.
        arch: A name of `ARCHS`.

    Raises:
        UserError: The installation lacks the configs.
    """
    size = parse_arch(arch)
    model = load_config(configs_folder() / "_base_/models" / f"{kind}_convnext.py").model
    model.backbone.update(arch=arch, drop_path_rate=0.0, init_cfg=None)
    if size.use_grn:
        model.backbone.layer_scale_init_value = 0.0
    if kind == "upernet":
        model.decode_head.in_channels = list(size.dims)
        model.auxiliary_head.in_channels = size.dims[2]
    else:
        model.neck.in_channels = list(size.dims)
    for _, part in walk_dicts(model):
        if part.get("type") == "SyncBN":
            part["type"] = "BN"
        if "dropout_ratio" in part:
            part["dropout_ratio"] = 0.0
    return model


def build_pair(kind: str, cfg: ConfigDict) -> tuple[nn.Module, nn.Module]:
    """Build our model and the stock one, with the same random weights.

    Args:
        kind: As of `shipped_model`.
        cfg: What that returned.

    Returns:
        Ours, and stock modules around a `PlainConvNeXt`.
    """
    scope = _SCOPES[kind]
    load_libraries(scope)
    from mmengine.registry import MODELS, DefaultScope

    with DefaultScope.overwrite_default_scope(scope):
        ours = MODELS.build(copy.deepcopy(cfg))
        stock = MODELS.build(_with_stock_types(cfg))
    stock.backbone = PlainConvNeXt(cfg.backbone.arch)
    randomise(ours)
    stock.load_state_dict(ours.state_dict())
    return ours, stock


def _with_stock_types(cfg: ConfigDict) -> ConfigDict:
    stock = copy.deepcopy(cfg)
    for _, part in walk_dicts(stock):
        if part.get("type") in STOCK_TYPES:
            part["type"] = STOCK_TYPES[part["type"]]
    return stock


def compiled_operators() -> ModuleType | None:
    """Return mmcv's compiled operators, of the folder `COMPILED_MMCV` or the installed ones; None without.

    Raises:
        UserError: The folder holds none that load.
    """
    from ..ops.stand_in import load_compiled

    folder = os.environ.get("COMPILED_MMCV")
    compiled = load_compiled(folder)
    if compiled is None and folder:
        raise UserError(
            "there are no compiled operators of mmcv that load beside the installed torch",
            f"COMPILED_MMCV={folder}",
            f"name the site-packages folder of an environment with compiled ones: {how_to_compile()}",
        )
    return compiled


def how_to_compile() -> str:
    """Say how to get compiled operators to compare with."""
    from ..ops.absent import REMEDY

    return (
        f"compile them in an environment of its own ({REMEDY.rpartition(': ')[2]}), and name its "
        "site-packages folder in the variable COMPILED_MMCV"
    )


@contextmanager
def operators(extension: ModuleType | None) -> Iterator[None]:
    """Let mmcv call these operators meanwhile; None leaves those in use."""
    callers: Mapping[str, Any] = {name: sys.modules[name] for name in _CALLERS} if extension else {}
    used = {name: module.ext_module for name, module in callers.items()}
    try:
        for module in callers.values():
            module.ext_module = extension
        yield
    finally:
        for name, module in callers.items():
            module.ext_module = used[name]
