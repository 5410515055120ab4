"""What is misspelt in a config is found before data loads, and nothing else is."""

import contextlib
import importlib
import io
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS

from convnext_dense.cli import main
from convnext_dense.engine.config import load_config
from convnext_dense.engine.libraries import load_libraries
from convnext_dense.engine.spelling import check_spelling
from convnext_dense.errors import UserError

from ..configs.shipped import LEAVES, name_of


class OwnConstructor:
    """One that is not derived from mmengine's."""

    def __init__(self, optim_wrapper_cfg, paramwise_cfg):
        raise AssertionError("to be built with the model")


@pytest.fixture(scope="module", autouse=True)
def _libraries():
    load_libraries("mmdet", "mmseg")


@pytest.mark.parametrize("path", LEAVES, ids=name_of)
def test_shipped_configs_are_accepted(path):
    check_spelling(load_config(path))


@pytest.mark.parametrize(
    ("option", "where", "meant"),
    [
        ("model.backbone.drop_path=0.1", "model.backbone", "'drop_path_rate'"),
        ("model.backbone.type=ConvNext", "model.backbone.type", "'ConvNeXt'"),
        ("model.decode_head.norm_cfg.type=SynBN", "decode_head.norm_cfg.type", "'SyncBN'"),
        ("model.test_config.mode=whole", "model", "'test_cfg'"),
        ("optim_wrapper.optimizer.learning_rate=1", "optim_wrapper.optimizer", "lr"),
        ("optim_wrapper.optimizer.weight_decy=1", "optim_wrapper.optimizer", "'weight_decay'"),
        ("optim_wrapper.optimizer.type=AdmW", "optim_wrapper.optimizer.type", "'AdamW'"),
        ("optim_wrapper.clipgrad=1", "optim_wrapper", "'clip_grad'"),
        ("optim_wrapper.constructor=LayerDecay", "optim_wrapper.constructor", "'ConvNeXtLayerDecay'"),
        ("param_scheduler.1.eta_minimum=0", "param_scheduler.1", "'eta_min'"),
        ("train_dataloader.batchsize=3", "train_dataloader", "'batch_size'"),
        ("train_dataloader.dataset.root=x", "train_dataloader.dataset", "'data_root'"),
        ("val_dataloader.dataset.pipeline.1.keep_rati=1", "pipeline.1", "'keep_ratio'"),
        ("val_evaluator.iou_metric=1", "val_evaluator", "'iou_metrics'"),
        ("train_cfg.max_iter=3", "train_cfg", "'max_iters'"),
        ("randomness.sede=3", "randomness", "'seed'"),
        ("default_hooks.checkpoint.intervall=3", "default_hooks.checkpoint", "'interval'"),
    ],
)
def test_a_misspelt_key_or_type_is_named_with_what_was_meant(option, where, meant):
    _assert_named("upernet_convnext_b", option, where, meant)


@pytest.mark.parametrize(
    ("option", "where", "meant"),
    [
        ("model.rpn_head.anchor_generator.scale=[4]", "rpn_head.anchor_generator", "'scales'"),
        ("model.roi_head.bbox_head.class_count=3", "roi_head.bbox_head", "num_classes"),
        ("model.train_cfg.rcnn.assigner.pos_iou=1", "rcnn.assigner", "'pos_iou_thr'"),
        ("train_dataloader.dataset.annfile=x", "train_dataloader.dataset", "'ann_file'"),
        ("train_dataloader.batch_sampler.type=AspectRatioSampler", "batch_sampler.type", "AspectRatioBatch"),
    ],
)
def test_so_it_is_in_a_detectors_config(option, where, meant):
    _assert_named("mask_rcnn_convnext_t", option, where, meant)


def _assert_named(name, option, where, meant):
    cfg = load_config(name)
    key, _, value = option.partition("=")
    cfg.merge_from_dict({key: value})
    with pytest.raises(UserError) as error:
        check_spelling(cfg, "mine.py")
    assert error.value.where.endswith(f"{where} in mine.py")
    assert meant in error.value.fix


