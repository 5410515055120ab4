"""Detectors and inputs of toy size, with the stock heads or with this project's."""

from __future__ import annotations

import copy

import torch
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmdet.utils import register_all_modules
from mmengine.config import ConfigDict

import convnext_dense.detection  # noqa: F401

CLASSES = 3
STRIDES = (4, 8, 16, 32)
IMAGE = {"scale_factor": (1.6, 1.5)}


def extractor(size):
    return dict(
        type="SingleRoIExtractor",
        roi_layer=dict(type="RoIAlign", output_size=size, sampling_ratio=0),
        out_channels=8,
        featmap_strides=STRIDES,
    )


def box_head(type="Shared2FCBBoxHead"):
    return dict(
        type=type,
        in_channels=8,
        fc_out_channels=16,
        roi_feat_size=7,
        num_classes=CLASSES,
        bbox_coder=dict(type="DeltaXYWHBBoxCoder", target_stds=(0.1, 0.1, 0.2, 0.2)),
        reg_class_agnostic=False,
        loss_cls=dict(type="CrossEntropyLoss"),
        loss_bbox=dict(type="L1Loss"),
    )


def mask_head():
    return dict(type="FCNMaskHead", num_convs=1, in_channels=8, conv_out_channels=8, num_classes=CLASSES)


RPN = dict(
    type="RPNHead",
    in_channels=8,
    feat_channels=8,
    anchor_generator=dict(type="AnchorGenerator", scales=[4], ratios=[0.5, 1.0, 2.0], strides=(*STRIDES, 64)),
    bbox_coder=dict(type="DeltaXYWHBBoxCoder"),
    loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=True),
    loss_bbox=dict(type="L1Loss"),
)
ASSIGNER = dict(type="MaxIoUAssigner", pos_iou_thr=0.3, neg_iou_thr=0.3, min_pos_iou=0.3)
SAMPLER = dict(type="RandomSampler", num=24, pos_fraction=0.5, add_gt_as_proposals=True)
RCNN = dict(assigner=ASSIGNER, sampler=SAMPLER, mask_size=28, pos_weight=-1, debug=False)
PROPOSALS = dict(nms_pre=100, max_per_img=60, nms=dict(type="nms", iou_threshold=0.7), min_bbox_size=0)
TEST_RCNN = dict(score_thr=0.0, nms=dict(type="nms", iou_threshold=0.5), max_per_img=20, mask_thr_binary=0.5)


def mask_rcnn():
    """A Mask R-CNN on a ConvNeXt with two stages' worth of channels, as a config."""
    return ConfigDict(
        type="MaskRCNN",
        data_preprocessor=dict(
            type="DetDataPreprocessor", mean=[127.0] * 3, std=[60.0] * 3, pad_size_divisor=32, pad_mask=True
        ),
        backbone=dict(type="ConvNeXt", arch=dict(depths=(1, 1, 1, 1), dims=(4, 8, 8, 16), use_grn=False)),
        neck=dict(type="FPN", in_channels=[4, 8, 8, 16], out_channels=8, num_outs=5),
        rpn_head=RPN,
        roi_head=dict(
            type="StandardRoIHead",
            bbox_roi_extractor=extractor(7),
            bbox_head=box_head(),
            mask_roi_extractor=extractor(14),
            mask_head=mask_head(),
        ),
        train_cfg=dict(
            rpn=dict(
                assigner=ASSIGNER | dict(match_low_quality=True),
                sampler=SAMPLER | dict(add_gt_as_proposals=False),
                allowed_border=-1,
                pos_weight=-1,
                debug=False,
            ),
            rpn_proposal=PROPOSALS,
            rcnn=RCNN,
        ),
        test_cfg=dict(rpn=PROPOSALS, rcnn=TEST_RCNN),
    )


def cascade_mask_rcnn():
    """The same with three stages of box and mask heads."""
    config = mask_rcnn()
    config.type = "CascadeRCNN"
    config.roi_head.update(
        type="CascadeRoIHead",
        num_stages=3,
        stage_loss_weights=[1, 0.5, 0.25],
        bbox_head=[box_head() | dict(reg_class_agnostic=True) for _ in range(3)],
        mask_head=[mask_head() for _ in range(3)],
    )
    config.train_cfg.rcnn = [RCNN] * 3
    return config


def with_our_heads(config):
    """Return the config with the heads, RoI extractors and convolutions of this project."""
    config = copy.deepcopy(config)
    config.rpn_head.type = "LeanRPNHead"
    config.neck.conv_cfg = dict(type="WinogradConv2d")
    heads = config.roi_head
    for head in heads.bbox_head if isinstance(heads.bbox_head, list) else [heads.bbox_head]:
        head.update(type="LeanConvFCBBoxHead", num_shared_fcs=2)
    heads.bbox_roi_extractor.type = heads.mask_roi_extractor.type = "PreciseRoIExtractor"
    for head in heads.mask_head if isinstance(heads.mask_head, list) else [heads.mask_head]:
        head.update(type="WindowedMaskHead", conv_cfg=dict(type="WinogradConv2d"))
    return config


def build(config, seed=0):
    """Build a detector with the weights of a seed; its heads are spread out so that scores differ."""
    register_all_modules()
    torch.manual_seed(seed)
    model = MODELS.build(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1 and name.startswith(("rpn_head", "roi_head")):
                weight.normal_(std=0.6 / weight[0].numel() ** 0.5)
    return model


def batch(model, training, sizes=((3, 96, 128), (3, 120, 90)), seed=0):
    """Return preprocessed random images with random objects."""
    torch.manual_seed(seed)
    inputs = demo_mm_inputs(len(sizes), [list(size) for size in sizes], num_classes=CLASSES, with_mask=True)
    for sample, (_, height, width) in zip(inputs["data_samples"], sizes, strict=True):
        original = (round(height / IMAGE["scale_factor"][1]), round(width / IMAGE["scale_factor"][0]))
        sample.set_metainfo(IMAGE | {"ori_shape": original})
    return model.data_preprocessor(inputs, training)


def detect(model, **options):
    """Return the detections of every image of a batch."""
    with torch.no_grad():
        samples = model.eval()(**batch(model, False, **options), mode="predict")
    return [sample.pred_instances for sample in samples]


def losses_and_gradients(model, **options):
    """Return every loss and every parameter's gradient of one training step."""
    model.train().zero_grad()
    data = batch(model, True, **options)
    torch.manual_seed(1)  # the samplers draw at random
    losses = model(**data, mode="loss")
    model.parse_losses(losses)[0].backward()
    return losses, {name: weight.grad for name, weight in model.named_parameters()}
