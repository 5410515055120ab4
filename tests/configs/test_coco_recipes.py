"""The shipped COCO recipes against the published ones, typed in from the paper and the authors' configs."""

from __future__ import annotations

import ast
from typing import NamedTuple

import pytest
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper

from convnext_dense.complexity import count_macs, count_params

from .shipped import COCO, CONFIGS, build_model, scope


class Published(NamedTuple):
    arch: str
    weights: str
    lr: float
    decay: tuple[float, int]  # rate, num_layers
    drop_path: float
    fp16: bool
    box_ap: float
    mask_ap: float
    params_M: int
    gmacs: int


MASK, CASCADE = "mask_rcnn_convnext", "cascade_mask_rcnn_convnext"
# ConvNeXt: arXiv 2201.03545, table 3 and appendix, and the authors' `object_detection/configs`.
RECIPES = {
    f"{MASK}_t": Published(
        "tiny", "convnext_tiny_1k_224.pth", 1e-4, (0.95, 6), 0.4, True, 46.2, 41.7, 48, 262
    ),
    f"{CASCADE}_t": Published(
        "tiny", "convnext_tiny_1k_224.pth", 2e-4, (0.7, 6), 0.4, True, 50.4, 43.7, 86, 741
    ),
    f"{CASCADE}_s": Published(
        "small", "convnext_small_1k_224.pth", 2e-4, (0.7, 12), 0.6, True, 51.9, 45.0, 108, 827
    ),
    f"{CASCADE}_b": Published(
        "base", "convnext_base_1k_224.pth", 2e-4, (0.8, 12), 0.7, True, 52.7, 45.6, 146, 964
    ),
    f"{CASCADE}_b_in22k": Published(
        "base", "convnext_base_22k_224.pth", 1e-4, (0.8, 12), 0.6, True, 54.0, 46.9, 146, 964
    ),
    f"{CASCADE}_l_in22k": Published(
        "large", "convnext_large_22k_224.pth", 1e-4, (0.7, 12), 0.7, False, 54.8, 47.6, 255, 1354
    ),
    f"{CASCADE}_xl_in22k": Published(
        "xlarge", "convnext_xlarge_22k_224.pth", 1e-4, (0.7, 12), 0.8, False, 55.2, 47.7, 407, 1898
    ),
}
V2 = "mask_rcnn_convnextv2_b"
WEIGHTS = "https://dl.fbaipublicfiles.com/convnext/"
IMAGE = (3, 800, 1280)
SHORT_SIDES = (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)


def load(name: str) -> Config:
    return Config.fromfile(CONFIGS / f"{name}.py")


@pytest.fixture(params=RECIPES, scope="module")
def recipe(request) -> tuple[Config, Published]:
    return load(request.param), RECIPES[request.param]


@pytest.fixture(params=[f"{MASK}_t", f"{CASCADE}_t", V2], scope="module")
def cfg(request) -> Config:
    """One config of each kind, for what the sizes share."""
    return load(request.param)


def is_cascade(cfg: Config) -> bool:
    return cfg.model.type == "CascadeRCNN"


def test_every_row_of_the_table_has_its_config():
    assert {path.stem for path in COCO} == {*RECIPES, V2}


def test_the_header_states_the_published_row(recipe):
    cfg, published = recipe
    header = ast.get_docstring(ast.parse((CONFIGS / cfg.filename).read_text()))
    row = f"{published.box_ap} box AP, {published.mask_ap} mask AP; "
    assert f"{row}{published.params_M} M parameters, {published.gmacs} GMAC" in header
    assert ("2 images, fp16" in header) == published.fp16


def test_backbone(recipe):
    cfg, published = recipe
    backbone = cfg.model.backbone
    assert (backbone.type, backbone.arch) == ("ConvNeXt", published.arch)
    assert backbone.drop_path_rate == published.drop_path
    assert backbone.layer_scale_init_value == 1.0
    assert not backbone.get("frozen_stages")
    assert backbone.init_cfg == {"type": "Pretrained", "checkpoint": WEIGHTS + published.weights}


