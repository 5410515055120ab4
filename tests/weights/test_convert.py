"""Converting: exact both ways, refused where there is no place, and read by the libraries themselves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from convnext_dense import UserError
from convnext_dense.weights import convert_weights, load_weights, read_checkpoint
from convnext_dense.weights.convert import FORMATS
from convnext_dense.weights.families import map_convnext
from convnext_dense.weights.read import read_state_dict

from . import foreign
from .toys import V1, V2, backbone, classifier_state, images, randomise, save, state_of

transformers.utils.logging.disable_progress_bar()
State = dict[str, Tensor]
STAGES = ["stage1", "stage2", "stage3", "stage4"]
SUFFIXES = {"hf": ".safetensors", "safetensors": ".safetensors"}


def _hugging_face(arch: dict, kind: str, **options: object) -> nn.Module:
    name = f"{'DINOv3ConvNext' if kind == 'DINOv3' else 'ConvNextV2' if arch is V2 else 'ConvNext'}"
    config = getattr(transformers, f"{name}Config")(
        depths=list(arch["depths"]), hidden_sizes=list(arch["dims"]), **options
    )
    return randomise(getattr(transformers, name + kind.replace("DINOv3", "Model"))(config))


def _classifier(net: nn.Module) -> State:
    """Return an ImageNet classifier with values of its own in every tensor."""
    generator = torch.Generator().manual_seed(7)
    state = classifier_state(net)
    return {n: torch.randn(t.shape, generator=generator) for n, t in state.items()}


def _net_of(arch: dict) -> nn.Module:
    return randomise(backbone(arch))


#: What is converted: its own format, its generation, its tensors.
SOURCES: dict[str, tuple[str, Callable[[], State]]] = {
    "original V1": ("original", lambda: _classifier(backbone(V1))),
    "original V2": ("original", lambda: _classifier(backbone(V2))),
    "timm V1": ("timm", lambda: foreign.timm(_net_of(V1))),
    "timm V2": ("timm", lambda: foreign.timm(_net_of(V2))),
    "timm atto": ("timm", lambda: foreign.timm(_net_of("v2_atto"), conv_mlp=True)),
    "torchvision": ("torchvision", lambda: foreign.torchvision(_net_of(V1))),
    "mmpretrain V1": ("mmpretrain", lambda: foreign.mmpretrain_classifier(_net_of(V1))),
    "mmpretrain V2": ("mmpretrain", lambda: foreign.mmpretrain_classifier(_net_of(V2))),
    "hf V1": ("hf", lambda: state_of(_hugging_face(V1, "ForImageClassification"))),
    "hf V2": ("hf", lambda: state_of(_hugging_face(V2, "ForImageClassification"))),
    "hf model": ("hf", lambda: state_of(_hugging_face(V1, "Model"))),
}
NO_PLACE = {(name, "torchvision") for name in SOURCES if "V2" in name or "atto" in name}


def _equal(found: State, expected: State) -> None:
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name


@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize("kind", SOURCES)
def test_there_and_back(tmp_path: Path, kind: str, to: str) -> None:
    own, build = SOURCES[kind]
    state = build()
    first = save(state, tmp_path / "first.pth")
    there = tmp_path / f"there{SUFFIXES.get(to, '.pth')}"
    if (kind, to) in NO_PLACE:
        with pytest.raises(UserError, match=r"torchvision has no ConvNeXt V2 \(GRN\)"):
            convert_weights(first, there, to, lossy=True)
        assert not there.exists()
        return
    assert str(there) in convert_weights(first, there, to)
    back = tmp_path / f"back{SUFFIXES.get(own, '.pth')}"
    convert_weights(there, back, own)
    _equal(read_state_dict(back), state)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_dtypes_stay(tmp_path: Path, dtype: torch.dtype) -> None:
    state = {name: tensor.to(dtype) for name, tensor in _classifier(backbone(V1)).items()}
    convert_weights(save({"model": state}, tmp_path / "a.pth"), tmp_path / "b.pth", "timm")
    convert_weights(tmp_path / "b.pth", tmp_path / "c.pth", "original")
    _equal(read_checkpoint(tmp_path / "c.pth")["model"], state)


def test_the_names_of_the_targets(tmp_path: Path) -> None:
    """Against files that are written without the package's table."""
    net = _net_of(V1)
    file = save(foreign.timm(net), tmp_path / "timm.pth")
    expected = {
        "torchvision": foreign.torchvision(net),
        "mmpretrain": foreign.mmpretrain_classifier(net),
        "original": classifier_state(net),
    }
    for to, state in expected.items():
        convert_weights(file, tmp_path / f"{to}.pth", to)
        _equal(read_state_dict(tmp_path / f"{to}.pth"), state)
    assert list(torch.load(tmp_path / "original.pth")) == ["model"]
    assert list(torch.load(tmp_path / "mmpretrain.pth")) == ["state_dict"]


