"""Whole segmentors: their heads fit, or are reported; and backbones other than ConvNeXt."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import transformers
from mmengine.logging import MMLogger
from mmengine.registry import MODELS
from torch import nn

import convnext_dense.register  # noqa: F401
from convnext_dense import UserError
from convnext_dense.weights import load_weights

from .segmentors import RESNET, hugging_face_upernet, segmentor
from .toys import assert_same, backbone, classifier_state, images, randomise, save, state_of

transformers.utils.logging.disable_progress_bar()


@pytest.fixture
def hugging_face(tmp_path: Path) -> tuple[nn.Module, Path]:
    """Return Hugging Face's UperNet and the folder that it was saved in."""
    return hugging_face_upernet(tmp_path / "upernet"), tmp_path / "upernet"


def test_hugging_face_upernet_gives_the_same_logits(hugging_face: tuple[nn.Module, Path]) -> None:
    theirs, folder = hugging_face
    ours = segmentor()
    report = load_weights(ours, folder, heads="require")
    assert report.family == "Hugging Face UperNet"
    assert not (report.missing or report.unexpected or report.reinitialised)
    x = images(96, 80)
    with torch.no_grad():
        logits = F.interpolate(ours(x, mode="tensor"), size=x.shape[2:], mode="bilinear", align_corners=False)
        torch.testing.assert_close(logits, theirs(x).logits, rtol=1e-4, atol=1e-4)
        auxiliary = theirs.auxiliary_head(theirs.backbone(x).feature_maps)
        torch.testing.assert_close(ours.auxiliary_head(ours.extract_feat(x)), auxiliary, rtol=1e-4, atol=1e-4)


def test_hugging_face_upernet_into_a_backbone(hugging_face: tuple[nn.Module, Path]) -> None:
    theirs, folder = hugging_face
    net = backbone()
    report = load_weights(net, folder)
    torch.testing.assert_close(net(images()), theirs.backbone(images()).feature_maps, rtol=1e-5, atol=1e-5)
    assert {name.split(".")[0] for name in report.unexpected} == {"decode_head", "auxiliary_head"}


def test_a_segmentor_comes_back_exactly(tmp_path: Path) -> None:
    source = randomise(segmentor())
    file = save({"state_dict": state_of(source), "meta": {"iter": 3}}, tmp_path / "iter_3.pth")
    ours = segmentor()
    report = load_weights(ours, file, heads="require")
    assert_same(ours, source.state_dict())
    assert report.family == "OpenMMLab"
    assert len(report.loaded) == len(source.state_dict())

    net = backbone()
    load_weights(net, file)
    assert_same(net, source.backbone.state_dict())


def test_a_head_with_other_classes_is_left_reported_and_logged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, ours = randomise(segmentor(classes=150)), randomise(segmentor(classes=19), seed=5)
    before = state_of(ours)
    logged: list[str] = []
    monkeypatch.setattr(
        MMLogger.get_current_instance(),
        "log",
        lambda level, text, *_: logged.append(text) if level == logging.WARNING else None,
    )
    report = load_weights(ours, state_of(source))
    classifiers = tuple(
        f"{h}.conv_seg.{p}" for h in ("decode_head", "auxiliary_head") for p in ("weight", "bias")
    )
    assert report.reinitialised == classifiers
    assert "decode_head.conv_seg, auxiliary_head.conv_seg" in str(report)
    assert "decode_head.conv_seg.bias (150,) in the file, (19,) in the model" in "".join(logged)
    for name, tensor in ours.state_dict().items():
        expected = before[name] if name in classifiers else source.state_dict()[name]
        assert torch.equal(tensor, expected), name


def test_a_layer_is_never_filled_in_part() -> None:
    """With another width, the classifier's bias would fit by chance."""
    source, ours = randomise(segmentor()), randomise(segmentor(width=8), seed=5)
    bias = ours.decode_head.conv_seg.bias.clone()
    report = load_weights(ours, state_of(source))
    assert "decode_head.conv_seg.bias" in report.reinitialised
    assert torch.equal(ours.decode_head.conv_seg.bias, bias)
    assert torch.equal(ours.auxiliary_head.conv_seg.bias, source.auxiliary_head.conv_seg.bias)


