"""The original files, V1 and V2: nested under `model`, with the classifier's `norm` and `head`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from convnext_dense import UserError
from convnext_dense.weights import load_weights

from .toys import V1, V2, assert_same, backbone, classifier_state, images, randomise, save, state_of


@pytest.mark.parametrize("arch", [V1, V2], ids=["v1", "v2"])
@pytest.mark.parametrize(
    "options", [{}, {"_use_new_zipfile_serialization": False}], ids=["zip", "old-format"]
)
def test_a_classification_file_fills_the_backbone(tmp_path: Path, arch: dict, options: dict) -> None:
    source = randomise(backbone(arch))
    file = save({"model": classifier_state(source), "epoch": 3}, tmp_path / "net.pth", **options)
    net = backbone(arch)
    report = load_weights(net, file)

    body = [name for name in source.state_dict() if not name.startswith("norm")]
    assert report.loaded == tuple(body)
    assert report.missing == tuple(f"norm{i}.{part}" for i in range(4) for part in ("weight", "bias"))
    assert report.unexpected == ("norm.weight", "norm.bias", "head.weight", "head.bias")
    assert (report.family, report.reshaped, report.reinitialised) == ("original", (), ())
    for name in body:
        assert torch.equal(net.state_dict()[name], source.state_dict()[name]), name
    assert torch.equal(net.norm3.weight, torch.ones(32)), "the output norms start as in the original code"

    for i in range(4):
        getattr(source, f"norm{i}").reset_parameters()
    torch.testing.assert_close(net(images()), source(images()), rtol=0, atol=0)


def test_the_report_names_a_published_size(tmp_path: Path) -> None:
    net = backbone("v2_atto")
    report = load_weights(net, save({"model": classifier_state(net)}, tmp_path / "atto.pt"))
    assert report.arch == "v2_atto"
    table = str(report)
    for text in ("atto.pt", "original", "v2_atto", "136 tensors", "norm0 (2)", "head (2)"):
        assert text in table, table


def test_half_precision_is_cast(tmp_path: Path) -> None:
    source = randomise(backbone())
    halved = {name: tensor.half() for name, tensor in classifier_state(source).items()}
    net = backbone()
    load_weights(net, save({"model": halved}, tmp_path / "half.pth"))
    assert net.stages[0][0].dwconv.weight.dtype == torch.float32
    assert torch.equal(net.stages[0][0].dwconv.weight, source.stages[0][0].dwconv.weight.half().float())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "meta": {}},
        lambda state: {"model_ema": state},
        lambda state: {"epoch": 1, "state_dict": {"model": state}},
        lambda state: {"model": {f"module.{name}": tensor for name, tensor in state.items()}},
        lambda state: {f"_orig_mod.module.{name}": tensor for name, tensor in state.items()},
        lambda state: {f"encoder.{name}": tensor for name, tensor in state.items()},
    ],
)
def test_containers_and_prefixes(tmp_path: Path, wrap) -> None:
    source = randomise(backbone())
    for given in (wrap(state_of(source)), save(wrap(state_of(source)), tmp_path / "net.pth")):
        net = backbone()
        load_weights(net, given)
        assert_same(net, source.state_dict())


def test_safetensors(tmp_path: Path) -> None:
    source = randomise(backbone(V2))
    save_file(state_of(source), tmp_path / "net.safetensors")
    net = backbone(V2)
    load_weights(net, str(tmp_path / "net.safetensors"))
    assert_same(net, source.state_dict())


def test_flat_grn_parameters_are_reshaped() -> None:
    source = randomise(backbone(V2))
    flat = {name: t.flatten() if ".grn." in name else t for name, t in state_of(source).items()}
    net = backbone(V2)
    report = load_weights(net, flat)
    assert_same(net, source.state_dict())
    assert len(report.reshaped) == 2 * sum(V2["depths"])
    assert all(".grn." in name for name in report.reshaped)


def test_the_given_state_dict_is_not_changed() -> None:
    given = classifier_state(randomise(backbone(V2)))
    before = {name: tensor.clone() for name, tensor in given.items()}
    load_weights(backbone(V2), given)
    assert list(given) == list(before)
    assert all(torch.equal(given[name], before[name]) for name in before)


def test_norm3_from_the_classifier_on_request() -> None:
    net = backbone()
    report = load_weights(net, classifier_state(randomise(backbone())), norm3_from_classifier=True)
    assert torch.equal(net.norm3.weight, torch.full((32,), 3.0))
    assert torch.equal(net.norm3.bias, torch.full((32,), 4.0))
    assert torch.equal(net.norm2.weight, torch.ones(24))
    assert {"norm3.weight", "norm3.bias"} <= set(report.loaded)
    assert report.unexpected == ("head.weight", "head.bias")

    with pytest.raises(UserError, match="no classifier's final LayerNorm"):
        load_weights(net, state_of(backbone()), norm3_from_classifier=True)


def test_fewer_outputs_than_the_file_has() -> None:
    net = backbone(out_indices=(1, 3))
    report = load_weights(net, state_of(randomise(backbone())))
    assert report.unexpected == ("norm0.weight", "norm0.bias", "norm2.weight", "norm2.bias")
    assert not report.missing
