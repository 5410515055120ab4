"""Models; importing the package registers them at mmengine's root `MODELS`."""

from .arch import ARCHS, Arch
from .convnext import Block, ConvNeXt
from .layers import GRN, DropPath, LayerNorm2d

__all__ = ["ARCHS", "GRN", "Arch", "Block", "ConvNeXt", "DropPath", "LayerNorm2d"]