def test_a_backbone_file_leaves_the_heads_as_they_are(tmp_path: Path) -> None:
    source, ours = randomise(backbone()), randomise(segmentor(), seed=5)
    before = state_of(ours)
    file = save({"model": classifier_state(source)}, tmp_path / "net.pth")
    report = load_weights(ours, file)
    for name, tensor in ours.state_dict().items():
        if name.startswith("backbone.") and not name.startswith("backbone.norm"):
            assert torch.equal(tensor, source.state_dict()[name.removeprefix("backbone.")]), name
        else:
            assert torch.equal(tensor, before[name]), name
    assert "decode_head (" in str(report) and "backbone.norm0 (2)" in str(report)
    assert not report.reinitialised


@pytest.mark.parametrize("kind", ["backbone only", "other classes"])
def test_what_a_test_needs_must_be_there(kind: str) -> None:
    ours = randomise(segmentor(), seed=5)
    before = state_of(ours)
    given = classifier_state(backbone()) if kind == "backbone only" else state_of(segmentor(classes=19))
    with pytest.raises(UserError) as caught:
        load_weights(ours, given, heads="require")
    assert_same(ours, before)
    error = caught.value
    assert "of the model's tensors unfilled" in error.what and "decode_head (" in error.what
    if kind == "backbone only":
        assert "give a trained detector's or segmentor's checkpoint" in error.fix
    else:
        assert (
            "decode_head.conv_seg.weight (19, 16, 1, 1) in the file, (7, 16, 1, 1) in the model"
            in error.where
        )
        assert "the config that the checkpoint was trained with" in error.fix


def test_counters_of_batch_norm_may_be_missing() -> None:
    source = randomise(segmentor())
    state = {name: t for name, t in state_of(source).items() if not name.endswith("num_batches_tracked")}
    ours = segmentor()
    load_weights(ours, state, heads="require")
    assert torch.equal(
        ours.decode_head.bottleneck.bn.running_var, source.decode_head.bottleneck.bn.running_var
    )


def test_a_misfit_backbone_leaves_the_whole_model_as_it_is() -> None:
    ours = randomise(segmentor(), seed=5)
    before = state_of(ours)
    state = state_of(randomise(segmentor()))
    del state["backbone.stages.3.0.pwconv2.weight"]
    with pytest.raises(UserError, match=r"stages\.3\.0\.pwconv2\.weight \(32, 128\)"):
        load_weights(ours, state)
    assert_same(ours, before)


def test_wrappers_are_looked_through() -> None:
    from mmseg.models import SegTTAModel

    state = state_of(randomise(segmentor()))
    for wrap in (lambda model: SegTTAModel(module=model), torch.compile):
        model = segmentor()
        load_weights(wrap(model), state, heads="require")
        assert_same(model, state)


def test_an_unknown_choice_for_heads() -> None:
    with pytest.raises(ValueError, match="choose 'report' or 'require'"):
        load_weights(backbone(), {}, heads="ignore")  # type: ignore[arg-type]


def test_another_backbone_goes_by_its_own_names() -> None:
    source, ours = randomise(segmentor(encoder=RESNET)), segmentor(encoder=RESNET)
    report = load_weights(ours, state_of(source), heads="require")
    assert_same(ours, source.state_dict())
    assert report.arch is None

    imagenet = state_of(source.backbone) | {"fc.weight": torch.ones(5, 32), "fc.bias": torch.ones(5)}
    ours, net = segmentor(encoder=RESNET), MODELS.build(RESNET)
    for model, body in ((ours, ours.backbone), (net, net)):
        report = load_weights(model, imagenet)
        assert report.unexpected == ("fc.weight", "fc.bias")
        assert_same(body, source.backbone.state_dict())
    load_weights(net, state_of(segmentor(encoder=RESNET)))


def test_another_backbone_must_be_covered_as_well() -> None:
    model = segmentor(encoder=RESNET)
    state = state_of(model.backbone)
    state["layer5.0.conv1.weight"] = state.pop("layer4.0.conv1.weight")
    for given in (state, state_of(backbone())):
        with pytest.raises(UserError, match="does not fit the model's ResNet") as caught:
            load_weights(model, given)
        assert "layer4.0.conv1.weight" in caught.value.where or "conv1.weight" in caught.value.where
    assert "it holds ConvNeXt V1" in caught.value.what
