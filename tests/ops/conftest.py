import sys

import pytest

from convnext_dense import ops
from convnext_dense.ops.stand_in import make_stand_in


@pytest.fixture
def stand_in(monkeypatch):
    """The operators of this package behind mmcv's interface, whatever mmcv is installed."""
    ops.install()
    import mmcv.ops  # noqa: F401

    extension = make_stand_in()
    for name in ("roi_align", "nms", "focal_loss"):
        monkeypatch.setattr(sys.modules[f"mmcv.ops.{name}"], "ext_module", extension)
