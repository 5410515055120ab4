"""Showing results: pictures of predictions."""

from .hook import OverlayHook
from .instances import draw_instances
from .overlay import colorize, comparison, overlay, side_by_side

__all__ = ["OverlayHook", "colorize", "comparison", "draw_instances", "overlay", "side_by_side"]