def test_optimizer(recipe):
    cfg, published = recipe
    wrapper = cfg.optim_wrapper
    assert wrapper.type == ("AmpOptimWrapper" if published.fp16 else "OptimWrapper")
    assert wrapper.get("dtype") in (None, "float16")
    assert wrapper.get("clip_grad") is None
    adamw = {"type": "AdamW", "betas": (0.9, 0.999), "weight_decay": 0.05}
    assert wrapper.optimizer == {"lr": published.lr, **adamw}
    assert wrapper.constructor == "ConvNeXtLayerDecay"
    decay = wrapper.paramwise_cfg
    assert decay.decay_type == "layer_wise"
    assert (decay.decay_rate, decay.num_layers) == published.decay


@pytest.mark.parametrize("name", [f"{MASK}_t", f"{CASCADE}_s", V2])
def test_the_published_rates_reach_the_optimizer(name):
    cfg = load(name)
    cfg.optim_wrapper.type = "OptimWrapper"  # mixed precision needs an accelerator
    model = build_model(cfg, device="meta")
    with scope(cfg):
        groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    decay = cfg.optim_wrapper.paramwise_cfg
    expected = [decay.decay_rate**power for power in range(decay.num_layers + 1, -1, -1)]
    rates = sorted({group["lr"] / cfg.optim_wrapper.optimizer.lr for group in groups})
    assert rates == pytest.approx(expected)
    assert {group["weight_decay"] for group in groups} == {0.0, 0.05}


def test_neck_and_proposals(cfg):
    model = cfg.model
    assert (model.neck.type, model.neck.out_channels, model.neck.num_outs) == ("FPN", 256, 5)
    rpn = model.rpn_head
    assert (rpn.type, rpn.in_channels, rpn.feat_channels) == ("LeanRPNHead", 256, 256)
    assert rpn.anchor_generator == {
        "type": "AnchorGenerator",
        "scales": [8],
        "ratios": [0.5, 1.0, 2.0],
        "strides": [4, 8, 16, 32, 64],
    }
    smooth = {"type": "SmoothL1Loss", "beta": 1 / 9, "loss_weight": 1.0}
    assert rpn.loss_bbox == (smooth if is_cascade(cfg) else {"type": "L1Loss", "loss_weight": 1.0})
    assert rpn.loss_cls == {"type": "CrossEntropyLoss", "use_sigmoid": True, "loss_weight": 1.0}
    train, test = model.train_cfg, model.test_cfg
    assert train.rpn.allowed_border == (0 if is_cascade(cfg) else -1)
    assert (train.rpn.assigner.pos_iou_thr, train.rpn.assigner.neg_iou_thr) == (0.7, 0.3)
    assert (train.rpn.sampler.num, train.rpn.sampler.pos_fraction) == (256, 0.5)
    most = 2000 if is_cascade(cfg) else 1000
    assert (train.rpn_proposal.nms_pre, train.rpn_proposal.max_per_img) == (2000, most)
    assert (test.rpn.nms_pre, test.rpn.max_per_img) == (1000, 1000)
    assert train.rpn_proposal.nms == test.rpn.nms == {"type": "nms", "iou_threshold": 0.7}


