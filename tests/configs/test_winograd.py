"""Every 3×3 convolution of the shipped models that could go Winograd's way does."""

import pytest
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from convnext_dense.benchmark.stock import shipped_model
from convnext_dense.engine.libraries import load_libraries
from convnext_dense.models.winograd import WinogradConv2d, is_conv3x3


@pytest.mark.parametrize(
    ("kind", "scope", "count"),
    [("upernet", "mmseg", 6), ("mask_rcnn", "mmdet", 4 + 1 + 4), ("cascade_mask_rcnn", "mmdet", 4 + 1 + 24)],
)
def test_shipped_models(kind, scope, count):
    load_libraries(scope)
    with DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build(shipped_model(kind, "v2_atto"))
    found = [m for m in model.modules() if isinstance(m, nn.Conv2d) and is_conv3x3(m)]
    assert {type(conv) for conv in found} == {WinogradConv2d}
    assert len(found) == count