@pytest.mark.parametrize("arch", [V1, V2], ids=["v1", "v2"])
def test_transformers_reads_a_classifier(tmp_path: Path, arch: dict) -> None:
    theirs = _hugging_face(arch, "ForImageClassification", num_labels=5)
    theirs.save_pretrained(tmp_path / "theirs")
    convert_weights(tmp_path / "theirs", tmp_path / "original.pth", "original")
    convert_weights(tmp_path / "original.pth", tmp_path / "folder", "hf")
    again = type(theirs).from_pretrained(tmp_path / "folder").eval()
    torch.testing.assert_close(again(images()).logits, theirs(images()).logits, rtol=0, atol=0)


def test_transformers_reads_a_backbone(tmp_path: Path) -> None:
    net = randomise(backbone(V2, out_indices=(1, 3)))
    convert_weights(save(state_of(net), tmp_path / "net.pth"), tmp_path / "folder", "hf")
    theirs = transformers.ConvNextV2Backbone.from_pretrained(tmp_path / "folder").eval()
    torch.testing.assert_close(theirs(images()).feature_maps, net(images()), rtol=1e-5, atol=1e-5)


def test_dinov3_there_and_back(tmp_path: Path) -> None:
    """Its original files have the final norm twice; Hugging Face's have it once."""
    theirs = _hugging_face(V1, "DINOv3")
    theirs.save_pretrained(tmp_path / "theirs")
    convert_weights(tmp_path / "theirs", tmp_path / "original.pth", "original")
    original = torch.load(tmp_path / "original.pth")["model"]
    assert torch.equal(original["norms.3.weight"], original["norm.weight"])
    assert map_convnext(original).family == "DINOv3"
    convert_weights(tmp_path / "original.pth", tmp_path / "folder", "hf")
    _equal(
        load_file(tmp_path / "folder" / "model.safetensors"),
        load_file(tmp_path / "theirs" / "model.safetensors"),
    )
    again = transformers.DINOv3ConvNextModel.from_pretrained(tmp_path / "folder").eval()
    torch.testing.assert_close(again(images()).pooler_output, theirs(images()).pooler_output, rtol=0, atol=0)
    convert_weights(tmp_path / "folder", tmp_path / "again.pth", "original")
    _equal(torch.load(tmp_path / "again.pth")["model"], original)
    convert_weights(tmp_path / "original.pth", tmp_path / "original.safetensors", "safetensors")
    _equal(load_file(tmp_path / "original.safetensors"), original)


def test_what_has_no_place_is_named_and_left_out_only_on_request(tmp_path: Path) -> None:
    net = randomise(backbone(V1))
    file = save(state_of(net), tmp_path / "net.pth")
    for to in ("timm", "torchvision"):
        with pytest.raises(UserError, match=rf"{to} has no place for 8 tensors: norm0 \(2\)") as caught:
            convert_weights(file, tmp_path / "out.pth", to)
        assert "--lossy" in caught.value.fix and not (tmp_path / "out.pth").exists()
    assert "left out" in convert_weights(file, tmp_path / "out.pth", "timm", lossy=True)
    again = backbone(V1)
    load_weights(again, tmp_path / "out.pth")
    assert torch.equal(again.stages[3][0].gamma, net.stages[3][0].gamma)


