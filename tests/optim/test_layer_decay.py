"""Layer-wise learning-rate decay: the published multipliers, and who gets which rate and decay."""

import pytest
import torch
from mmengine.model import MMDistributedDataParallel
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from convnext_dense.models.convnext import ARCHS, ConvNeXt
from convnext_dense.optim import default_num_layers, layer_id, lr_multiplier

from .upernet_like import DECAY, LR, TOY, UperNetLike, build, on_meta


def settings(model, **paramwise):
    """{parameter name: (learning rate, weight decay) relative to the optimizer's}, each exactly once."""
    groups = build(model, **paramwise).param_groups
    by_id = {id(p): group for group in groups for p in group["params"]}
    assert len(by_id) == sum(len(group["params"]) for group in groups)
    named = {name: by_id[id(p)] for name, p in model.named_parameters() if p.requires_grad}
    assert len(named) == len(by_id)
    return {name: (group["lr"] / LR, group["weight_decay"] / DECAY) for name, group in named.items()}


# By hand: what the published recipes give each part, to the printed precision.
STAGE_WISE_T = {"downsample": 0.478, "stages": [0.531, 0.590, 0.656, 0.729]}
STAGE_WISE_S_TO_XL = {"downsample": 0.254, "stages": [0.282, 0.314, 0.349, 0.387]}


@pytest.mark.parametrize(
    "name", ["tiny", "v2_tiny", "small", "base", "large", "xlarge", "v2_base", "v2_huge"]
)
@pytest.mark.parametrize("explicit", [True, False])
def test_stage_wise_multipliers_are_the_published_ones(name, explicit):
    is_tiny = name.endswith("tiny")
    expected = STAGE_WISE_T if is_tiny else STAGE_WISE_S_TO_XL
    num_layers = dict(num_layers=6 if is_tiny else 12) if explicit else {}
    rates = settings(on_meta(name), decay_rate=0.9, decay_type="stage_wise", **num_layers)
    for param, (lr, _) in rates.items():
        part, kind, i, *_ = [*param.split("."), "", ""]
        if part != "backbone" or kind.startswith("norm"):
            assert lr == 1.0, param
        elif kind == "downsample_layers":
            assert round(lr, 3) == expected["downsample"], param
        else:
            assert round(lr, 3) == expected["stages"][int(i)], param


