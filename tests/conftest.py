import os
import sys
from pathlib import Path

import pytest

# Scripts that a test starts find this Python, whether or not its environment is activated.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture(autouse=True)
def _own_default_scope():
    """Each run in a process leaves its registry scope behind, in which later tests would look names up."""
    yield
    registry = sys.modules.get("mmengine.registry")
    if registry is not None:
        registry.DefaultScope._instance_dict.clear()


@pytest.fixture
def winograd_calls(monkeypatch):
    """Take Winograd's way however small a 3×3 convolution; the shapes of the maps that went it."""
    from convnext_dense.models import winograd

    monkeypatch.setattr(winograd, "MIN_CHANNELS", 1)
    monkeypatch.setattr(winograd, "MIN_TILES", 1)
    shapes = []

    def record(x, *others, convolve=winograd._convolve):
        shapes.append(tuple(x.shape))
        return convolve(x, *others)

    monkeypatch.setattr(winograd, "_convolve", record)
    return shapes
