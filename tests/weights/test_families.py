"""Every family's file gives the net that it was written from.

The files of timm, torchvision, mmpretrain and FCMAE are written in their exact names and shapes: see
`foreign.py` for why. Hugging Face's own models write their files in `test_hugging_face.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from convnext_dense import UserError
from convnext_dense.weights import load_weights

from . import foreign
from .toys import V1, V2, assert_same, backbone, classifier_state, images, randomise, save, state_of

State = dict[str, Tensor]


def _dinov3(net: nn.Module) -> State:
    state = {name: t for name, t in classifier_state(net).items() if not name.startswith("head.")}
    return state | {
        name.replace("norm", "norms.3"): t for name, t in state.items() if name.startswith("norm.")
    }


FILES: dict[str, tuple[str, dict, Callable[..., State]]] = {
    "timm V1": ("timm", V1, foreign.timm),
    "timm V2": ("timm", V2, foreign.timm),
    "timm, conv_mlp": ("timm", V2, lambda net: foreign.timm(net, conv_mlp=True)),
    "timm, features": ("timm, features only", V1, lambda net: foreign.timm(net, features_only=True)),
    "timm V2, features": ("timm, features only", V2, lambda net: foreign.timm(net, features_only=True)),
    "torchvision": ("torchvision", V1, foreign.torchvision),
    "mmpretrain V1": ("mmpretrain", V1, foreign.mmpretrain_classifier),
    "mmpretrain V2": ("mmpretrain", V2, foreign.mmpretrain_classifier),
    "FCMAE": ("FCMAE", V2, foreign.fcmae),
    "DINOv3": ("DINOv3", V1, _dinov3),
}


@pytest.mark.parametrize("kind", FILES)
def test_the_body_comes_back_exactly(tmp_path: Path, kind: str) -> None:
    family, arch, write = FILES[kind]
    source = randomise(backbone(arch))
    net = backbone(arch)
    report = load_weights(net, save(write(source), tmp_path / "net.pth"))
    assert report.family == family
    body = [name for name in source.state_dict() if not name.startswith("norm")]
    assert set(report.loaded) == set(body)
    for name in body:
        assert torch.equal(net.state_dict()[name], source.state_dict()[name]), name
    assert torch.equal(net.norm3.weight, torch.ones(32)), "output norms start as in the original code"
    for i in range(4):
        getattr(source, f"norm{i}").reset_parameters()
    torch.testing.assert_close(net(images()), source(images()), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        ("timm V2", {"grn"}),
        ("timm, conv_mlp", {"grn", "pwconv1", "pwconv2"}),
        ("torchvision", {"gamma"}),
        ("mmpretrain V2", {"grn"}),
        ("FCMAE", {"grn", "dwconv", "downsample"}),
    ],
)
def test_the_report_says_what_was_reshaped(kind: str, parts: set[str]) -> None:
    _, arch, write = FILES[kind]
    report = load_weights(backbone(arch), write(randomise(backbone(arch))))
    found = {re.search(r"downsample|dwconv|pwconv\d|grn|gamma", name)[0] for name in report.reshaped}
    assert found == parts


@pytest.mark.parametrize("kind", ["timm V1", "torchvision", "mmpretrain V1", "mmpretrain V2", "DINOv3"])
def test_the_final_norm_can_start_the_last_output_norm(kind: str) -> None:
    _, arch, write = FILES[kind]
    given = write(randomise(backbone(arch)))
    net = backbone(arch)
    assert {"norm.weight", "norm.bias"} <= set(load_weights(net, given).unexpected)
    assert "norm3.weight" in load_weights(net, given, norm3_from_classifier=True).loaded
    assert torch.equal(net.norm3.weight, torch.full((32,), 3.0))


@pytest.mark.parametrize("prefix", ["visual.trunk.", "encoder.model.", "module.backbone."])
def test_prefixes_of_other_models(prefix: str) -> None:
    """OpenCLIP, segmentation_models.pytorch, a distributed wrapper."""
    source = randomise(backbone(V2))
    given = {prefix + name: tensor for name, tensor in foreign.timm(source).items()}
    net = backbone(V2)
    load_weights(net, given | {"logit_scale": torch.ones(1)})
    assert torch.equal(net.stages[2][1].grn.gamma, source.stages[2][1].grn.gamma)


@pytest.mark.parametrize("kind", ["timm V2", "timm, features", "torchvision", "mmpretrain V2", "FCMAE"])
@pytest.mark.parametrize("change", ["missing", "unknown", "other shape"])
def test_an_altered_file_is_refused(kind: str, change: str) -> None:
    _, arch, write = FILES[kind]
    given = write(randomise(backbone(arch)))
    name = next(
        n
        for n in given
        if n.endswith(("conv_dw.weight", "depthwise_conv.weight", "1.0.block.0.weight", "0.dwconv.kernel"))
    )
    if change == "missing":
        del given[name.rpartition(".")[0] + ".bias"]
    elif change == "unknown":
        given[name.rpartition(".")[0] + ".scale"] = torch.ones(8)
    else:
        given[name] = torch.ones(3, 3)
    net = backbone(arch)
    before = state_of(net)
    with pytest.raises(UserError) as caught:
        load_weights(net, given)
    assert_same(net, before)
    assert "dwconv" in caught.value.where


def test_mmpretrain_with_convolutions_for_linear_layers() -> None:
    source, net = randomise(backbone(V2)), backbone(V2)
    load_weights(net, foreign.mmpretrain(source, linear_pw_conv=False))
    assert_same(net, source.state_dict())


def test_mmpretrain_output_norms_are_kept() -> None:
    source, net = randomise(backbone(V1)), backbone(V1)
    report = load_weights(net, {f"backbone.{n}": t for n, t in foreign.mmpretrain(source).items()})
    assert report.family == "mmpretrain" and not report.missing
    assert_same(net, source.state_dict())


def test_the_generation_of_a_pretraining_file_is_named() -> None:
    with pytest.raises(UserError) as caught:
        load_weights(backbone(V1), foreign.fcmae(randomise(backbone(V2))))
    assert "(FCMAE) holds ConvNeXt V2" in caught.value.what and "use_grn=True" in caught.value.fix


def test_a_second_tensor_for_one_place_is_not_lost() -> None:
    """Names of two versions of a library in one file: which tensor is meant?"""
    given = {f"visual.{name}": tensor for name, tensor in foreign.timm(randomise(backbone(V1))).items()}
    given["visual.norm_pre.weight"] = torch.ones(32)
    assert "visual.norm_pre.weight" in load_weights(backbone(V1), given).unexpected
