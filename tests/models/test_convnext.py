"""One tester for every size: what a backbone promises to the heads, the optimizer and the tools."""

import copy
import pickle

import pytest
import torch
from mmengine.registry import MODELS

import convnext_dense.models  # noqa: F401
from convnext_dense.errors import UserError
from convnext_dense.models.convnext import ARCHS, ConvNeXt

from .nets import TOY_V1, TOY_V2, loss_of, randomise, shrunk, toy


def expected_names(arch):
    """The state-dict names of the original code."""
    names = [f"downsample_layers.{i}.{j}.{p}" for i in range(4) for j in range(2) for p in ("weight", "bias")]
    leaves = [f"{m}.{p}" for m in ("dwconv", "norm", "pwconv1", "pwconv2") for p in ("weight", "bias")]
    leaves += ["grn.gamma", "grn.beta"] if arch.use_grn else ["gamma"]
    for i, depth in enumerate(arch.depths):
        names += [f"stages.{i}.{j}.{leaf}" for j in range(depth) for leaf in leaves]
        names += [f"norm{i}.weight", f"norm{i}.bias"]
    return set(names)


@pytest.mark.parametrize("name", ARCHS)
def test_every_size(name):
    arch = shrunk(name)
    net = ConvNeXt(arch, drop_path_rate=0.2)
    randomise(net)
    assert set(net.state_dict()) == expected_names(arch)
    assert net.out_channels == arch.dims
    assert net.out_strides == (4, 8, 16, 32)

    images = torch.randn(2, 3, 77, 101)
    maps = net.train()(images)
    assert [tuple(m.shape) for m in maps] == [
        (2, arch.dims[i], *size) for i, size in enumerate([(19, 25), (9, 12), (4, 6), (2, 3)])
    ]
    assert all(m.is_contiguous(memory_format=torch.channels_last) for m in maps)
    loss_of(maps).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())

    net.eval()
    expected = net(images)
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert all(torch.equal(a, b) for a, b in zip(twin(images), expected, strict=True))


@pytest.mark.parametrize("name", ARCHS)
def test_parameter_shapes_are_the_original_ones(name):
    with torch.device("meta"):
        net = ConvNeXt(name)
    assert all(p.is_meta for p in net.parameters())
    shapes = {key: tuple(p.shape) for key, p in net.named_parameters()}
    dims = ARCHS[name].dims
    for i, c in enumerate(dims):
        block = f"stages.{i}.{ARCHS[name].depths[i] - 1}."
        assert shapes[block + "dwconv.weight"] == (c, 1, 7, 7)
        assert shapes[block + "pwconv1.weight"] == (4 * c, c)
        assert shapes[block + "pwconv2.weight"] == (c, 4 * c)
        if name.startswith("v2"):
            assert shapes[block + "grn.gamma"] == shapes[block + "grn.beta"] == (1, 1, 1, 4 * c)
        else:
            assert shapes[block + "gamma"] == (c,)
    assert shapes["downsample_layers.0.0.weight"] == (dims[0], 3, 4, 4)
    assert shapes["downsample_layers.3.1.weight"] == (dims[3], dims[2], 2, 2)


@pytest.mark.parametrize("v2", [False, True])
@pytest.mark.parametrize(
    ("out_indices", "stages"), [((3,), [3]), ([2, 0], [0, 2]), ((-1, 1), [1, 3]), ((0,), [0])]
)
def test_out_indices_choose_maps_and_their_norms(v2, out_indices, stages):
    images = torch.randn(1, 3, 64, 96)
    whole, net = toy(v2), toy(v2, out_indices=out_indices)
    assert net.out_indices == tuple(stages)
    assert net.out_channels == tuple(whole.out_channels[i] for i in stages)
    assert net.out_strides == tuple(whole.out_strides[i] for i in stages)
    norms = {key.split(".")[0] for key in net.state_dict() if key.startswith("norm")}
    assert norms == {f"norm{i}" for i in stages}
    net.load_state_dict(whole.state_dict(), strict=False)
    maps = whole(images)
    for i, m in zip(stages, net(images), strict=True):
        torch.testing.assert_close(m, maps[i])


@pytest.mark.parametrize("with_cp", [True, (0, 2), [-1]])
@pytest.mark.parametrize("v2", [False, True])
def test_checkpointing_gives_the_same_gradients_and_dropped_samples(v2, with_cp):
    images = torch.randn(4, 3, 45, 64, dtype=torch.float64)
    gradients = []
    for choice in (False, with_cp):
        net = toy(v2, drop_path_rate=0.5, with_cp=choice).double().train()
        torch.manual_seed(3)
        loss_of(net(images)).backward()
        gradients.append({name: p.grad for name, p in net.named_parameters()})
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)


def test_checkpointing_keeps_fewer_activations_with_each_stage():
    def saved_bytes(with_cp):
        arch = dict(depths=(4, 4, 4, 4), dims=(8, 16, 24, 32))
        net, total = ConvNeXt(arch, out_indices=(3,), with_cp=with_cp), 0

        def pack(tensor):
            nonlocal total
            total += tensor.numel() * tensor.element_size()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            net(torch.randn(1, 3, 128, 128))
        return total

    none, *some, every = map(saved_bytes, [False, (0,), (0, 1), (0, 1, 2), True])
    assert none > some[0] > some[1] > some[2] > every
    assert every < 0.2 * none
    assert saved_bytes(()) == none


@pytest.mark.parametrize(
    ("with_cp", "says"), [((4,), r"\(4,\)"), ((0, -4), "twice"), (2, "is 2"), ("0", "'0'")]
)
def test_a_stage_to_checkpoint_that_there_is_not(with_cp, says):
    with pytest.raises(UserError, match=f"with_cp.*{says}"):
        toy(with_cp=with_cp)


