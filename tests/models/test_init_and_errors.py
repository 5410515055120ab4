"""Initialisation, and what a user's mistake is met with."""

import pytest
import torch
from mmengine.model import PretrainedInit
from torch import nn

from convnext_dense.errors import UserError
from convnext_dense.models.convnext import Arch, ConvNeXt
from convnext_dense.models.layers import GRN

from .nets import TOY_V1, TOY_V2, randomise, toy


def assert_fresh(net):
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            assert not module.bias.any(), name
            assert module.weight.std() < 0.05
        elif isinstance(module, nn.LayerNorm):
            assert torch.equal(module.weight, torch.ones_like(module.weight)), name
            assert not module.bias.any(), name
        elif isinstance(module, GRN):
            assert not module.gamma.any() and not module.beta.any(), name
    weights = torch.cat([m.weight.flatten() for m in net.modules() if isinstance(m, nn.Linear)]).detach()
    assert weights.std().item() == pytest.approx(0.02, rel=0.02)
    assert weights.mean().item() == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("arch", [TOY_V1, TOY_V2])
def test_weights_are_drawn_at_construction_and_again_by_init_weights(arch):
    net = ConvNeXt(arch, layer_scale_init_value=0.25)
    assert_fresh(net)
    first = net.stages[2][1].pwconv1.weight.clone()
    randomise(net)
    net.init_weights()
    assert_fresh(net)
    assert not torch.equal(net.stages[2][1].pwconv1.weight, first)
    assert set(net.stages[0][0].gamma.tolist()) == {0.25}


def test_meta_device_then_init_weights():
    with torch.device("meta"):
        net = ConvNeXt(TOY_V2)
    net.to_empty(device="cpu").init_weights()
    assert_fresh(net)


def test_init_weights_works_once():
    net = ConvNeXt(TOY_V1)
    net.init_weights()
    weight = net.stages[0][0].pwconv1.weight.clone()
    net.init_weights()
    assert torch.equal(net.stages[0][0].pwconv1.weight, weight)


def test_other_initialisers_of_init_cfg_apply():
    net = ConvNeXt(TOY_V1, init_cfg=[dict(type="Constant", layer="Linear", val=0.5, bias=0.25)])
    net.init_weights()
    assert set(net.stages[0][0].pwconv1.weight.unique().tolist()) == {0.5}
    assert set(net.stages[0][0].pwconv1.bias.unique().tolist()) == {0.25}
    assert net.stages[0][0].dwconv.weight.std().item() == pytest.approx(0.02, rel=0.2)


@pytest.mark.parametrize("kind", ["Pretrained", "mmengine.Pretrained", PretrainedInit])
@pytest.mark.parametrize("as_list", [False, True])
def test_pretrained_weights_fill_the_backbone(tmp_path, kind, as_list):
    source, path = toy(), tmp_path / "convnext.pth"
    torch.save({"model": source.state_dict()}, path)
    cfg = dict(type=kind, checkpoint=str(path))
    net = ConvNeXt(TOY_V1, init_cfg=[cfg, dict(type="Constant", layer="Linear", val=3.0)] if as_list else cfg)
    net.init_weights()
    for name, value in source.state_dict().items():
        assert torch.equal(net.state_dict()[name], value), name


def test_pretrained_weights_of_another_size_are_refused(tmp_path):
    path = tmp_path / "convnext.pth"
    torch.save({"model": ConvNeXt(dict(depths=(1, 1, 1, 1), dims=(4, 8, 12, 16))).state_dict()}, path)
    with pytest.raises(UserError):
        ConvNeXt(TOY_V1, init_cfg=dict(type="Pretrained", checkpoint=str(path))).init_weights()


