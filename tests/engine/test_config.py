import json

import numpy as np
import pytest
import torch
from mmengine.config import Config

from convnext_dense.engine.config import (
    adapt_to_cpu,
    config_to_json,
    load_config,
    plain,
    settle_workers,
    use_amp,
    walk_dicts,
)
from convnext_dense.errors import UserError


@pytest.fixture
def config_file(tmp_path):
    path = tmp_path / "toy.py"
    path.write_text(
        "backbone = dict(type='ConvNeXt', arch='tiny', init_cfg=dict(type='Pretrained'))\n"
        "model = dict(type='M', backbone=backbone)\n"
        "pipeline = [dict(type='A', scale=(4, 4)), dict(type='B')]\n"
        "optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-4))\n"
    )
    return path


def test_overrides_are_read_as_in_openmmlab_tools(config_file):
    cfg = load_config(
        config_file,
        [
            "optim_wrapper.optimizer.lr=2e-4",
            "model.backbone.init_cfg=None",
            "pipeline.0.scale=(8,8)",
            "seed=3",
        ],
    )
    assert cfg.optim_wrapper.optimizer.lr == 2e-4
    assert cfg.model.backbone.init_cfg is None
    assert cfg.pipeline[0].scale == (8, 8)
    assert cfg.seed == 3


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("model.bacbone.arch=base", "'backbone'"),
        ("modle.backbone.arch=base", "'model'"),
        ("model.backbone.arhc=base", "'arch'"),
        ("pipeline.7.scale=3", "0 … 1"),
        ("optim_wrapper.optimizer.lr", "KEY=VALUE"),
        ("optim_wrapper.optimizer.lr.x=3", "has no parts"),
        ("optim_wrapper.optimizer.betas=(0.9,0.98", "bracket"),
    ],
)
def test_a_mistyped_override_is_refused_with_a_hint(config_file, override, hint):
    with pytest.raises(UserError) as error:
        load_config(config_file, [override])
    assert hint in str(error.value)


def test_a_new_key_in_an_existing_part_is_allowed(config_file):
    assert load_config(config_file, ["model.backbone.with_cp=True"]).model.backbone.with_cp is True


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("broken.py", "model = dict(\n", "cannot be read"),
        ("base.py", "_base_ = ['./nowhere.py']\n", "nowhere.py"),
        ("cfg.yaml", "model: 3\n", ".py or .json"),
    ],
)
def test_an_unreadable_config_is_named(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError) as error:
        load_config(tmp_path / name)
    assert message in str(error.value)
    assert name in str(error.value)


def test_json_holds_the_resolved_config(config_file):
    cfg = load_config(config_file)
    data = json.loads(config_to_json(cfg))
    assert data["pipeline"][0] == {"type": "A", "scale": [4, 4]}
    assert Config(data).model.backbone.arch == "tiny"


def test_plain_turns_arrays_and_tuples_into_lists():
    value = {"a": (1, torch.tensor([1.5, 2.0])), 3: {"b": None}}
    assert plain(value) == {"a": [1, [1.5, 2.0]], "3": {"b": None}}
    assert type(plain(np.float64(0.5))) is float
    assert type(plain(np.int64(3))) is int
    assert plain(True) is True


def test_walk_visits_every_dict_with_its_path():
    paths = dict(walk_dicts({"a": [{"b": 1}, {"c": {"d": 2}}]}))
    assert set(paths) == {"", "a.0", "a.1", "a.1.c"}


def test_without_workers_their_settings_are_left_out():
    loader = dict(num_workers=0, persistent_workers=True, prefetch_factor=4, batch_size=2)
    cfg = Config(dict(train_dataloader=loader, val_dataloader=dict(num_workers=1, persistent_workers=True)))
    settle_workers(cfg)
    assert cfg.train_dataloader == dict(num_workers=0, batch_size=2)
    assert cfg.val_dataloader.persistent_workers


def test_amp_switch(config_file):
    cfg = load_config(config_file)
    use_amp(cfg)
    assert cfg.optim_wrapper.type == "AmpOptimWrapper"
    cfg.optim_wrapper.type = "ApexOptimWrapper"
    with pytest.raises(UserError, match="ApexOptimWrapper"):
        use_amp(cfg)


@pytest.mark.skipif(torch.cuda.is_available(), reason="the rules of a machine without an accelerator")
def test_without_an_accelerator_amp_is_fp32_and_nccl_is_gloo():
    cfg = Config(
        dict(
            optim_wrapper=dict(type="AmpOptimWrapper", loss_scale="dynamic", dtype="bfloat16"),
            env_cfg=dict(dist_cfg=dict(backend="nccl")),
        )
    )
    assert len(adapt_to_cpu(cfg)) == 1
    assert adapt_to_cpu(cfg) == [], "nothing is left to change"
    assert cfg.optim_wrapper == dict(type="OptimWrapper")
    assert cfg.env_cfg.dist_cfg.backend == "gloo"