@pytest.mark.parametrize("name", RECIPES)
def test_box_heads(name):
    cfg = load(name)
    roi_head = cfg.model.roi_head
    heads = roi_head.bbox_head if is_cascade(cfg) else [roi_head.bbox_head]
    training = cfg.model.train_cfg.rcnn if is_cascade(cfg) else [cfg.model.train_cfg.rcnn]
    for head, step in zip(heads, training, strict=True):
        assert (head.in_channels, head.fc_out_channels, head.roi_feat_size) == (256, 1024, 7)
        assert (head.num_classes, head.reg_class_agnostic) == (80, False)
        assert head.loss_cls == {"type": "CrossEntropyLoss", "use_sigmoid": False, "loss_weight": 1.0}
        assert (step.sampler.num, step.sampler.pos_fraction) == (512, 0.25)
        assert step.sampler.add_gt_as_proposals
        assert step.mask_size == 28
    stds = [tuple(head.bbox_coder.target_stds) for head in heads]
    ious = [(s.assigner.pos_iou_thr, s.assigner.neg_iou_thr, s.assigner.min_pos_iou) for s in training]
    if not is_cascade(cfg):
        assert (heads[0].type, heads[0].loss_bbox.type) == ("LeanConvFCBBoxHead", "L1Loss")
        assert (heads[0].num_shared_fcs, heads[0].get("num_shared_convs", 0)) == (2, 0)
        assert (stds, ious) == ([(0.1, 0.1, 0.2, 0.2)], [(0.5,) * 3])
        assert training[0].assigner.match_low_quality
        return
    assert (roi_head.num_stages, list(roi_head.stage_loss_weights)) == (3, [1, 0.5, 0.25])
    assert stds == [(0.1, 0.1, 0.2, 0.2), (0.05, 0.05, 0.1, 0.1), (0.033, 0.033, 0.067, 0.067)]
    assert ious == [(0.5,) * 3, (0.6,) * 3, (0.7,) * 3]
    assert not any(step.assigner.match_low_quality for step in training)
    for head in heads:
        assert (head.type, head.conv_out_channels) == ("LeanConvFCBBoxHead", 256)
        assert (head.num_shared_convs, head.num_shared_fcs) == (4, 1)
        assert head.reg_decoded_bbox
        assert head.norm_cfg == {"type": "SyncBN", "requires_grad": True}
        assert head.loss_bbox == {"type": "GIoULoss", "loss_weight": 10.0}


def test_regions_and_mask_heads(cfg):
    roi_head = cfg.model.roi_head
    for extractor, size in ((roi_head.bbox_roi_extractor, 7), (roi_head.mask_roi_extractor, 14)):
        assert extractor.roi_layer == {"type": "RoIAlign", "output_size": size, "sampling_ratio": 0}
        assert (extractor.out_channels, list(extractor.featmap_strides)) == (256, [4, 8, 16, 32])
    head = roi_head.mask_head
    assert (head.num_convs, head.in_channels, head.conv_out_channels) == (4, 256, 256)
    assert head.num_classes == 80
    assert head.loss_mask == {"type": "CrossEntropyLoss", "use_mask": True, "loss_weight": 1.0}


def test_training_images(recipe):
    cfg, _ = recipe
    scales = {"scales": [(1333, side) for side in SHORT_SIDES], "keep_ratio": True}
    first = {"scales": [(1333, 400), (1333, 500), (1333, 600)], "keep_ratio": True}
    crop = {"crop_type": "absolute_range", "crop_size": (384, 600), "allow_negative_crop": True}
    assert cfg.train_dataloader.dataset.pipeline == [
        {"type": "LoadImageFromFile"},
        {"type": "LoadAnnotations", "with_bbox": True, "with_mask": True},
        {"type": "RandomFlip", "prob": 0.5},
        {
            "type": "RandomChoice",
            "transforms": [
                [{"type": "RandomChoiceResize", **scales}],
                [
                    {"type": "RandomChoiceResize", **first},
                    {"type": "RandomCrop", **crop},
                    {"type": "RandomChoiceResize", **scales},
                ],
            ],
        },
        {"type": "PackDetInputs"},
    ]


def test_normalisation_and_padding(cfg):
    assert cfg.model.data_preprocessor == {
        "type": "DetDataPreprocessor",
        "mean": [123.675, 116.28, 103.53],
        "std": [58.395, 57.12, 57.375],
        "bgr_to_rgb": True,
        "pad_mask": True,
        "pad_size_divisor": 32,
    }


