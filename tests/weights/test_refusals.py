"""What does not fit is refused with the difference and the config line, and the model stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from convnext_dense import UserError
from convnext_dense.models.convnext import ARCHS, ConvNeXt
from convnext_dense.weights import load_weights

from .toys import V1, V2, assert_same, backbone, classifier_state, randomise, save, state_of

State = dict[str, Tensor]


def _refusal(net: ConvNeXt, source: object) -> UserError:
    before = state_of(net)
    with pytest.raises(UserError) as caught:
        load_weights(net, source)
    assert_same(net, before)
    return caught.value


def _published(arch: str) -> State:
    """Return a state dict of a published size without its memory: only names and shapes count."""
    with torch.device("meta"):
        net = ConvNeXt(arch)
    return {name: torch.zeros(1).expand(tensor.shape) for name, tensor in net.state_dict().items()}


@pytest.mark.parametrize(
    ("held", "wanted"), [("base", "tiny"), ("small", "tiny"), ("tiny", "small"), ("v2_pico", "v2_atto")]
)
def test_another_size(held: str, wanted: str) -> None:
    error = _refusal(ConvNeXt(wanted), _published(held))
    generation = "V2" if "v2" in held else "V1"
    assert f"holds ConvNeXt {generation}, arch='{held}'" in error.what
    assert f"the model is ConvNeXt {generation}, arch='{wanted}'" in error.what
    assert error.fix.startswith(f"set model.backbone.arch='{held}'")
    same_width = ARCHS[held].dims == ARCHS[wanted].dims
    assert (f"in_channels to {list(ARCHS[held].dims)}" in error.fix) is not same_width


@pytest.mark.parametrize(("held", "wanted"), [("tiny", "v2_tiny"), ("v2_tiny", "tiny")])
def test_the_other_generation(held: str, wanted: str) -> None:
    error = _refusal(ConvNeXt(wanted), _published(held))
    names = {"tiny": "ConvNeXt V1, arch='tiny'", "v2_tiny": "ConvNeXt V2, arch='v2_tiny'"}
    assert names[held] in error.what and names[wanted] in error.what
    assert f"model.backbone.arch='{held}'" in error.fix
    assert "stages.0.0.grn.gamma" in error.where


def test_at_most_ten_names_of_each_side_are_listed() -> None:
    error = _refusal(ConvNeXt("tiny"), _published("base"))
    _, model, file = error.where.splitlines()
    assert model.strip().startswith(
        "the model's, not filled (178): downsample_layers.0.0.weight (96, 3, 4, 4)"
    )
    assert file.strip().startswith("the file's, not used (340): downsample_layers.0.0.weight (128, 3, 4, 4)")
    assert model.count("(96") + model.count("(192") == 10 and model.endswith("(+168)")


def test_a_smaller_file_of_the_same_width_is_not_enough() -> None:
    """Every tensor of it fits; a loader that asks only that would leave the deeper blocks as noise."""
    deeper = {**V1, "depths": (1, 1, 3, 1)}
    error = _refusal(backbone(deeper), classifier_state(backbone()))
    assert "stages.2.2.dwconv.weight" in error.where and "not used" not in error.where
    assert "depths=(1, 1, 2, 1)" in error.what and "depths=(1, 1, 3, 1)" in error.what


def test_a_larger_file_is_not_cut_down() -> None:
    deeper = {**V1, "depths": (1, 1, 3, 1)}
    error = _refusal(backbone(), classifier_state(backbone(deeper)))
    assert "stages.2.2.dwconv.weight" in error.where and "not filled" not in error.where


def test_layer_scale_that_the_model_lacks() -> None:
    error = _refusal(backbone(layer_scale_init_value=0), state_of(backbone()))
    assert "with layer scale (gamma), which the model lacks" in error.what
    assert error.fix == "set model.backbone.layer_scale_init_value=1.0"
    assert "stages.0.0.gamma (8,)" in error.where


def test_layer_scale_that_the_file_lacks() -> None:
    error = _refusal(backbone(layer_scale_init_value=1.0), state_of(backbone(layer_scale_init_value=0)))
    assert "without layer scale (gamma), which the model has" in error.what
    assert error.fix == "set model.backbone.layer_scale_init_value=0"


def test_other_image_channels() -> None:
    error = _refusal(backbone(in_channels=4), state_of(backbone()))
    assert "for images of 3 channels, not 4" in error.what
    assert error.fix == "set model.backbone.in_channels=3"


def _without(*names: str) -> Callable[[State], State]:
    return lambda state: {name: tensor for name, tensor in state.items() if name not in names}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (_without("stages.2.1.pwconv1.bias"), "stages.2.1.pwconv1.bias (96,)"),
        (lambda state: state | {"stages.0.0.extra": torch.ones(3)}, "stages.0.0.extra (3,)"),
        (lambda state: state | {"stages.0.0.norm.bias": torch.ones(7)}, "stages.0.0.norm.bias (7,)"),
        (
            lambda state: state | {"stages.0.0.norm.bias": torch.ones(8).to(torch.int8)},
            "stages.0.0.norm.bias",
        ),
    ],
    ids=["missing", "unknown", "shape", "integers"],
)
def test_an_altered_file(change: Callable[[State], State], named: str) -> None:
    error = _refusal(backbone(), change(state_of(backbone())))
    assert "as the model is, but some tensors are missing, of another shape or of another name" in error.what
    assert named in error.where


def test_a_missing_stage() -> None:
    state = {name: t for name, t in state_of(backbone()).items() if not name.startswith("stages.3.")}
    assert "with a stage missing" in _refusal(backbone(), state).what


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite(tmp_path: Path, value: float) -> None:
    state = state_of(randomise(backbone()))
    state["stages.3.0.pwconv2.weight"][0, 0] = value
    error = _refusal(backbone(), save({"model": state}, tmp_path / "broken.pth"))
    assert "stages.3.0.pwconv2.weight is not finite" in error.what
    assert "broken.pth" in error.where


def test_a_value_too_large_for_the_model() -> None:
    state = state_of(backbone())
    state["stages.3.0.pwconv2.weight"][0, 0] = 1e5
    assert "too large for torch.float16" in _refusal(backbone().half(), state).what


def test_no_convnext_at_all(tmp_path: Path) -> None:
    """Stock loading would start training from noise here, with nothing but a list in the log."""
    resnet = {"conv1.weight": torch.zeros(64, 3, 7, 7), "fc.bias": torch.zeros(5)}
    error = _refusal(backbone("tiny"), save({"state_dict": resnet}, tmp_path / "resnet50.pth"))
    assert "holds no ConvNeXt of a known family; the model is ConvNeXt V1, arch='tiny'" in error.what
    assert "resnet50.pth" in error.where and "conv1.weight (64, 3, 7, 7)" in error.where


def test_a_model_on_the_meta_device() -> None:
    state = state_of(backbone(V2))
    with torch.device("meta"):
        net = backbone(V2)
    with pytest.raises(UserError, match="meta device"):
        load_weights(net, state)
    net.to_empty(device="cpu")
    load_weights(net, state)
    assert_same(net, state)


def test_pretrained_in_a_config_goes_through_it(tmp_path: Path) -> None:
    source = randomise(backbone())
    file = save({"model": state_of(source)}, tmp_path / "net.pth")
    net = ConvNeXt(V1, init_cfg={"type": "Pretrained", "checkpoint": str(file)})
    net.init_weights()
    assert_same(net, source.state_dict())

    net = ConvNeXt(V2, init_cfg={"type": "Pretrained", "checkpoint": str(file)})
    with pytest.raises(UserError, match="holds ConvNeXt V1"):
        net.init_weights()