@pytest.mark.parametrize("k", range(5))
def test_frozen_stages(k):
    net = toy(out_indices=(0, 2, 3), frozen_stages=k, drop_path_rate=0.3)
    frozen = {f"{part}.{i}." for i in range(k) for part in ("downsample_layers", "stages")}
    frozen |= {f"norm{i}." for i in range(k)}
    for name, param in net.named_parameters():
        assert param.requires_grad != name.startswith(tuple(frozen)), name
    parent = torch.nn.Sequential(net)
    for mode in (True, False, True):
        parent.train(mode)
        for name, module in net.named_modules():
            expected = mode and not f"{name}.".startswith(tuple(frozen))
            if not list(module.children()):
                assert module.training == expected, name
    if k < 4:
        loss_of(net(torch.randn(2, 3, 64, 64))).backward()
        assert all((p.grad is not None) == p.requires_grad for p in net.parameters())


@pytest.mark.parametrize("k", [1, 4])
def test_frozen_stages_train_with_checkpointing(k):
    net = toy(frozen_stages=k, with_cp=True).train()
    maps = net(torch.randn(1, 3, 64, 64))
    assert maps[3].requires_grad == (k < 4)


def test_train_and_eval_return_the_backbone():
    net = toy(frozen_stages=2)
    assert net.train() is net
    assert net.eval() is net
    assert net.train(False) is net


def test_stochastic_depth_rises_linearly_over_all_blocks():
    net = ConvNeXt(TOY_V1, drop_path_rate=0.6)
    rates = [block.drop_path.drop_prob for stage in net.stages for block in stage]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    images = torch.randn(2, 3, 64, 64)
    assert not torch.equal(net.train()(images)[3], net(images)[3])
    assert torch.equal(net.eval()(images)[3], net(images)[3])


@pytest.mark.parametrize("v2", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [True, False])
def test_half_precision_is_close_to_single(v2, dtype, autocast):
    images = torch.randn(2, 3, 61, 64)
    net = toy(v2).eval()
    expected = net(images)
    if autocast:
        with torch.autocast("cpu", dtype=dtype):
            maps = net(images)
    else:
        maps = net.to(dtype)(images.to(dtype))
        assert all(m.dtype == dtype for m in maps)
    tolerance = 0.08 if dtype == torch.bfloat16 else 0.01
    for m, wanted in zip(maps, expected, strict=True):
        assert (m.float() - wanted).abs().max() / wanted.abs().max() < tolerance


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_small_layer_scale_does_not_vanish_in_half_precision(dtype):
    """The gradients behind a scale of 1e-6 are small, not zero; a gradient scaler brings them into range."""
    images, loss_scale = torch.randn(2, 3, 64, 64), 2.0**14
    gradients = []
    for enabled in (False, True):
        net = toy(out_indices=(3,))
        for name, param in net.named_parameters():
            if name.endswith(".gamma"):
                torch.nn.init.constant_(param, 1e-6)
        with torch.autocast("cpu", dtype=dtype, enabled=enabled):
            maps = net(images)
        (loss_of(maps) * loss_scale).backward()
        gradients.append(net.stages[3][0].pwconv1.weight.grad / loss_scale)
    single, half = gradients
    assert single.abs().max() > 0
    assert (half - single).norm() / single.norm() < 0.05


def test_compiles_as_one_graph_and_exports():
    arch = dict(depths=(1, 1, 1, 1), dims=(8, 16, 24, 32), use_grn=True)
    net = ConvNeXt(arch, layer_scale_init_value=0.5, drop_path_rate=0.2).eval()
    randomise(net)
    images = torch.randn(2, 3, 64, 96)
    torch._dynamo.reset()
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    for m, wanted in zip(compiled(images), net(images), strict=True):
        torch.testing.assert_close(m, wanted)
    loss_of(torch.compile(net.train(), fullgraph=True, backend="aot_eager")(images)).backward()
    exported = torch.export.export(net.eval(), (images,)).module()
    torch.testing.assert_close(exported(images), net(images))


def test_the_layout_of_the_images_does_not_matter():
    net = toy().eval()
    images = torch.randn(2, 3, 64, 96)
    for m, wanted in zip(net(images.to(memory_format=torch.channels_last)), net(images), strict=True):
        torch.testing.assert_close(m, wanted)


def test_grayscale_images_give_channels_last_maps():
    maps = toy(in_channels=1).eval()(torch.randn(2, 1, 64, 64))
    assert all(m.is_contiguous(memory_format=torch.channels_last) for m in maps)


def test_arguments_are_left_as_they_were():
    arguments = dict(
        arch=dict(depths=[1, 1, 1, 1], dims=[4, 8, 12, 16]),
        out_indices=[-1, 0],
        init_cfg=[dict(type="Normal")],
    )
    before = copy.deepcopy(arguments)
    ConvNeXt(**arguments)
    assert arguments == before


def test_layer_scale_defaults_to_the_papers():
    assert ConvNeXt(TOY_V1).stages[0][0].gamma.tolist() == pytest.approx([1e-6] * 8)
    assert ConvNeXt(TOY_V1, layer_scale_init_value=1.0).stages[0][0].gamma.tolist() == [1.0] * 8
    assert ConvNeXt(TOY_V1, layer_scale_init_value=0).stages[0][0].gamma is None
    assert ConvNeXt(TOY_V2).stages[0][0].gamma is None
    assert ConvNeXt(TOY_V2, layer_scale_init_value=0.5).stages[0][0].gamma.tolist() == [0.5] * 8


def test_configs_build_it_by_name():
    net = MODELS.build(dict(type="ConvNeXt", arch=TOY_V2, out_indices=(1, 2)))
    assert isinstance(net, ConvNeXt)