def test_a_pretraining_file_keeps_its_encoder(tmp_path: Path) -> None:
    net = randomise(backbone(V2))
    file = save({"model": foreign.fcmae(net)}, tmp_path / "net_fcmae.pt")
    with pytest.raises(UserError, match=r"no place for .*decoder"):
        convert_weights(file, tmp_path / "out.pth", "original")
    convert_weights(file, tmp_path / "out.pth", "original", lossy=True)
    body = {n: t for n, t in state_of(net).items() if not n.startswith("norm")}
    _equal(torch.load(tmp_path / "out.pth")["model"], body)


def test_safetensors_keeps_any_names(tmp_path: Path) -> None:
    state = {"conv1.weight": torch.ones(3, 4).T, "fc.bias": torch.ones(5)}
    convert_weights(
        save({"state_dict": state}, tmp_path / "resnet.pth"), tmp_path / "resnet.safetensors", "safetensors"
    )
    _equal(load_file(tmp_path / "resnet.safetensors"), state)
    modes = {(tmp_path / f"resnet.{suffix}").stat().st_mode for suffix in ("pth", "safetensors")}
    assert len(modes) == 1, "others may read it as they may read any new file"


def test_a_file_is_as_large_as_its_tensors(tmp_path: Path) -> None:
    """What is left out, or lies beside a tensor in a mapped file, is not written along."""
    state = _classifier(backbone(V1)) | {"optimizer.state": torch.ones(1_000_000)}
    save_file(state, tmp_path / "net.safetensors")
    convert_weights(tmp_path / "net.safetensors", tmp_path / "net.pth", "timm", lossy=True)
    assert (tmp_path / "net.pth").stat().st_size < 1_000_000


@pytest.mark.parametrize(
    ("out", "to", "what"),
    [
        ("net.txt", "timm", r"net.txt is no name for a file of timm"),
        ("net", "timm", r"net is no name for a file of timm"),
        ("net.pth", "safetensors", r"net.pth is no name for a file of safetensors"),
        ("net.pth", "tim", r"unknown format 'tim'"),
        ("file/net.pth", "timm", r"the file cannot be written"),
    ],
)
def test_mistakes_in_the_target(tmp_path: Path, out: str, to: str, what: str) -> None:
    (tmp_path / "file").write_text("")
    file = save({"model": _classifier(backbone(V1))}, tmp_path / "first.pth")
    with pytest.raises(UserError, match=what):
        convert_weights(file, tmp_path / out, to)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "first.pth"]


def test_what_is_no_convnext_is_refused(tmp_path: Path) -> None:
    file = save({"conv1.weight": torch.ones(3)}, tmp_path / "resnet.pth")
    with pytest.raises(UserError, match="holds no ConvNeXt"):
        convert_weights(file, tmp_path / "out.pth", "timm")
    state = {n: t for n, t in _classifier(backbone(V1)).items() if not n.startswith("stages.2")}
    with pytest.raises(UserError, match="lacks a stage"):
        convert_weights(save(state, tmp_path / "cut.pth"), tmp_path / "out.pth", "timm")


def test_config_of_a_folder(tmp_path: Path) -> None:
    convert_weights(save(_classifier(backbone(V2)), tmp_path / "net.pth"), tmp_path / "folder", "hf")
    config = json.loads((tmp_path / "folder" / "config.json").read_text())
    assert config["architectures"] == ["ConvNextV2ForImageClassification"]
    assert config["hidden_sizes"] == [8, 16, 24, 32] and len(config["id2label"]) == 5
