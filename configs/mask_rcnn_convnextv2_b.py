"""Mask R-CNN on ConvNeXt V2-B, COCO, 3x schedule, large-scale jitter, FCMAE weights (arXiv 2301.00808).

Train:          tools/dist_train.sh configs/mask_rcnn_convnextv2_b.py 8
Evaluate:       tools/dist_test.sh configs/mask_rcnn_convnextv2_b.py CHECKPOINT 8
Hardware:       8 GPUs x 4 images, fp16 (22.5 GB each in mmdetection's run)
Published:      52.9 box AP, 46.6 mask AP (mmdetection's run: 52.9, 46.4); 486 GMAC at 1280x800
Measured here:  no; 108 M parameters

The paper gives a grid (decay 0.9, 0.95; drop path 0.2-0.5). This is the point of it that mmdetection ran:
decay 0.95, drop path 0.4; soft-NMS for the detections, plain NMS for the proposals.
"""

_base_ = [
    "_base_/models/mask_rcnn_convnext.py",
    "_base_/datasets/coco_instance.py",
    "_base_/schedules/adamw_3x.py",
    "_base_/runtime_det.py",
]

# Self-supervised, never fine-tuned on labels. Under CC BY-NC 4.0.
weights = "https://dl.fbaipublicfiles.com/convnext/convnextv2/pt_only/convnextv2_base_1k_224_fcmae.pt"
model = dict(
    backbone=dict(
        arch="v2_base",
        drop_path_rate=0.4,
        layer_scale_init_value=0.0,
        init_cfg=dict(type="Pretrained", checkpoint=weights),
    ),
    neck=dict(in_channels=[128, 256, 512, 1024]),
    test_cfg=dict(rcnn=dict(nms=dict(type="soft_nms"))),
)
# Large-scale jitter (arXiv 2012.07177): 0.1 to 2.0 times 1024 px, then a crop of at most that size.
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="RandomResize", scale=(1024, 1024), ratio_range=(0.1, 2.0), keep_ratio=True),
    dict(
        type="RandomCrop",
        crop_type="absolute_range",
        crop_size=(1024, 1024),
        recompute_bbox=True,
        allow_negative_crop=True,
    ),
    dict(type="FilterAnnotations", min_gt_bbox_wh=(1e-2, 1e-2)),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
train_dataloader = dict(batch_size=4, dataset=dict(pipeline=train_pipeline))
optim_wrapper = dict(optimizer=dict(lr=1e-4), paramwise_cfg=dict(decay_rate=0.95))
auto_scale_lr = dict(base_batch_size=32)