@pytest.mark.parametrize(
    ("key", "meant"),
    [("train_dataloder", "train_dataloader"), ("custom_hook", "custom_hooks"), ("modle", "model")],
)
def test_a_key_at_the_top_one_slip_away_from_a_known_one(key, meant):
    cfg = load_config("upernet_convnext_b")
    cfg[key] = dict(batch_size=3)
    with pytest.raises(UserError) as error:
        check_spelling(cfg)
    assert repr(key) in error.value.what and f"did you mean {meant!r}?" in error.value.fix


def test_options_of_the_parameter_groups_are_looked_at_by_what_makes_them():
    cfg = load_config("upernet_convnext_b")
    cfg.optim_wrapper.paramwise_cfg.decay_rat = 0.9
    with pytest.raises(UserError, match="unknown option 'decay_rat'"):
        check_spelling(cfg)


def test_a_hook_by_the_name_of_none():
    cfg = load_config("upernet_convnext_b")
    cfg.default_hooks.chekpoint = dict(interval=3)
    with pytest.raises(UserError, match="chekpoint"):
        check_spelling(cfg)


@pytest.mark.parametrize(
    "settings",
    [
        dict(train_pipelines_of_mine=[], dry_run=True, crop=3),
        dict(custom_hooks=[dict(type="EMAHook", momentum=1e-3, priority="LOW")]),
        dict(model=dict(backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="x", anything=1)))),
        dict(model=dict(decode_head=dict(norm_cfg=dict(type="GN", num_groups=8, eps=1e-3)))),
        dict(model=dict(test_cfg=dict(mode="slide", anything=1))),
        dict(model=dict(type="my.module.Segmentor", _delete_=True)),
        dict(optim_wrapper=dict(constructor="OwnConstructor")),
    ],
)
def test_what_may_be_right_is_left_alone(settings, monkeypatch):
    monkeypatch.setitem(OPTIM_WRAPPER_CONSTRUCTORS.module_dict, "OwnConstructor", OwnConstructor)
    cfg = load_config("upernet_convnext_b")
    cfg.merge_from_dict(settings)
    check_spelling(cfg)


@pytest.mark.parametrize("verb", ["train", "browse-data"])
def test_a_mistake_stops_a_command_before_data_is_looked_for(verb, capsys, tmp_path, monkeypatch):
    """The data set is not there, which is not what is told."""
    monkeypatch.chdir(tmp_path)
    option = "train_dataloader.dataset.img_sufix=.png"
    assert main([verb, "upernet_convnext_b", "--cfg-options", option]) == 2
    what, where, fix = capsys.readouterr().err.splitlines()
    assert what == "error: ADE20KDataset takes no argument 'img_sufix'"
    assert "train_dataloader.dataset in upernet_convnext_b" in where
    assert "did you mean 'img_suffix'?" in fix
    assert list(tmp_path.iterdir()) == [], "no work dir is left of it"


#: What is wrong in the libraries' own configs. (`BaseReID`: without mmpretrain, a class that takes nothing.)
_WRONG = ("MOTChallengeMetrics", "sampling", "eval_mode", "force_grad_on_level", "models", "BaseReID")


@pytest.mark.full
@pytest.mark.parametrize("library", ["mmdet", "mmseg"])
def test_the_libraries_own_configs_are_accepted(library):
    """1,500 configs that were not written with this check in mind."""
    folder = Path(importlib.import_module(library).__file__).parent / ".mim/configs"
    faults, checked = {}, 0
    for path in sorted(path for path in folder.rglob("*.py") if "_base_" not in path.parts):
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                cfg = Config.fromfile(path)
        except Exception:  # some need another library, some are broken
            continue
        checked += 1
        try:
            check_spelling(cfg)
        except UserError as error:
            faults[path.stem] = error.what
    assert checked > 600
    assert {name: what for name, what in faults.items() if not any(word in what for word in _WRONG)} == {}