def test_data(cfg):
    train, test = cfg.train_dataloader.dataset, cfg.test_dataloader.dataset
    for dataset, split in ((train, "train2017"), (test, "val2017")):
        assert dataset.ann_file == f"annotations/instances_{split}.json"
        assert dataset.data_prefix.img == split
        assert len(set(dataset.metainfo.classes)) == 80
    assert train.data_root == test.data_root == "data/coco"
    assert train.filter_cfg == {"filter_empty_gt": True, "min_size": 32}
    assert cfg.train_dataloader.batch_sampler.type == "AspectRatioBatchSampler"


@pytest.mark.parametrize("name", [*RECIPES, V2])
def test_length_and_batch(name):
    cfg = load(name)
    assert (cfg.train_cfg.type, cfg.train_cfg.max_epochs) == ("EpochBasedTrainLoop", 36)
    assert cfg.train_dataloader.batch_size == (4 if name == V2 else 2)
    assert cfg.auto_scale_lr.base_batch_size == 8 * cfg.train_dataloader.batch_size


@pytest.mark.parametrize("name", [*RECIPES, V2])
def test_evaluation(name):
    cfg = load(name)
    assert cfg.val_dataloader == cfg.test_dataloader
    steps = cfg.test_dataloader.dataset.pipeline
    assert steps[1] == {"type": "Resize", "scale": (1333, 800), "keep_ratio": True}
    kinds = [step["type"] for step in steps]
    assert kinds.index("LoadAnnotations") > kinds.index("Resize"), "the truth must keep its own size"
    rcnn = cfg.model.test_cfg.rcnn
    assert (rcnn.score_thr, rcnn.max_per_img, rcnn.mask_thr_binary) == (0.05, 100, 0.5)
    assert rcnn.nms == {"type": "soft_nms" if name == V2 else "nms", "iou_threshold": 0.5}
    assert cfg.test_evaluator == cfg.val_evaluator
    assert set(cfg.test_evaluator.metric) == {"bbox", "segm"}


def test_size_and_cost(recipe):
    cfg, published = recipe
    model = build_model(cfg, device="meta")
    assert round(count_params(model) / 1e6) == published.params_M
    assert count_macs(model, IMAGE) / 1e9 == pytest.approx(published.gmacs, rel=0.01)


def test_v2():
    """arXiv 2301.00808 and mmdetection's run of it."""
    cfg = load(V2)
    backbone, wrapper = cfg.model.backbone, cfg.optim_wrapper
    assert (backbone.arch, backbone.layer_scale_init_value) == ("v2_base", 0)
    assert backbone.drop_path_rate == 0.4
    assert backbone.init_cfg.checkpoint == WEIGHTS + "convnextv2/pt_only/convnextv2_base_1k_224_fcmae.pt"
    assert (wrapper.type, wrapper.optimizer.lr) == ("AmpOptimWrapper", 1e-4)
    assert wrapper.optimizer.weight_decay == 0.05
    decay = wrapper.paramwise_cfg
    assert (decay.decay_type, decay.decay_rate, decay.num_layers) == ("layer_wise", 0.95, 12)
    assert cfg.train_dataloader.dataset.pipeline == [
        {"type": "LoadImageFromFile"},
        {"type": "LoadAnnotations", "with_bbox": True, "with_mask": True},
        {"type": "RandomResize", "scale": (1024, 1024), "ratio_range": (0.1, 2.0), "keep_ratio": True},
        {
            "type": "RandomCrop",
            "crop_type": "absolute_range",
            "crop_size": (1024, 1024),
            "recompute_bbox": True,
            "allow_negative_crop": True,
        },
        {"type": "FilterAnnotations", "min_gt_bbox_wh": (1e-2, 1e-2)},
        {"type": "RandomFlip", "prob": 0.5},
        {"type": "PackDetInputs"},
    ]
    assert count_macs(build_model(cfg, device="meta"), IMAGE) / 1e9 == pytest.approx(486, rel=0.01)
