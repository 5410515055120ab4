"""Showing results: pictures of predictions."""

from .overlay import OverlayHook, colorize, comparison, overlay

__all__ = ["OverlayHook", "colorize", "comparison", "overlay"]
