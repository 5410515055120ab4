"""The shipped configs, as the tests of this folder meet them."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import DefaultScope
from torch import nn

import convnext_dense.register  # noqa: F401

REPO = Path(__file__).resolve().parents[2]
CONFIGS = REPO / "configs"
BASES = sorted((CONFIGS / "_base_").rglob("*.py"))
LEAVES = sorted(path for path in CONFIGS.rglob("*.py") if "_base_" not in path.parts)
ADE20K = sorted(CONFIGS.glob("upernet_*.py"))
COCO = sorted(CONFIGS.glob("*mask_rcnn_*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(CONFIGS).with_suffix("").as_posix()


@contextlib.contextmanager
def scope(cfg: Config) -> Iterator[None]:
    """What a `Runner` does before it builds: names are looked up in the config's default scope."""
    with warnings.catch_warnings(), DefaultScope.overwrite_default_scope(cfg.default_scope):
        warnings.simplefilter("ignore")
        yield


def build_model(cfg: Config, device: str = "cpu") -> nn.Module:
    with scope(cfg), torch.device(device):
        return ROOT_MODELS.build(cfg.model)
