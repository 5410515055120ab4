"""A small Cascade Mask R-CNN on ConvNeXt V2-atto, trained from scratch on the embedded data set.

Train:          tools/train.py configs/demo/cascade_mask_rcnn_convnext_atto_shapes.py
Evaluate:       tools/test.py configs/demo/cascade_mask_rcnn_convnext_atto_shapes.py CHECKPOINT
Hardware:       two CPU cores, four and a half minutes
Published:      nothing: the data set is this project's own
Measured here:  box AP50 43.8, mask AP50 41.9 after 4 min 16 s on two CPU cores; 6.3 M parameters
"""

_base_ = [
    "../_base_/models/cascade_mask_rcnn_convnext.py",
    "../_base_/datasets/shapes_det.py",
    "../_base_/schedules/adamw_shapes.py",
    "../_base_/runtime_det.py",
]

# Slim: a quarter of the published width and an eighth of the RoIs; anchors of 16 to 128 px. A list replaces
# the base's, so that the three stages are made from the base's own.
strides = [4, 8, 16, 32]
slim_head = dict(
    num_shared_convs=1,
    in_channels=64,
    conv_out_channels=64,
    fc_out_channels=256,
    num_classes=9,
    norm_cfg=dict(type="BN"),
)
model = dict(
    backbone=dict(
        arch="v2_atto",
        layer_scale_init_value=0.0,
        init_cfg=dict(type="Kaiming", layer=["Conv2d", "Linear"], mode="fan_in", nonlinearity="linear"),
    ),
    neck=dict(in_channels=[40, 80, 160, 320], out_channels=64, num_outs=4, norm_cfg=dict(type="BN")),
    rpn_head=dict(in_channels=64, feat_channels=64, anchor_generator=dict(scales=[4], strides=strides)),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64, roi_layer=dict(sampling_ratio=2)),
        bbox_head=[dict(stage, **slim_head) for stage in _base_.model.roi_head.bbox_head],
        mask_roi_extractor=dict(out_channels=64, roi_layer=dict(sampling_ratio=2)),
        mask_head=dict(num_convs=1, in_channels=64, conv_out_channels=64, num_classes=9),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=64)),
        rpn_proposal=dict(nms_pre=300, max_per_img=200),
        rcnn=[dict(stage, sampler=dict(stage.sampler, num=64)) for stage in _base_.model.train_cfg.rcnn],
    ),
    test_cfg=dict(rpn=dict(nms_pre=300, max_per_img=100)),
)
# An iteration costs about twice Mask R-CNN's: half the epochs.
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, begin=0, end=50, by_epoch=False),
    dict(type="CosineAnnealingLR", T_max=6, begin=0, end=6, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=6, val_interval=6)
default_hooks = dict(logger=dict(interval=25), checkpoint=dict(interval=6))
