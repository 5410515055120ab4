"""Hugging Face's own models, saved by their own means, compute the same here."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    ConvNextBackbone,
    ConvNextConfig,
    ConvNextForImageClassification,
    ConvNextModel,
    ConvNextV2Backbone,
    ConvNextV2Config,
    ConvNextV2ForImageClassification,
    ConvNextV2Model,
    DINOv3ConvNextBackbone,
    DINOv3ConvNextConfig,
    DINOv3ConvNextModel,
)

from convnext_dense.weights import load_weights

from .toys import V1, V2, assert_same, backbone, images, randomise

transformers.utils.logging.disable_progress_bar()
SIZES = {"depths": list(V1["depths"]), "hidden_sizes": list(V1["dims"])}
STAGES = ["stage1", "stage2", "stage3", "stage4"]
MODELS = {
    "ConvNextModel": (ConvNextModel, ConvNextConfig, V1),
    "ConvNextForImageClassification": (ConvNextForImageClassification, ConvNextConfig, V1),
    "ConvNextV2Model": (ConvNextV2Model, ConvNextV2Config, V2),
    "ConvNextV2ForImageClassification": (ConvNextV2ForImageClassification, ConvNextV2Config, V2),
}
BACKBONES = {
    "ConvNextBackbone": (ConvNextBackbone, ConvNextConfig, V1),
    "ConvNextV2Backbone": (ConvNextV2Backbone, ConvNextV2Config, V2),
}


def _hf(kind: tuple, **options: object) -> tuple[nn.Module, dict]:
    model, config, arch = kind
    return randomise(model(config(**SIZES, **options))), arch


@pytest.mark.parametrize("name", BACKBONES)
def test_backbones_give_the_same_maps(tmp_path: Path, name: str) -> None:
    theirs, arch = _hf(BACKBONES[name], out_features=STAGES)
    theirs.save_pretrained(tmp_path)
    net = backbone(arch)
    report = load_weights(net, tmp_path)
    assert report.family == "Hugging Face"
    assert not report.missing and not report.unexpected
    torch.testing.assert_close(net(images()), theirs(images()).feature_maps, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_classifiers_give_the_same_last_map(tmp_path: Path, name: str) -> None:
    theirs, arch = _hf(MODELS[name])
    theirs.save_pretrained(tmp_path)
    net = backbone(arch)
    report = load_weights(net, tmp_path)
    assert {f"norm{i}.weight" for i in range(4)} <= set(report.missing)
    assert {"norm.weight", "norm.bias"} <= set(report.unexpected)
    body = getattr(theirs, theirs.base_model_prefix, theirs)
    expected = body(images()).last_hidden_state  # before the final norm
    net.norm3 = nn.Identity()
    torch.testing.assert_close(net(images())[-1], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("file", ["saved", "in memory"])
@pytest.mark.parametrize("norm3_from_classifier", [False, True])
def test_dinov3_gives_the_same_maps(tmp_path: Path, file: str, norm3_from_classifier: bool) -> None:
    """Its backbone returns maps without norms, its model the last one normed. Names in memory have a prefix.

    The expected values in transformers' conversion script come from the gated weights, so that they apply to
    those alone.
    """
    model, _ = _hf((DINOv3ConvNextModel, DINOv3ConvNextConfig, V1), layer_norm_eps=1e-6)
    theirs = DINOv3ConvNextBackbone(DINOv3ConvNextConfig(**SIZES, out_features=STAGES)).eval()
    theirs.model.load_state_dict(model.model.state_dict())
    model.save_pretrained(tmp_path)
    net = backbone(V1)
    given = tmp_path if file == "saved" else model.state_dict()
    report = load_weights(net, given, norm3_from_classifier=norm3_from_classifier)
    assert report.family == "Hugging Face DINOv3"
    if norm3_from_classifier:
        expected = model(images()).last_hidden_state[:, 1:]  # (B, h·w, C), the pooled token first
        torch.testing.assert_close(
            net(images())[-1].flatten(2).transpose(1, 2), expected, rtol=1e-5, atol=1e-5
        )
    for i in range(4):
        setattr(net, f"norm{i}", nn.Identity())
    torch.testing.assert_close(net(images()), theirs(images()).feature_maps, rtol=1e-5, atol=1e-5)


def test_final_norm_of_a_classifier(tmp_path: Path) -> None:
    theirs, arch = _hf(MODELS["ConvNextForImageClassification"])
    theirs.save_pretrained(tmp_path)
    net = backbone(arch)
    load_weights(net, tmp_path, norm3_from_classifier=True)
    assert torch.equal(net.norm3.weight, theirs.convnext.layernorm.weight)


def test_a_backbone_of_two_stages(tmp_path: Path) -> None:
    theirs, arch = _hf(BACKBONES["ConvNextBackbone"], out_features=["stage2", "stage4"])
    theirs.save_pretrained(tmp_path)
    net = backbone(arch)
    report = load_weights(net, tmp_path)
    assert torch.equal(net.norm1.weight, theirs.hidden_states_norms["stage2"].weight)
    assert report.missing == ("norm0.weight", "norm0.bias", "norm2.weight", "norm2.bias")


def test_the_names_of_2022(tmp_path: Path) -> None:
    """The first conversions had a whole ConvNextModel inside the backbone, and norms by number."""
    theirs, arch = _hf(BACKBONES["ConvNextBackbone"], out_features=STAGES)
    old = {}
    for name, tensor in theirs.state_dict().items():
        for i in range(4):
            name = name.replace(f"norms.stage{i + 1}.", f"norms.{i}.")
        old["backbone." + ("" if name.startswith("hidden") else "convnext.") + name] = tensor
    old |= {f"backbone.convnext.layernorm.{part}": torch.ones(32) for part in ("weight", "bias")}
    torch.save(old, tmp_path / "pytorch_model.bin")
    net = backbone(arch)
    report = load_weights(net, tmp_path)
    assert not report.missing
    torch.testing.assert_close(net(images()), theirs(images()).feature_maps, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("entry", ["", "model.safetensors.index.json"], ids=["folder", "index"])
def test_shards(tmp_path: Path, entry: str) -> None:
    theirs, arch = _hf(BACKBONES["ConvNextV2Backbone"], out_features=STAGES)
    theirs.save_pretrained(tmp_path, max_shard_size="30KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    net = backbone(arch)
    load_weights(net, tmp_path / entry)
    torch.testing.assert_close(net(images()), theirs(images()).feature_maps, rtol=1e-5, atol=1e-5)


def test_safetensors_in_half_precision(tmp_path: Path) -> None:
    theirs, arch = _hf(BACKBONES["ConvNextBackbone"], out_features=STAGES)
    theirs.half().save_pretrained(tmp_path)
    net, again = backbone(arch), backbone(arch)
    load_weights(net, tmp_path / "model.safetensors")
    state = load_file(tmp_path / "model.safetensors")
    assert {tensor.dtype for tensor in state.values()} == {torch.float16}
    save_file({name: tensor.float() for name, tensor in state.items()}, tmp_path / "float.safetensors")
    load_weights(again, tmp_path / "float.safetensors")
    assert_same(net, again.state_dict())