@pytest.mark.parametrize(
    ("init_cfg", "message"),
    [
        (dict(type="Pretrained", checkpoint=None), "init_cfg=None to start from scratch"),
        (dict(type="Pretrained"), "names no checkpoint"),
        (dict(type="Pretrained", checkpont="a.pth"), "did you mean 'checkpoint'"),
    ],
)
def test_a_wrong_pretrained_config_is_refused(init_cfg, message):
    with pytest.raises(UserError, match=message):
        ConvNeXt(TOY_V1, init_cfg=init_cfg).init_weights()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(arch="tinny"), "did you mean 'tiny'.*v2_huge"),
        (dict(arch=7), "arch is 7"),
        (dict(arch=dict(dims=(4, 8, 16, 32))), "arch has no 'depths'"),
        (dict(arch=dict(TOY_V1, dim=(4, 8))), "unknown key 'dim'.*did you mean 'dims'"),
        (dict(arch=dict(depths=(1, 1, 1), dims=(4, 8, 16))), r"arch\['depths'\] is \(1, 1, 1\)"),
        (dict(arch=dict(depths=(1, 1, 0, 1), dims=(4, 8, 16, 32))), "four positive integers"),
        (dict(arch=dict(depths=(1, 1, 1, 1), dims=(4, 8, 16))), r"arch\['dims'\]"),
        (dict(arch=dict(TOY_V1, use_grn="yes")), "use_grn"),
        (dict(arch=Arch((1, 1, 1, 1), (4, 8, 16))), r"arch\['dims'\]"),
        (dict(out_indices=(0, 4)), r"out_indices is \(0, 4\).*0, 1, 2, 3"),
        (dict(out_indices=(-5,)), "out_indices"),
        (dict(out_indices=()), "out_indices"),
        (dict(out_indices=(3, -1)), "names a stage twice"),
        (dict(frozen_stages=5), "frozen_stages is 5"),
        (dict(frozen_stages=-1), "0 .none. to 4"),
        (dict(drop_path_rate=1.0), "drop_path_rate is 1.0"),
        (dict(drop_path_rate=-0.1), "drop_path_rate is -0.1"),
        (dict(layer_scale_init_value=-1.0), "layer_scale_init_value is -1.0"),
        (dict(in_channels=0), "in_channels is 0"),
    ],
)
def test_wrong_arguments_are_named_with_the_choices(arguments, message):
    with pytest.raises(UserError, match=f"(?s){message}"):
        ConvNeXt(**(dict(arch=TOY_V1) | arguments))


def test_images_with_other_channels_are_refused():
    with pytest.raises(UserError, match=r"\(B, 3, H, W\) and got \(2, 4, 64, 64\)"):
        toy()(torch.randn(2, 4, 64, 64))
    with pytest.raises(UserError, match=r"got \(3, 64, 64\)"):
        toy()(torch.randn(3, 64, 64))


def test_images_smaller_than_the_last_stride_are_refused():
    with pytest.raises(UserError, match="31x64 px is too small: stage 3"):
        toy()(torch.randn(1, 3, 31, 64))
    assert toy()(torch.randn(1, 3, 32, 33))[3].shape[2:] == (1, 1)
    (finest,) = toy(out_indices=(0,))(torch.randn(1, 3, 20, 7))
    assert finest.shape[2:] == (5, 1)


def test_the_last_norm_can_start_from_the_classifiers(tmp_path):
    body = {n: t for n, t in ConvNeXt(TOY_V1).state_dict().items() if not n.startswith("norm")}
    norm = {"norm.weight": torch.full((TOY_V1["dims"][3],), 3.0), "norm.bias": torch.zeros(TOY_V1["dims"][3])}
    torch.save({"model": body | norm}, tmp_path / "net.pth")
    cfg = dict(type="Pretrained", checkpoint=str(tmp_path / "net.pth"))
    for asked, expected in ((False, 1.0), (True, 3.0)):
        net = ConvNeXt(TOY_V1, init_cfg=dict(**cfg, norm3_from_classifier=asked))
        net.init_weights()
        assert torch.equal(net.norm3.weight, torch.full_like(net.norm3.weight, expected))