def published_layer(param, depth_of_stage_2):
    """The layer-wise id by the published rule, written out as a table."""
    n = {6: 5, 8: 6, 9: 6, 27: 12}[depth_of_stage_2]
    table = {
        "backbone.downsample_layers.0.": 0,
        "backbone.downsample_layers.1.": 2,
        "backbone.downsample_layers.2.": 3,
        "backbone.downsample_layers.3.": n,
        "backbone.stages.0.": 1,
        "backbone.stages.1.": 2,
        "backbone.stages.3.": n,
    }
    for block in range(depth_of_stage_2):
        table[f"backbone.stages.2.{block}."] = [3, 4, 5, 6, 7, 8, 9, 10, 11][block // 3]
    matches = [layer for prefix, layer in table.items() if param.startswith(prefix)]
    return (matches[0] if matches else n + 1), n


@pytest.mark.parametrize("name", ARCHS)
@pytest.mark.parametrize("rate", [0.7, 0.95])
def test_layer_wise_multipliers_are_the_published_ones(name, rate):
    rates = settings(on_meta(name), decay_rate=rate, decay_type="layer_wise")
    for param, (lr, _) in rates.items():
        layer, n = published_layer(param, ARCHS[name].depths[2])
        assert lr == pytest.approx(rate ** (n + 1 - layer), rel=1e-12), param
        if param.startswith(("backbone.norm", "decode_head", "auxiliary_head")):
            assert lr == 1.0, param


@pytest.mark.parametrize(("name", "num_layers"), [("tiny", 6), ("small", 12), ("v2_atto", 5), ("v2_nano", 6)])
def test_num_layers_follows_from_the_depths(name, num_layers):
    assert default_num_layers(ARCHS[name].depths) == num_layers
    given = settings(on_meta(name), decay_rate=0.8, num_layers=num_layers)
    assert given == settings(on_meta(name), decay_rate=0.8)


def test_stage_wise_takes_the_number_of_layers_that_it_is_given():
    rates = settings(on_meta("tiny"), decay_rate=0.9, decay_type="stage_wise", num_layers=12)
    assert rates["backbone.stages.3.0.dwconv.weight"][0] == pytest.approx(0.9**9)


@pytest.mark.parametrize(
    ("name", "layer_wise", "stage_wise"),
    [
        ("downsample_layers.0.0.weight", 0, 0),
        ("downsample_layers.3.1.bias", 6, 0),
        ("stages.0.2.gamma", 1, 1),
        ("backbone.stages.2.8.grn.beta", 5, 3),
        ("module.backbone.stages.3.0.norm.bias", 6, 4),
        ("norm0.weight", 7, 7),
        ("decode_head.conv_seg.weight", 7, 7),
        ("neck.stages.0.0.weight", 7, 7),
    ],
)
def test_layer_ids_by_name(name, layer_wise, stage_wise):
    depths = (3, 3, 9, 3)
    assert layer_id(name, depths) == layer_wise
    assert layer_id(name, depths, "stage_wise") == stage_wise
    assert lr_multiplier(name, depths, 0.5) == 0.5 ** (7 - layer_wise)


@pytest.mark.parametrize("name", ["tiny", "v2_atto"])
def test_norms_biases_grn_and_layer_scale_take_no_weight_decay(name):
    model = on_meta(name)
    decays = {param: decay for param, (_, decay) in settings(model, decay_rate=0.9).items()}
    weights = {
        f"{prefix}.weight"
        for prefix, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    }
    assert {param for param, decay in decays.items() if decay == 1.0} == weights
    assert {decay for param, decay in decays.items() if param not in weights} == {0.0}
    if name == "v2_atto":
        assert model.get_parameter("backbone.stages.0.0.grn.gamma").ndim == 4


def test_custom_keys_multiply_and_the_longest_wins():
    rates = settings(
        UperNetLike(TOY),
        decay_rate=0.5,
        custom_keys={
            "head": dict(lr_mult=3.0),
            "decode_head": dict(lr_mult=10.0, decay_mult=0.5),
            "stages.0": dict(lr_mult=0.1),
            "stages.0.0.norm": dict(decay_mult=1.0),
        },
    )
    assert rates["decode_head.0.weight"] == (10.0, 0.5)
    assert rates["decode_head.0.bias"] == (10.0, 0.0)
    assert rates["decode_head.1.weight"] == (10.0, 0.0)
    assert rates["auxiliary_head.conv_seg.weight"] == (3.0, 1.0)
    assert rates["backbone.stages.0.0.dwconv.weight"] == pytest.approx((0.1 * 0.5**5, 1.0))
    assert rates["backbone.stages.0.0.norm.weight"] == (0.5**5, 0.0)
    assert rates["backbone.stages.1.0.dwconv.weight"] == (0.5**4, 1.0)


def test_equally_long_custom_keys_go_by_the_alphabet():
    keys = {"head.1": dict(lr_mult=2.0), "decode": dict(lr_mult=4.0)}
    assert settings(UperNetLike(TOY), decay_rate=0.5, custom_keys=keys)["decode_head.1.weight"][0] == 4.0


def test_a_bare_backbone():
    rates = settings(ConvNeXt(TOY), decay_rate=0.5)
    assert rates["norm3.weight"][0] == 1.0
    assert rates["downsample_layers.0.0.weight"][0] == 0.5**6


def test_a_distributed_model(tmp_path):
    torch.distributed.init_process_group("gloo", f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        model = UperNetLike(TOY)
        wrapped = MMDistributedDataParallel(model)
        groups, expected = (build(m, decay_rate=0.5).param_groups for m in (wrapped, model))
        assert [group["lr"] for group in groups] == [group["lr"] for group in expected]
        assert [group["name"] for group in groups] == [group["name"] for group in expected]
    finally:
        torch.distributed.destroy_process_group()


def test_frozen_parameters_are_left_out():
    model = UperNetLike(TOY, frozen_stages=2)
    model.auxiliary_head.requires_grad_(False)
    rates = settings(model, decay_rate=0.5)
    assert not any(name.startswith(("backbone.stages.1", "backbone.norm1", "auxiliary")) for name in rates)
    assert "backbone.stages.2.0.dwconv.weight" in rates


def test_a_shared_parameter_is_optimised_once():
    model = UperNetLike(TOY)
    model.extra_head = nn.Conv2d(8, 8, 1)
    model.extra_head.weight = model.decode_head[0].weight
    params = [p for group in build(model, decay_rate=0.5).param_groups for p in group["params"]]
    assert len(params) == len({id(p) for p in params}) == len(list(model.parameters()))


class Toy(UperNetLike):
    """Trains on nothing but its own weights."""

    def forward(self, **_):
        return sum((p**2).sum() for p in self.parameters())

    def train_step(self, data, optim_wrapper):
        loss = self()
        optim_wrapper.update_params(loss)
        return {"loss": loss}


def test_schedules_and_automatic_scaling_keep_the_ratios(tmp_path):
    runner = Runner(
        model=Toy(TOY),
        work_dir=str(tmp_path),
        train_dataloader=DataLoader(list(range(4)), batch_size=4),
        train_cfg=dict(by_epoch=False, max_iters=2),
        optim_wrapper=dict(
            type="OptimWrapper",
            constructor="ConvNeXtLayerDecay",
            optimizer=dict(type="AdamW", lr=LR, weight_decay=DECAY),
            paramwise_cfg=dict(decay_rate=0.5),
        ),
        auto_scale_lr=dict(enable=True, base_batch_size=16),
        param_scheduler=[dict(type="PolyLR", power=1.0, eta_min=0.0, begin=0, end=5, by_epoch=False)],
        default_hooks=dict(checkpoint=None, logger=None),
        experiment_name="layer_decay",
    )
    runner.train()
    groups = runner.optim_wrapper.optimizer.param_groups
    assert len({group["lr_mult"] for group in groups}) == 7
    for group in groups:  # a quarter of the batch, half of the schedule
        assert group["lr"] == pytest.approx(LR * group["lr_mult"] / 4 / 2)


def test_the_optimizer_resumes_from_a_file(tmp_path):
    saved, resumed = (build(UperNetLike(TOY), decay_rate=rate) for rate in (0.5, 0.9))
    torch.save(saved.state_dict(), tmp_path / "optimizer.pth")
    resumed.load_state_dict(torch.load(tmp_path / "optimizer.pth", weights_only=True))
    rates = [[(g["name"], g["lr"], g["weight_decay"]) for g in o.param_groups] for o in (saved, resumed)]
    assert rates[0] == rates[1]
