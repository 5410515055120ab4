"""The shipped recipes against the published ones, typed in from the papers and the authors' configs."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from mmengine.config import Config

from convnext_dense.complexity import count_macs, count_params

from .shipped import ADE20K, CONFIGS, build_model


class Published(NamedTuple):
    arch: str
    weights: str
    crop: int
    stride: int
    lr: float
    decay: tuple[str, float, int]  # type, rate, num_layers
    drop_path: float
    fp16: bool
    params_M: int
    gmacs: int | None


STAGES_6, STAGES_12 = ("stage_wise", 0.9, 6), ("stage_wise", 0.9, 12)
# ConvNeXt: arXiv 2201.03545, tables 4 and 12 and the authors' configs. V2: arXiv 2301.00808, appendix,
# which gives a grid of settings; its parameters are V1-B's 122 M and GRN's 2 x 4C per block.
RECIPES = {
    "t": Published("tiny", "convnext_tiny_1k_224.pth", 512, 341, 1e-4, STAGES_6, 0.4, True, 60, 939),
    "s": Published("small", "convnext_small_1k_224.pth", 512, 341, 1e-4, STAGES_12, 0.3, True, 82, 1027),
    "b": Published("base", "convnext_base_1k_224.pth", 512, 341, 1e-4, STAGES_12, 0.4, True, 122, 1170),
    "b_in22k": Published(
        "base", "convnext_base_22k_224.pth", 640, 426, 1e-4, STAGES_12, 0.4, True, 122, 1828
    ),
    "l_in22k": Published(
        "large", "convnext_large_22k_224.pth", 640, 426, 1e-4, STAGES_12, 0.4, False, 235, 2458
    ),
    "xl_in22k": Published(
        "xlarge", "convnext_xlarge_22k_224.pth", 640, 426, 8e-5, STAGES_12, 0.4, False, 391, 3335
    ),
}
WEIGHTS = "https://dl.fbaipublicfiles.com/convnext/"
MULTI_SCALE = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
MULTI_SCALE_V2 = (0.75, 0.875, 1.0, 1.125, 1.25)


def load(name: str) -> Config:
    return Config.fromfile(CONFIGS / f"upernet_{name}.py")


@pytest.fixture(params=RECIPES, scope="module")
def recipe(request) -> tuple[Config, Published]:
    return load(f"convnext_{request.param}"), RECIPES[request.param]


def steps(pipeline: list[dict]) -> dict[str, dict]:
    return {step["type"]: {k: v for k, v in step.items() if k != "type"} for step in pipeline}


def test_every_row_of_the_table_has_its_config():
    assert {path.stem for path in ADE20K} == {
        *(f"upernet_convnext_{row}" for row in RECIPES),
        "upernet_convnextv2_b",
    }


def test_backbone(recipe):
    cfg, published = recipe
    backbone = cfg.model.backbone
    assert (backbone.type, backbone.arch) == ("ConvNeXt", published.arch)
    assert backbone.drop_path_rate == published.drop_path
    assert backbone.layer_scale_init_value == 1.0
    assert backbone.init_cfg == {"type": "Pretrained", "checkpoint": WEIGHTS + published.weights}


def test_optimizer(recipe):
    cfg, published = recipe
    wrapper = cfg.optim_wrapper
    assert wrapper.type == ("AmpOptimWrapper" if published.fp16 else "OptimWrapper")
    assert wrapper.get("dtype") in (None, "float16")
    assert wrapper.get("clip_grad") is None
    assert wrapper.optimizer == {
        "type": "AdamW",
        "lr": published.lr,
        "betas": (0.9, 0.999),
        "weight_decay": 0.05,
    }
    assert wrapper.constructor == "ConvNeXtLayerDecay"
    decay = wrapper.paramwise_cfg
    assert (decay.decay_type, decay.decay_rate, decay.num_layers) == published.decay


def test_heads(recipe):
    cfg, _ = recipe
    decode, auxiliary = cfg.model.decode_head, cfg.model.auxiliary_head
    assert (decode.type, decode.channels, tuple(decode.pool_scales)) == ("FusedUPerHead", 512, (1, 2, 3, 6))
    assert (auxiliary.type, auxiliary.channels, auxiliary.in_index) == ("BandedFCNHead", 256, 2)
    assert (decode.loss_decode.loss_weight, auxiliary.loss_decode.loss_weight) == (1.0, 0.4)
    for head in (decode, auxiliary):
        assert head.dropout_ratio == 0.1
        assert head.norm_cfg.type == "SyncBN"
        assert head.num_classes == 150
        assert head.align_corners is False
        assert (head.loss_decode.type, head.loss_decode.use_sigmoid) == ("CrossEntropyLoss", False)


def test_images(recipe):
    cfg, published = recipe
    crop, scale = (published.crop,) * 2, (4 * published.crop, published.crop)
    assert steps(cfg.train_dataloader.dataset.pipeline) == {
        "LoadImageFromFile": {},
        "LoadAnnotations": {},
        "RandomResize": {"scale": scale, "ratio_range": (0.5, 2.0), "keep_ratio": True},
        "RandomCrop": {"crop_size": crop, "cat_max_ratio": 0.75},
        "RandomFlip": {"prob": 0.5},
        "PhotoMetricDistortion": {},
        "PackSegInputs": {},
    }
    assert cfg.model.data_preprocessor == {
        "type": "SegDataPreProcessor",
        "mean": [123.675, 116.28, 103.53],
        "std": [58.395, 57.12, 57.375],
        "bgr_to_rgb": True,
        "pad_val": 0,
        "seg_pad_val": 255,
        "size": crop,
    }


def test_length_and_batch(recipe):
    cfg, _ = recipe
    assert (cfg.train_cfg.type, cfg.train_cfg.max_iters) == ("IterBasedTrainLoop", 160_000)
    assert cfg.train_dataloader.batch_size == 2
    assert cfg.auto_scale_lr.base_batch_size == 16


def test_evaluation(recipe):
    cfg, published = recipe
    assert cfg.model.test_cfg == {
        "mode": "slide",
        "crop_size": (published.crop,) * 2,
        "stride": (published.stride,) * 2,
    }
    assert cfg.val_dataloader == cfg.test_dataloader
    resize = steps(cfg.test_dataloader.dataset.pipeline)["Resize"]
    assert resize == {"scale": (4 * published.crop, published.crop), "keep_ratio": True}
    loading = [step["type"] for step in cfg.test_dataloader.dataset.pipeline]
    assert loading.index("LoadAnnotations") > loading.index("Resize"), "labels must keep their own size"
    assert cfg.test_evaluator == {"type": "ConfusionIoUMetric", "iou_metrics": ["mIoU"]}
    assert cfg.tta_model.type == "LogitsTTAModel"
    assert multi_scale(cfg) == [(int(4 * published.crop * r), int(published.crop * r)) for r in MULTI_SCALE]


def multi_scale(cfg: Config) -> list[tuple[int, int]]:
    resizes, flips, *_ = steps(cfg.tta_pipeline)["TestTimeAug"]["transforms"]
    assert [flip["prob"] for flip in flips] == [0.0, 1.0]
    assert all(resize["keep_ratio"] for resize in resizes)
    return [tuple(resize["scale"]) for resize in resizes]


def test_size_and_cost(recipe):
    cfg, published = recipe
    model = build_model(cfg, device="meta")
    assert round(count_params(model) / 1e6) == published.params_M
    macs = count_macs(model, (3, published.crop, 4 * published.crop))
    assert macs / 1e9 == pytest.approx(published.gmacs, rel=0.01)


def test_v2_stays_within_the_published_grid():
    cfg = load("convnextv2_b")
    backbone, wrapper = cfg.model.backbone, cfg.optim_wrapper
    assert (backbone.arch, backbone.layer_scale_init_value) == ("v2_base", 0)
    assert backbone.init_cfg.checkpoint == WEIGHTS + "convnextv2/im1k/convnextv2_base_1k_224_ema.pt"
    assert 0.1 <= backbone.drop_path_rate <= 0.4
    assert wrapper.optimizer.lr in (1e-4, 2e-4, 3e-4)
    assert wrapper.optimizer.weight_decay == 0.05
    assert wrapper.paramwise_cfg.decay_rate in (0.8, 0.9)
    assert wrapper.paramwise_cfg.num_layers == 12
    assert multi_scale(cfg) == [(int(2048 * r), int(512 * r)) for r in MULTI_SCALE_V2]
    params = count_params(build_model(cfg, device="meta"))
    v1_params = count_params(build_model(load("convnext_b"), device="meta"))
    widths, depths = (128, 256, 512, 1024), (3, 3, 27, 3)
    grn = sum(depth * 2 * 4 * width for depth, width in zip(depths, widths, strict=True))
    layer_scale = sum(depth * width for depth, width in zip(depths, widths, strict=True))
    assert params == v1_params + grn - layer_scale
