"""The files that `foreign.py` writes are those of the libraries, where these can be imported."""

from __future__ import annotations

import pytest

from . import foreign
from .toys import V1, V2, backbone


def _library(name: str):
    try:
        return __import__(f"{name}.models.convnext", fromlist=["convnext"])
    except (
        ImportError,
        RuntimeError,
    ) as error:  # torchvision's builds load beside the torch they are for only
        pytest.skip(f"{name} cannot be imported here: {error}")


@pytest.mark.parametrize("conv_mlp", [False, True])
@pytest.mark.parametrize("arch", [V1, V2], ids=["v1", "v2"])
def test_timm(arch: dict, conv_mlp: bool) -> None:
    library = _library("timm")
    options = {"use_grn": True, "ls_init_value": None} if arch is V2 else {}
    theirs = library.ConvNeXt(
        depths=arch["depths"], dims=arch["dims"], num_classes=5, conv_mlp=conv_mlp, **options
    )
    ours = foreign.timm(backbone(arch), conv_mlp=conv_mlp)
    assert {n: t.shape for n, t in ours.items()} == {n: t.shape for n, t in theirs.state_dict().items()}


def test_torchvision() -> None:
    library = _library("torchvision")
    dims = (*V1["dims"], None)
    settings = [library.CNBlockConfig(dims[i], dims[i + 1], depth) for i, depth in enumerate(V1["depths"])]
    theirs = library.ConvNeXt(settings, num_classes=5)
    ours = foreign.torchvision(backbone(V1))
    assert {n: t.shape for n, t in ours.items()} == {n: t.shape for n, t in theirs.state_dict().items()}
